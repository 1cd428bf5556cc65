"""An ONNX graph from an encoder's safetensors: token ids in, sentence vectors out.

Inside the graph, besides the encoder: the mean of the token vectors under the attention mask, or the first one, a
linear layer where the model has one, and the scaling to length 1, as sentence-transformers' Pooling, Dense and
Normalize do it.

    input_ids, attention_mask   INT64 [batch, sequence]
    sentence_embedding          FLOAT [batch, dimensions]
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from build.bert_graph import BertConfig, BertEncoder, read_config
from build.onnx_graph import EMBED_LIMIT, GraphError
from build.pooling_graph import dense, dense_shape, first, mean, normalize
from build.t5_graph import T5Config, T5Encoder, t5_config

BERT_FAMILIES = ("bert", "roberta", "xlm-roberta")
OUTPUT = "sentence_embedding"


def read_encoder(config: Path) -> BertConfig | T5Config:
    """What a `config.json` says, of any family that is known here.

    Raises:
        GraphError: another architecture, or a key is missing or makes no sense.
    """
    if (content := _content(config)).get("model_type") == "t5":
        return t5_config(content)
    try:
        return read_config(config, BERT_FAMILIES)[0]
    except GraphError as error:
        raise GraphError(str(error).replace("'xlm-roberta'", "'xlm-roberta', 't5'")) from error


def dimensions(config: Path, dense_weights: Path | None = None) -> int:
    """Length of a vector. Raises GraphError."""
    return dense_shape(dense_weights)[0] if dense_weights else read_encoder(config).hidden


def write_graph(
    weights: Path,
    config: Path,
    folder: Path,
    *,
    pooling: str = "mean",
    dense_weights: Path | None = None,
    embed_limit: int = EMBED_LIMIT,
) -> Path:
    """Writes `model.onnx` (and `model.onnx.data` for large weights) into `folder`.

    Args:
        weights: safetensors of a `BertModel`, `RobertaModel`, `XLMRobertaModel` or `T5EncoderModel`, of any float type;
            the graph computes in FP32.
        config: its `config.json`.
        pooling: `mean` of the tokens' vectors, or `cls`, the first one.
        dense_weights: safetensors of the model's Dense module, if it has one.
        embed_limit: bytes of weights from which on they go to a file of their own.
    Raises:
        GraphError: another architecture, or a tensor is missing or of a wrong shape.
    """
    facts = read_encoder(config)
    encoder = T5Encoder(facts, weights) if isinstance(facts, T5Config) else BertEncoder(facts, weights, segments=False)
    graph, length = encoder.graph, facts.hidden
    vector = (first if pooling == "cls" else mean)(graph, encoder.build())
    if dense_weights is not None:
        length, inputs = dense_shape(dense_weights)
        if inputs != facts.hidden:
            raise GraphError(f"the dense layer takes {inputs} numbers, the encoder gives {facts.hidden}")
        vector = dense(graph, vector, dense_weights)
    normalize(graph, vector, OUTPUT)
    return graph.save(folder, "sentence_encoder", encoder.inputs, (OUTPUT, length), encoder.facts, embed_limit)


def _content(config: Path) -> dict[str, Any]:
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraphError(f"{config}: {error}") from error
    return content if isinstance(content, dict) else {}
