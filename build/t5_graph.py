"""The encoder of T5 as an ONNX graph: token ids in, a vector of each token out.

Against BERT: no position table, but a bias of the attention by distance, learnt in the first layer and used in all;
norms without mean and bias, before each part; attention that is not scaled; no bias anywhere. Names of weights and keys
of `config.json` are those of `transformers`, model `t5`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from build.bert_graph import MASKED
from build.onnx_graph import GraphBuilder, GraphError, Tensors

WORDS = ("shared.weight", "encoder.embed_tokens.weight")  # the same table; which of them is stored differs
DISTANCES = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
FEED_FORWARD = {"relu": False, "gated-gelu": True}  # feed_forward_proj -> whether there are two matrices in


@dataclass(frozen=True)
class T5Config:
    """What `config.json` says. `head` is the size of a head; heads times it need not be `hidden`."""

    hidden: int
    heads: int
    head: int
    layers: int
    inner: int
    vocabulary: int
    buckets: int
    furthest: int
    epsilon: float
    gated: bool
    longest: int = 0  # T5 has no bound of its own


def t5_config(content: Mapping[str, Any]) -> T5Config:
    """Raises GraphError: a key is missing or makes no sense."""
    kind = content.get("feed_forward_proj", "relu")
    if kind not in FEED_FORWARD:
        raise GraphError(f"config.json: feed_forward_proj is {kind!r}; known: {', '.join(FEED_FORWARD)}")
    try:
        return T5Config(
            hidden=int(content["d_model"]),
            heads=int(content["num_heads"]),
            head=int(content["d_kv"]),
            layers=int(content["num_layers"]),
            inner=int(content["d_ff"]),
            vocabulary=int(content["vocab_size"]),
            buckets=int(content["relative_attention_num_buckets"]),
            furthest=int(content.get("relative_attention_max_distance", 128)),
            epsilon=float(content["layer_norm_epsilon"]),
            gated=FEED_FORWARD[kind],
        )
    except KeyError as error:
        raise GraphError(f"config.json: {error.args[0]} is missing") from error
    except (TypeError, ValueError) as error:
        raise GraphError(f"config.json: {error}") from error


def distance_buckets(furthest: int, buckets: int) -> NDArray[np.int64]:
    """The bucket of each distance key - query from -furthest to furthest; what is further off is in the last ones.

    Half of the buckets are for keys behind the query. Of each half, the nearer half is one distance each, the rest grow
    with the logarithm (Raffel et al. 2020, section 2.1).
    """
    half, near = buckets // 2, buckets // 4
    found = []
    for distance in range(-furthest, furthest + 1):
        apart = abs(distance)
        if apart >= near:
            grown = math.log(apart / near) / math.log(furthest / near) * (half - near)
            apart = min(near + int(grown), half - 1)
        found.append(apart + (half if distance > 0 else 0))
    return np.array(found, np.int64)


class T5Encoder:
    """Builds the encoder into a graph. Methods take and return names of values."""

    inputs = ("input_ids", "attention_mask")

    def __init__(self, config: T5Config, weights: Path) -> None:
        self.graph = GraphBuilder(Tensors(weights))
        self.config = config

    @property
    def facts(self) -> dict[str, int]:
        """Metadata of the graph. An id outside the vocabulary would fail a whole batch: who fills it has to know."""
        return {"vocab_size": self.config.vocabulary}

    def build(self) -> str:
        """The vectors of the tokens: FLOAT [batch, sequence, hidden]."""
        graph, config = self.graph, self.config
        name = next((name for name in WORDS if name in graph.tensors), WORDS[0])
        words = graph.constant("words", graph.tensors.get(name, (config.vocabulary, config.hidden)))
        hidden = graph.node("Gather", "embeddings", [words, "input_ids"])
        bias = graph.node("Add", "bias", [self._distance_bias(), self._mask_bias()])
        for index in range(config.layers):
            block = f"encoder.block.{index}.layer"
            normed = self._norm(f"{block}.0.layer_norm", hidden)
            attended = self._attention(f"{block}.0.SelfAttention", normed, bias)
            hidden = graph.node("Add", f"{block}.0.sum", [hidden, attended])
            normed = self._norm(f"{block}.1.layer_norm", hidden)
            widened = self._feed_forward(f"{block}.1.DenseReluDense", normed)
            hidden = graph.node("Add", f"{block}.1.sum", [hidden, widened])
        return self._norm("encoder.final_layer_norm", hidden)

    def _distance_bias(self) -> str:
        """FLOAT [1, heads, sequence, sequence]."""
        graph, config = self.graph, self.config
        learnt = graph.tensors.get(DISTANCES, (config.buckets, config.heads))
        by_distance = learnt[distance_buckets(config.furthest, config.buckets)]
        length = graph.node("Shape", "length", ["input_ids"], start=1, end=2)
        scalar = graph.node("Squeeze", "length.scalar", [length, graph.integers("axis_0", 0)])
        zero, one = (graph.constant(f"number_{value}", np.array(value, np.int64)) for value in (0, 1))
        places = graph.node("Range", "places", [zero, scalar, one])
        keys = graph.node("Unsqueeze", "places.keys", [places, graph.integers("axis_0", 0)])
        queries = graph.node("Unsqueeze", "places.queries", [places, graph.integers("axis_1", 1)])
        distance = graph.node("Sub", "distance", [keys, queries])
        furthest = graph.constant("furthest", np.array(config.furthest, np.int64))
        nearer = graph.node("Min", "distance.below", [distance, furthest])
        lowest = graph.constant("furthest_behind", np.array(-config.furthest, np.int64))
        bounded = graph.node("Max", "distance.bounded", [nearer, lowest])
        row = graph.node("Add", "distance.row", [bounded, furthest])
        table = graph.constant("distances", np.ascontiguousarray(by_distance))
        found = graph.node("Gather", "distance.bias", [table, row])
        turned = graph.node("Transpose", "distance.by_head", [found], perm=[2, 0, 1])
        return graph.node("Unsqueeze", "distance.by_batch", [turned, graph.integers("axis_0", 0)])

    def _mask_bias(self) -> str:
        """0 for tokens, MASKED for padding: FLOAT [batch, 1, 1, sequence]."""
        graph = self.graph
        wide = graph.node("Unsqueeze", "mask.unsqueezed", ["attention_mask", graph.integers("axes_1_2", 1, 2)])
        number = graph.node("Cast", "mask.number", [wide], to=1)
        padding = graph.node("Sub", "mask.padding", [graph.scalar("one", 1.0), number])
        return graph.node("Mul", "mask.bias", [padding, graph.scalar("masked", MASKED)])

    def _attention(self, name: str, value: str, bias: str) -> str:
        graph, config = self.graph, self.config
        wide = config.heads * config.head
        split = graph.integers("heads_shape", 0, 0, config.heads, config.head)

        def heads(part: str, order: list[int]) -> str:
            projected = self._matrix(f"{name}.{part}", value, config.hidden, wide)
            shaped = graph.node("Reshape", f"{name}.{part}.shaped", [projected, split])
            return graph.node("Transpose", f"{name}.{part}.heads", [shaped], perm=order)

        query, key, values = heads("q", [0, 2, 1, 3]), heads("k", [0, 2, 3, 1]), heads("v", [0, 2, 1, 3])
        scores = graph.node("Add", f"{name}.scores", [graph.node("MatMul", f"{name}.products", [query, key]), bias])
        probabilities = graph.node("Softmax", f"{name}.probabilities", [scores], axis=-1)
        context = graph.node("MatMul", f"{name}.context", [probabilities, values])
        ordered = graph.node("Transpose", f"{name}.context.ordered", [context], perm=[0, 2, 1, 3])
        joined = graph.node("Reshape", f"{name}.joined", [ordered, graph.integers("joined_shape", 0, 0, wide)])
        return self._matrix(f"{name}.o", joined, wide, config.hidden)

    def _feed_forward(self, name: str, value: str) -> str:
        graph, config = self.graph, self.config
        if not config.gated:
            widened = self._matrix(f"{name}.wi", value, config.hidden, config.inner)
            active = graph.node("Relu", f"{name}.relu", [widened])
        else:
            gate = self._gelu(f"{name}.gelu", self._matrix(f"{name}.wi_0", value, config.hidden, config.inner))
            linear = self._matrix(f"{name}.wi_1", value, config.hidden, config.inner)
            active = graph.node("Mul", f"{name}.gated", [gate, linear])
        return self._matrix(f"{name}.wo", active, config.inner, config.hidden)

    def _gelu(self, name: str, value: str) -> str:
        """The tanh form, which `gated-gelu` means in transformers (gelu_new)."""
        graph = self.graph
        cubed = graph.node("Pow", f"{name}.cubed", [value, graph.scalar("three", 3.0)])
        small = graph.node("Mul", f"{name}.small", [cubed, graph.scalar("gelu_cubic", 0.044715)])
        summed = graph.node("Add", f"{name}.sum", [value, small])
        scaled = graph.node("Mul", f"{name}.scaled", [summed, graph.scalar("sqrt_2_by_pi", math.sqrt(2 / math.pi))])
        raised = graph.node(
            "Add", f"{name}.raised", [graph.node("Tanh", f"{name}.tanh", [scaled]), graph.scalar("one", 1.0)]
        )
        halved = graph.node("Mul", f"{name}.halved", [value, graph.scalar("half", 0.5)])
        return graph.node("Mul", name, [halved, raised])

    def _matrix(self, name: str, value: str, inputs: int, outputs: int) -> str:
        weight = self.graph.tensors.get(f"{name}.weight", (outputs, inputs))
        turned = self.graph.constant(f"{name}.weight", np.ascontiguousarray(weight.T))
        return self.graph.node("MatMul", name, [value, turned])

    def _norm(self, name: str, value: str) -> str:
        graph = self.graph
        squared = graph.node("Mul", f"{name}.squared", [value, value])
        mean = graph.node("ReduceMean", f"{name}.mean", [squared], axes=[-1], keepdims=1)
        floored = graph.node("Add", f"{name}.floored", [mean, graph.scalar("epsilon", self.config.epsilon)])
        scaled = graph.node("Div", f"{name}.scaled", [value, graph.node("Sqrt", f"{name}.root", [floored])])
        weight = graph.constant(f"{name}.weight", graph.tensors.get(f"{name}.weight", (self.config.hidden,)))
        return graph.node("Mul", name, [scaled, weight])
