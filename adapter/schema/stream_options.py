"""`stream_options`: what a stream says beside its text."""

from __future__ import annotations

from adapter.schema.body import RequestModel
from adapter.settings import StreamUsage


class StreamOptions(RequestModel):
    """`continuous_usage_stats`, an extension (vLLM's name): the running usage in every chunk."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: bool | None = None


def stream_usage(options: StreamOptions | None, default: StreamUsage) -> StreamUsage:
    """Where a stream has usage; the server's default without the object."""
    if options is None:
        return default
    if options.continuous_usage_stats:
        return StreamUsage.CONTINUOUS
    return StreamUsage.FINAL if options.include_usage else StreamUsage.NONE
