"""The files that make up a tokenizer, and their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


def tokenizer_digest(folder: Path) -> str:
    """SHA-256, in hexadecimal, over the tokenizer files of `folder`.

    For each of `TOKENIZER_FILES` that exists, in this order: its name, a zero byte, the SHA-256 of its content.

    Raises:
        FileNotFoundError: there is no `tokenizer.json`.
    """
    if not (folder / TOKENIZER_FILES[0]).is_file():
        raise FileNotFoundError(f"no {TOKENIZER_FILES[0]} in {folder}")
    total = hashlib.sha256()
    for name in TOKENIZER_FILES:
        path = folder / name
        if path.is_file():
            total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
