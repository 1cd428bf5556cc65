"""The encoder of BERT and its relatives as an ONNX graph: token ids in, a vector of each token out.

The attention and GELU are written as the small operators that ONNX Runtime and TensorRT recognise and fuse. Names of
weights and keys of `config.json` are those of `transformers`, models `bert`, `roberta` and `xlm-roberta`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build.onnx_graph import GraphBuilder, GraphError, Tensors

MASKED = -10000.0  # added to the scores of padding; unlike the smallest float it survives a conversion to half
PREFIXES = {
    "bert": "bert.",
    "roberta": "roberta.",
    "xlm-roberta": "roberta.",
}  # of the encoder's weights within a model that wraps it
TYPE_IDS = "token_type_ids"


@dataclass(frozen=True)
class BertConfig:
    """What `config.json` says.

    first_position: row of the position table for the first token. RoBERTa counts from after its padding id, so its
    table has as many rows more than a text may have tokens.
    """

    family: str
    hidden: int
    heads: int
    layers: int
    inner: int
    rows_of_positions: int
    vocabulary: int
    types: int
    epsilon: float
    first_position: int

    @property
    def longest(self) -> int:
        """Tokens that the position table has room for."""
        return self.rows_of_positions - self.first_position


def read_config(path: Path, families: Sequence[str]) -> tuple[BertConfig, Mapping[str, Any]]:
    """The encoder's part of a `config.json`, and all of it.

    Raises:
        GraphError: not of one of these families (values of `model_type`), or a key is missing or makes no sense.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraphError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise GraphError("config.json: an object is expected")
    family = content.get("model_type", "bert")
    expected = {"model_type": families, "hidden_act": ["gelu"], "position_embedding_type": ["absolute"]}
    for key, values in expected.items():
        if content.get(key, values[0]) not in values:
            raise GraphError(f"config.json: {key} is {content[key]!r}; known: {', '.join(map(repr, values))}")
    try:
        config = BertConfig(
            family=family,
            hidden=int(content["hidden_size"]),
            heads=int(content["num_attention_heads"]),
            layers=int(content["num_hidden_layers"]),
            inner=int(content["intermediate_size"]),
            rows_of_positions=int(content["max_position_embeddings"]),
            vocabulary=int(content["vocab_size"]),
            types=int(content["type_vocab_size"]),
            epsilon=float(content["layer_norm_eps"]),
            first_position=0 if family == "bert" else int(content["pad_token_id"]) + 1,
        )
    except KeyError as error:
        raise GraphError(f"config.json: {error.args[0]} is missing") from error
    except (TypeError, ValueError) as error:
        raise GraphError(f"config.json: {error}") from error
    if config.hidden % config.heads:
        raise GraphError(f"config.json: hidden_size {config.hidden} is no multiple of {config.heads} heads")
    return config, content


