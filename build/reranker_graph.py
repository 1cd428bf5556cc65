"""An ONNX graph from a cross-encoder's safetensors: a query and a document as one row of token ids in, a score out.

The score is the logit of `transformers`' `BertForSequenceClassification`, `RobertaForSequenceClassification` and
`XLMRobertaForSequenceClassification` with one label, computed from the vector of the first token:

    bert                   pooler (dense, tanh), then classifier
    roberta, xlm-roberta   classifier.dense, tanh, classifier.out_proj

    input_ids, attention_mask   INT64 [batch, sequence]
    token_type_ids              INT64 [batch, sequence], if the model knows more than one segment
    score                       FLOAT [batch, 1]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from build.bert_graph import BertEncoder, read_config
from build.onnx_graph import EMBED_LIMIT, GraphError

FAMILIES = ("bert", "roberta", "xlm-roberta")
OUTPUT = "score"


def write_graph(weights: Path, config: Path, folder: Path, *, embed_limit: int = EMBED_LIMIT) -> Path:
    """Writes `model.onnx` (and `model.onnx.data` for large weights) into `folder`.

    Args:
        weights: safetensors of a `...ForSequenceClassification`, of any float type; the graph computes in FP32.
        config: its `config.json`.
        embed_limit: bytes of weights from which on they go to a file of their own.
    Raises:
        GraphError: another architecture, more than one label, or a tensor is missing or of a wrong shape.
    """
    facts, content = read_config(config, FAMILIES)
    _check_labels(content)
    encoder = BertEncoder(facts, weights, segments=facts.types > 1)
    graph, hidden = encoder.graph, facts.hidden
    tokens = encoder.build()
    first = graph.node("Gather", "first_token", [tokens, graph.constant("index_0", np.array(0, np.int64))], axis=1)
    if facts.family == "bert":
        dense, projection = f"{encoder.prefix}pooler.dense", "classifier"
    else:
        dense, projection = "classifier.dense", "classifier.out_proj"
    pooled = graph.node("Tanh", "pooled", [graph.linear(dense, first, hidden, hidden)])
    graph.linear(projection, pooled, hidden, 1, output=OUTPUT)
    return graph.save(folder, "cross_encoder", encoder.inputs, (OUTPUT, 1), encoder.facts, embed_limit)


def score_activation(config: Path) -> str:
    """What the model's makers put over the logit: `sigmoid` or `none`.

    As sentence-transformers and vLLM read it from `config.json`: `sentence_transformers.activation_fn`, else
    `sbert_ce_default_activation_function`, else a sigmoid, for that is what one label is trained with by default.

    Raises:
        GraphError: another function.
    """
    _, content = read_config(config, FAMILIES)
    nested = content.get("sentence_transformers")
    name = nested.get("activation_fn") if isinstance(nested, Mapping) else None
    name = name or content.get("sbert_ce_default_activation_function") or "torch.nn.modules.activation.Sigmoid"
    known = {"Sigmoid": "sigmoid", "Identity": "none"}
    found = known.get(str(name).rpartition(".")[2])
    if found is None:
        raise GraphError(f"config.json: the scores' activation is {name!r}; {' and '.join(known)} are known")
    return found


def _check_labels(content: Mapping[str, Any]) -> None:
    labels = content.get("id2label")
    count = len(labels) if isinstance(labels, Mapping) else content.get("num_labels", 1)
    if count != 1:
        raise GraphError(f"config.json: the model has {count} labels; a reranker has one")
