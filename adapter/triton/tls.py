"""Certificates for a Triton that is reached over TLS: every client of it trusts the same authorities."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc


def client_context(authorities: Path | None) -> ssl.SSLContext:
    """For `Endpoint`: trusts the file's certificates (PEM), or the system's.

    Raises:
        OSError: the file cannot be read, or holds no certificate (ssl.SSLError).
    """
    context = ssl.create_default_context(cafile=str(authorities) if authorities else None)
    context.set_alpn_protocols(["h2"])
    return context


def channel_credentials(authorities: Path | None) -> grpc.ChannelCredentials:
    """The same for gRPC's own client (the launcher's), which by itself would trust the list that it brings along."""
    system = ssl.get_default_verify_paths().cafile
    file = authorities or (Path(system) if system else None)
    return grpc.ssl_channel_credentials(file.read_bytes() if file is not None else None)