class BertEncoder:
    """Builds the encoder into a graph. Methods take and return names of values.

    Args:
        segments: whether the graph takes `token_type_ids`; otherwise every token is of segment 0.
    """

    def __init__(self, config: BertConfig, weights: Path, *, segments: bool) -> None:
        self.graph = GraphBuilder(Tensors(weights))
        self.config = config
        self._segments = segments
        prefix = PREFIXES[config.family]
        self.prefix = prefix if f"{prefix}embeddings.word_embeddings.weight" in self.graph.tensors else ""

    @property
    def inputs(self) -> list[str]:
        """Names of the graph's inputs, INT64 [batch, sequence]."""
        return ["input_ids", "attention_mask", *([TYPE_IDS] if self._segments else [])]

    @property
    def facts(self) -> dict[str, int]:
        """Metadata of the graph. An id outside the vocabulary would fail a whole batch: who fills it has to know."""
        facts = {"vocab_size": self.config.vocabulary, "max_positions": self.config.longest}
        return {**facts, "type_vocab_size": self.config.types} if self._segments else facts

    def build(self) -> str:
        """The vectors of the tokens: FLOAT [batch, sequence, hidden]."""
        hidden = self._embeddings()
        bias = self._mask_bias()
        for index in range(self.config.layers):
            hidden = self._layer(f"{self.prefix}encoder.layer.{index}", hidden, bias)
        return hidden

    def _embeddings(self) -> str:
        config, graph, prefix = self.config, self.graph, f"{self.prefix}embeddings"
        words = graph.tensors.get(f"{prefix}.word_embeddings.weight", (config.vocabulary, config.hidden))
        positions = graph.tensors.get(
            f"{prefix}.position_embeddings.weight", (config.rows_of_positions, config.hidden)
        )[config.first_position :]
        types = graph.tensors.get(f"{prefix}.token_type_embeddings.weight", (config.types, config.hidden))
        word = graph.node("Gather", "embeddings.words", [graph.constant("embeddings.words.weight", words), "input_ids"])
        shape = graph.node("Shape", "input_shape", ["input_ids"])
        length = graph.node("Gather", "sequence_length", [shape, graph.integers("axis_1", 1)])
        if self._segments:
            table = graph.constant("embeddings.positions.weight", positions)
        else:  # where all is one segment, the vector of segment 0 is part of every position's
            table = graph.constant("embeddings.position_and_segment.weight", positions + types[0])
        bounds = [graph.integers("start", 0), length, graph.integers("axis_0", 0)]
        position = graph.node("Slice", "embeddings.positions", [table, *bounds])
        summed = graph.node("Add", "embeddings.sum", [word, position])
        if self._segments:
            segments = [graph.constant("embeddings.segments.weight", types), TYPE_IDS]
            segment = graph.node("Gather", "embeddings.segments", segments)
            summed = graph.node("Add", "embeddings.sum_with_segment", [summed, segment])
        return self._norm(f"{prefix}.LayerNorm", summed)

    def _mask_bias(self) -> str:
        """0 for tokens, MASKED for padding: FLOAT [batch, 1, 1, sequence]."""
        graph = self.graph
        wide = graph.node("Unsqueeze", "mask.unsqueezed", ["attention_mask", graph.integers("axes_1_2", 1, 2)])
        number = graph.node("Cast", "mask.number", [wide], to=1)
        padding = graph.node("Sub", "mask.padding", [graph.scalar("one", 1.0), number])
        return graph.node("Mul", "mask.bias", [padding, graph.scalar("masked", MASKED)])

    def _layer(self, name: str, value: str, bias: str) -> str:
        graph, hidden, inner = self.graph, self.config.hidden, self.config.inner
        attention = f"{name}.attention"
        context = self._attention(f"{attention}.self", value, bias)
        dense = graph.linear(f"{attention}.output.dense", context, hidden, hidden)
        summed = graph.node("Add", f"{attention}.output.sum", [dense, value])
        attended = self._norm(f"{attention}.output.LayerNorm", summed)
        widened = graph.linear(f"{name}.intermediate.dense", attended, hidden, inner)
        outer = graph.linear(f"{name}.output.dense", self._gelu(f"{name}.intermediate.gelu", widened), inner, hidden)
        return self._norm(f"{name}.output.LayerNorm", graph.node("Add", f"{name}.output.sum", [outer, attended]))

    def _attention(self, name: str, value: str, bias: str) -> str:
        graph, hidden, count = self.graph, self.config.hidden, self.config.heads
        size = hidden // count
        split = graph.integers("heads_shape", 0, 0, count, size)

        def heads(part: str, order: Sequence[int]) -> str:
            projected = graph.linear(f"{name}.{part}", value, hidden, hidden)
            shaped = graph.node("Reshape", f"{name}.{part}.shaped", [projected, split])
            return graph.node("Transpose", f"{name}.{part}.heads", [shaped], perm=list(order))

        query, key, values = heads("query", (0, 2, 1, 3)), heads("key", (0, 2, 3, 1)), heads("value", (0, 2, 1, 3))
        product = graph.node("MatMul", f"{name}.product", [query, key])
        scaled = graph.node("Div", f"{name}.scaled", [product, graph.scalar("sqrt_head_size", math.sqrt(size))])
        scores = graph.node("Add", f"{name}.scores", [scaled, bias])
        probabilities = graph.node("Softmax", f"{name}.probabilities", [scores], axis=-1)
        context = graph.node("MatMul", f"{name}.context", [probabilities, values])
        ordered = graph.node("Transpose", f"{name}.context.ordered", [context], perm=[0, 2, 1, 3])
        return graph.node("Reshape", f"{name}.joined", [ordered, graph.integers("hidden_shape", 0, 0, hidden)])

    def _gelu(self, name: str, value: str) -> str:
        graph = self.graph
        scaled = graph.node("Div", f"{name}.scaled", [value, graph.scalar("sqrt_2", math.sqrt(2))])
        raised = graph.node(
            "Add", f"{name}.raised", [graph.node("Erf", f"{name}.erf", [scaled]), graph.scalar("one", 1.0)]
        )
        product = graph.node("Mul", f"{name}.product", [value, raised])
        return graph.node("Mul", name, [product, graph.scalar("half", 0.5)])

    def _norm(self, name: str, value: str) -> str:
        return self.graph.norm(name, value, self.config.hidden, self.config.epsilon)
