"""What a person reads when everything is ready: the base URL, the models, and a request to try."""

from __future__ import annotations

import json

from adapter.settings import Settings
from adapter.triton.model import Kind
from launcher.served_models import ServedModels, TritonUnreachable, list_served
from launcher.terminal import say, show


def announce(base_url: str, settings: Settings, hint: str) -> None:
    """Prints it on stdout. `hint` is where to look further."""
    try:
        served = list_served(settings.triton_url)
    except TritonUnreachable as error:  # gone again this very moment; the adapter will find it when it is back
        say(str(error))
        served = ServedModels("", [], [], [])
    show(announcement(base_url, served, with_key=bool(settings.api_keys or settings.api_keys_file), hint=hint))


def announcement(base_url: str, served: ServedModels, *, with_key: bool, hint: str) -> str:
    """The text. `with_key`: requests need an API key, which is not known here."""
    lines = ["", f"Tritongate is ready: {base_url}", ""]
    lines += [f"  {model.kind.value:<9}  {model.id}" for model in served.models]
    if not served.models:
        lines.append("  Triton serves no model yet; one appears here as soon as Triton has loaded it.")
    example = _example(base_url, served, with_key)
    if example:
        lines += ["", example]
    lines += ["", f"{hint}. Ctrl-C stops.", ""]
    return "\n".join(lines)


def _example(base_url: str, served: ServedModels, with_key: bool) -> str:
    """A curl command for the first chat model, else for the first embedding model, else nothing."""
    body: dict[str, object]
    if chat := served.first(Kind.CHAT):
        path = "chat/completions"
        body = {"model": chat.id, "messages": [{"role": "user", "content": "Say hello."}]}
    elif embedding := served.first(Kind.EMBEDDING):
        path, body = "embeddings", {"model": embedding.id, "input": "hello"}
    else:
        return ""
    key = " -H 'authorization: Bearer YOUR_KEY'" if with_key else ""
    return f"  curl {base_url}/{path} -H 'content-type: application/json'{key} \\\n    -d '{json.dumps(body)}'"
