"""The forward pass of a cross-encoder in numpy, in double precision: what the served scores are held against.

Written from the definition of `BertForSequenceClassification` and `(XLM)RobertaForSequenceClassification` in
`transformers`, one pair at a time and without padding, so that it shares nothing with the graph's builder. Pairs are
put together by the `tokenizers` library's own encoding of tuples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

_erf = np.vectorize(math.erf)


class Oracle:
    """The model in `folder` (model.safetensors, config.json, tokenizer.json)."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "model.safetensors")
        self._weights = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def encode(self, query: str, document: str, longest: int | None = None) -> tuple[list[int], list[int]]:
        """Ids and token types of a pair; `longest` cuts the end of the document off."""
        if longest is not None:
            self.tokenizer.enable_truncation(longest, strategy="only_second")
        encoding = self.tokenizer.encode(query, document)
        self.tokenizer.no_truncation()
        return encoding.ids, encoding.type_ids

    def logits(self, query: str, documents: Sequence[str], longest: int | None = None) -> np.ndarray:
        """One per document."""
        return np.array([self.logit(*self.encode(query, document, longest)) for document in documents])

    def tokens(self, query: str, documents: Sequence[str]) -> int:
        return sum(len(self.encode(query, document)[0]) for document in documents)

    def logit(self, ids: Sequence[int], types: Sequence[int]) -> float:
        roberta, hidden = self.config["model_type"] != "bert", self.hidden(ids, types)
        pooled = np.tanh(self._dense("classifier.dense" if roberta else "bert.pooler.dense", hidden[0]))
        return float(self._dense("classifier.out_proj" if roberta else "classifier", pooled)[0])

    def hidden(self, ids: Sequence[int], types: Sequence[int]) -> np.ndarray:
        """The last layer's states, [tokens, hidden_size]."""
        roberta = self.config["model_type"] != "bert"
        name = "roberta" if roberta else "bert"
        places = np.arange(len(ids)) + (self.config["pad_token_id"] + 1 if roberta else 0)
        segments = np.zeros(len(ids), int) if roberta else np.array(types)
        embeddings = f"{name}.embeddings"
        hidden = (
            self._weights[f"{embeddings}.word_embeddings.weight"][np.array(ids)]
            + self._weights[f"{embeddings}.token_type_embeddings.weight"][segments]
            + self._weights[f"{embeddings}.position_embeddings.weight"][places]
        )
        hidden = self._norm(f"{embeddings}.LayerNorm", hidden)
        for index in range(self.config["num_hidden_layers"]):
            hidden = self._layer(f"{name}.encoder.layer.{index}", hidden)
        return hidden

    def _layer(self, name: str, hidden: np.ndarray) -> np.ndarray:
        count = self.config["num_attention_heads"]
        query, key, value = (
            self._dense(f"{name}.attention.self.{part}", hidden).reshape(len(hidden), count, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        context = (weights @ value).swapaxes(0, 1).reshape(hidden.shape)
        hidden = self._norm(
            f"{name}.attention.output.LayerNorm", hidden + self._dense(f"{name}.attention.output.dense", context)
        )
        inner = self._dense(f"{name}.intermediate.dense", hidden)
        inner = inner * 0.5 * (1 + _erf(inner / math.sqrt(2)))
        return self._norm(f"{name}.output.LayerNorm", hidden + self._dense(f"{name}.output.dense", inner))

    def _dense(self, name: str, value: np.ndarray) -> np.ndarray:
        return value @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, name: str, value: np.ndarray) -> np.ndarray:
        centred = value - value.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.config["layer_norm_eps"])
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))
