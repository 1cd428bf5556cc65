"""An ONNX graph from a BERT encoder's safetensors: token ids in, sentence vectors out.

Inside the graph, besides the encoder: the mean of the token vectors under the attention mask, scaled to length 1, as
sentence-transformers' Pooling (mean) and Normalize do it.

    input_ids, attention_mask   INT64 [batch, sequence]
    sentence_embedding          FLOAT [batch, hidden_size]
"""

from __future__ import annotations

from pathlib import Path

from build.bert_graph import BertEncoder, read_config
from build.onnx_graph import EMBED_LIMIT, GraphBuilder

FAMILIES = ("bert",)
OUTPUT = "sentence_embedding"


def write_graph(weights: Path, config: Path, folder: Path, *, embed_limit: int = EMBED_LIMIT) -> Path:
    """Writes `model.onnx` (and `model.onnx.data` for large weights) into `folder`.

    Args:
        weights: safetensors of a `BertModel`, of any float type; the graph computes in FP32.
        config: its `config.json`.
        embed_limit: bytes of weights from which on they go to a file of their own.
    Raises:
        GraphError: another architecture, or a tensor is missing or of a wrong shape.
    """
    facts, _ = read_config(config, FAMILIES)
    encoder = BertEncoder(facts, weights, segments=False)
    _sentence(encoder.graph, encoder.build())
    output = (OUTPUT, facts.hidden)
    return encoder.graph.save(folder, "sentence_encoder", encoder.inputs, output, encoder.facts, embed_limit)


def _sentence(graph: GraphBuilder, hidden: str) -> None:
    """Mean under the mask, then length 1. The floors are sentence-transformers' and torch's own."""
    mask = graph.node("Cast", "pooling.mask", ["attention_mask"], to=1)
    weights = graph.node("Unsqueeze", "pooling.weights", [mask, graph.integers("axis_2", 2)])
    axis = graph.integers("axis_1", 1)
    weighted = graph.node("Mul", "pooling.weighted", [hidden, weights])
    total = graph.node("ReduceSum", "pooling.total", [weighted, axis], keepdims=0)
    count = graph.node("ReduceSum", "pooling.count", [mask, axis], keepdims=1)
    counted = graph.node("Max", "pooling.counted", [count, graph.scalar("least_count", 1e-9)])
    mean = graph.node("Div", "pooling.mean", [total, counted])
    length = graph.node("ReduceL2", "normalize.length", [mean], axes=[1], keepdims=1)
    floored = graph.node("Max", "normalize.floored", [length, graph.scalar("least_length", 1e-12)])
    graph.node("Div", OUTPUT, [mean, floored])
