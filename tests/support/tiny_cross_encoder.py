"""Tiny cross-encoders: the real file formats of `transformers` over seeded random weights, and a catalog of them.

What such a model makes of a pair means nothing, but it differs from pair to pair by much more than rounding does, and
depends on every token, its place and its segment. `tests/support/cross_encoder_oracle.py` computes it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from build.assemble import prepare
from build.catalog import load_catalog
from build.fetch import fetch
from tests.support import models as known_models
from tokentext.cache import cache_folder

BERT = "test/tiny-cross-encoder"
XLM = "test/tiny-xlm-reranker"
CONTEXT = 64
HIDDEN, HEADS, LAYERS, INNER = 32, 4, 2, 48
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
_LETTERS = [*"▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?.,"]
_WORDS = ["▁the", "▁a", "▁in", "▁of", "▁Penguins", "▁live", "▁word", "▁birds", "en", "er", "in", "st"]


def write_cross_encoder(folder: Path, family: str = "bert", *, seed: int = 5, **changes: Any) -> Path:
    """Writes model.safetensors, config.json and tokenizer.json into `folder`.

    Args:
        family: `bert` (token types, pooler, classifier; the tokenizer of all-MiniLM-L6-v2) or `xlm-roberta` (positions
            from after the padding id, a head of two layers; a small Unigram tokenizer).
        changes: keys of config.json that are to say something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _wordpiece() if family == "bert" else _unigram()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    config = {
        "architectures": [
            "BertForSequenceClassification" if family == "bert" else "XLMRobertaForSequenceClassification"
        ],
        "model_type": family,
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "intermediate_size": INNER,
        "max_position_embeddings": 80 if family == "bert" else CONTEXT + 2,
        "vocab_size": tokenizer.get_vocab_size(),
        "type_vocab_size": 2 if family == "bert" else 1,
        "pad_token_id": 0 if family == "bert" else SPECIAL.index("<pad>"),
        "layer_norm_eps": 1e-12 if family == "bert" else 1e-5,
        "position_embedding_type": "absolute",
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
    }
    random = np.random.default_rng(seed)
    tensors = {name: _values(random, name, shape) for name, shape in _shapes(family, config)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    return folder


def reranker_repository(folder: Path, settings: Mapping[str, int] | None = None) -> Path:
    """A repository in `folder` with `BERT`, whose scores want a sigmoid, and `XLM`, whose scores are the logits.

    The models' files are in `folder`/bert and `folder`/xlm-roberta.
    """
    values = "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
    entries = []
    for model_id, family in ((BERT, "bert"), (XLM, "xlm-roberta")):
        activation = (
            {} if family == "bert" else {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
        )
        write_cross_encoder(folder / family, family, **activation)
        entries.append(_entry(model_id, family, folder / family) + f"[models.settings]\n{values}")
    catalog = folder / "catalog.toml"
    catalog.write_text("\n".join(entries), encoding="utf-8")
    return prepare([BERT, XLM], folder / "repository", cache_folder(), catalog=catalog)


def _entry(model_id: str, family: str, folder: Path) -> str:
    text = (
        f'[[models]]\nid = "{model_id}"\nkind = "reranker"\nengine = "onnxruntime"\nfamily = "{family}"\n'
        f'context_length = {CONTEXT}\nowned_by = "test"\nlicense = "mit"\ncreated = 2024-01-02\n'
    )
    for name, role in (("model.safetensors", "weights"), ("config.json", "config"), ("tokenizer.json", "tokenizer")):
        content = (folder / name).read_bytes()
        text += (
            f'[[models.files]]\nname = "{name}"\nrole = "{role}"\nsize = {len(content)}\n'
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsources = [ {{ path = "{folder.name}/{name}" }} ]\n'
        )
    return text


def _wordpiece() -> Tokenizer:
    entry = load_catalog().get(known_models.EMBEDDING)
    tokenizer = Tokenizer.from_file(str(fetch(entry, cache_folder())["tokenizer.json"]))
    return tokenizer  # its truncation stays: the builder has to take it out


def _unigram() -> Tokenizer:
    pieces = [*SPECIAL, *_WORDS, *_LETTERS]
    scores = [(piece, 0.0 if piece in SPECIAL else -1.0 - 2.0 / len(piece)) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=SPECIAL.index("<unk>")))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _shapes(family: str, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    prefix = "bert" if family == "bert" else "roberta"
    yield f"{prefix}.embeddings.word_embeddings.weight", (config["vocab_size"], HIDDEN)
    yield f"{prefix}.embeddings.position_embeddings.weight", (config["max_position_embeddings"], HIDDEN)
    yield f"{prefix}.embeddings.token_type_embeddings.weight", (config["type_vocab_size"], HIDDEN)
    norms = [f"{prefix}.embeddings.LayerNorm"]
    square = (HIDDEN, HIDDEN)
    linear: dict[str, tuple[int, int]] = {}
    for layer in (f"{prefix}.encoder.layer.{index}" for index in range(LAYERS)):
        linear |= {f"{layer}.attention.self.{part}": square for part in ("query", "key", "value")}
        linear[f"{layer}.attention.output.dense"] = square
        linear[f"{layer}.intermediate.dense"] = (INNER, HIDDEN)
        linear[f"{layer}.output.dense"] = (HIDDEN, INNER)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    if family == "bert":
        linear |= {"bert.pooler.dense": square, "classifier": (1, HIDDEN)}
    else:
        linear |= {"classifier.dense": square, "classifier.out_proj": (1, HIDDEN)}
    for name, shape in linear.items():
        yield f"{name}.weight", shape
        yield f"{name}.bias", shape[:1]
    for name in norms:
        yield f"{name}.weight", (HIDDEN,)
        yield f"{name}.bias", (HIDDEN,)


def _values(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("LayerNorm.weight"):
        values = random.normal(1.0, 0.2, shape)
    elif name.endswith("bias"):
        values = random.normal(0.0, 0.2, shape)
    elif "embeddings" in name:
        values = random.normal(0.0, 1.0, shape)
    else:  # of width 1 on both sides, and attention that prefers some tokens to others
        gain = 1.6 if "attention.self" in name or (len(shape) == 2 and shape[0] == 1) else 1.0
        values = random.normal(0.0, gain / np.sqrt(shape[1]), shape)
    return values.astype(np.float32)
