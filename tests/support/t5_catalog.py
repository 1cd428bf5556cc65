"""A catalog of one T5 embedding model: that of `t5_oracle.write_t5`, with a tokenizer."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

ID = "me/sentence-t5"
ROLES = {
    "model.safetensors": "weights",
    "config.json": "config",
    "tokenizer.json": "tokenizer",
    "dense.safetensors": "dense",
}


def write_tokenizer(path: Path) -> None:
    """Words, and T5's end of the text behind them."""
    vocabulary = {"</s>": 1, **{f"t{number}": number for number in range(60) if number != 1}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(path))


def write_catalog(folder: Path) -> Path:
    """`catalog.toml` in the folder of the model, which gets its tokenizer."""
    write_tokenizer(folder / "tokenizer.json")
    text = f"""
[[models]]
id = "{ID}"
kind = "embedding"
engine = "onnxruntime"
family = "t5"
context_length = 256
dimensions = 24
owned_by = "me"
license = "apache-2.0"
created = 2022-02-02
"""
    for name, role in ROLES.items():
        content = (folder / name).read_bytes()
        text += f"""
[[models.files]]
name = "{name}"
role = "{role}"
size = {len(content)}
sha256 = "{hashlib.sha256(content).hexdigest()}"
sources = [ {{ path = "{name}" }} ]
"""
    path = folder / "catalog.toml"
    path.write_text(text)
    return path
