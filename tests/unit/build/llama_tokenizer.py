"""llama.cpp's own tokenizer, as the thing to agree with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import xllamacpp


class LlamaTokenizer:
    """Tokenizes over the HTTP port that every xllamacpp server opens on loopback."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def encode(self, text: str, *, add_special: bool = False) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": True}
        answer = self._client.post("/tokenize", json=body)
        answer.raise_for_status()
        ids: list[int] = answer.json()["tokens"]
        return ids


@contextmanager
def llama_tokenizer(gguf: Path) -> Iterator[LlamaTokenizer]:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_ctx = 64
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    with httpx.Client(base_url=server.listening_address, timeout=30) as client:
        yield LlamaTokenizer(client)
    del server
