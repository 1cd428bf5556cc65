"""An ONNX graph from a BERT encoder's safetensors: token ids in, sentence vectors out, no torch.

Inside the graph, besides the encoder: the mean of the token vectors under the attention mask, scaled to length 1, as
sentence-transformers' Pooling (mean) and Normalize do it.

    input_ids, attention_mask   INT64 [batch, sequence]
    sentence_embedding          FLOAT [batch, hidden_size]

Opset 17 with standard operators only: ONNX Runtime and TensorRT 10 both take it. The attention and GELU are written as
the small operators that both recognise and fuse.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8  # the one that belongs to opset 17; newer ones are refused by older runtimes
GRAPH = "model.onnx"
EMBED_LIMIT = 1 << 30  # bytes of weights; a protobuf ends at 2 GiB, so larger weights go to a file of their own
MASKED = -10000.0  # added to the scores of padding; unlike the smallest float it survives a conversion to half


class GraphError(ValueError):
    """The weights are not those of an encoder that can be built; the message names the key."""


def write_graph(weights: Path, config: Path, folder: Path, *, embed_limit: int = EMBED_LIMIT) -> Path:
    """Writes `model.onnx` (and `model.onnx.data` for large weights) into `folder`.

    Args:
        weights: safetensors of a `BertModel`, of any float type; the graph computes in FP32.
        config: its `config.json`.
        embed_limit: bytes of weights from which on they go to a file of their own.
    Raises:
        GraphError: another architecture, or a tensor is missing or of a wrong shape.
    """
    import onnx  # needed only where nothing is in the cache

    graph = _Bert(json.loads(config.read_text(encoding="utf-8")), _Tensors(weights)).build()
    path = folder / GRAPH
    size = sum(len(initializer.raw_data) for initializer in graph.graph.initializer)
    if size > embed_limit:
        onnx.save(graph, path, save_as_external_data=True, location=f"{GRAPH}.data")
    else:
        onnx.save(graph, path)
    onnx.checker.check_model(str(path), full_check=True)
    return path


class _Tensors:
    """The weights by name, with or without the prefix of a model that wraps the encoder."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            self._tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise GraphError(f"{path}: {error}") from error
        self._prefix = "bert." if "bert.embeddings.word_embeddings.weight" in self._tensors else ""

    def get(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        tensor = self._tensors.get(self._prefix + name)
        if tensor is None:
            raise GraphError(f"the weights have no {name}")
        if tuple(tensor.shape) != tuple(shape):
            raise GraphError(f"{name} is {list(tensor.shape)}, {list(shape)} is expected")
        return np.ascontiguousarray(tensor, dtype=np.float32)


class _Bert:
    """Builds the graph node by node. Methods take and return names of values."""

    def __init__(self, config: dict[str, Any], tensors: _Tensors) -> None:
        expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        for key, value in expected.items():
            if config.get(key, value) != value:
                raise GraphError(f"config.json: {key} is {config[key]!r}; {value!r} is known")
        try:
            self._hidden = int(config["hidden_size"])
            self._heads = int(config["num_attention_heads"])
            self._layers = int(config["num_hidden_layers"])
            self._inner = int(config["intermediate_size"])
            self._positions = int(config["max_position_embeddings"])
            self._vocabulary = int(config["vocab_size"])
            self._types = int(config["type_vocab_size"])
            self._epsilon = float(config["layer_norm_eps"])
        except KeyError as error:
            raise GraphError(f"config.json: {error.args[0]} is missing") from error
        if self._hidden % self._heads:
            raise GraphError(f"config.json: hidden_size {self._hidden} is no multiple of {self._heads} heads")
        self._tensors = tensors
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}

    def build(self) -> Any:
        """The onnx.ModelProto."""
        from onnx import TensorProto, helper

        hidden = self._embeddings()
        bias = self._mask_bias()
        for index in range(self._layers):
            hidden = self._layer(f"encoder.layer.{index}", hidden, bias)
        self._sentence(hidden)
        batch, sequence = "batch", "sequence"
        graph = helper.make_graph(
            self._nodes,
            "sentence_encoder",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, [batch, sequence]),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [batch, sequence]),
            ],
            [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, [batch, self._hidden])],
            list(self._initializers.values()),
        )
        model = helper.make_model(
            graph,
            producer_name="tritongate",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        # An id outside the vocabulary would fail a whole batch: who fills it has to know.
        helper.set_model_props(model, {"vocab_size": str(self._vocabulary), "max_positions": str(self._positions)})
        return model

    def _node(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(value, name)
        return name

    def _scalar(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _integers(self, name: str, *values: int) -> str:
        return self._constant(name, np.array(values, np.int64))

    def _linear(self, name: str, value: str, inputs: int, outputs: int) -> str:
        weight = self._tensors.get(f"{name}.weight", (outputs, inputs))
        product = self._node(
            "MatMul", f"{name}.product", [value, self._constant(f"{name}.weight", np.ascontiguousarray(weight.T))]
        )
        bias = self._constant(f"{name}.bias", self._tensors.get(f"{name}.bias", (outputs,)))
        return self._node("Add", name, [product, bias])

    def _norm(self, name: str, value: str) -> str:
        parameters = [
            self._constant(f"{name}.{part}", self._tensors.get(f"{name}.{part}", (self._hidden,)))
            for part in ("weight", "bias")
        ]
        return self._node("LayerNormalization", name, [value, *parameters], axis=-1, epsilon=self._epsilon)

    def _embeddings(self) -> str:
        words = self._tensors.get("embeddings.word_embeddings.weight", (self._vocabulary, self._hidden))
        positions = self._tensors.get("embeddings.position_embeddings.weight", (self._positions, self._hidden))
        types = self._tensors.get("embeddings.token_type_embeddings.weight", (self._types, self._hidden))
        word = self._node(
            "Gather",
            "embeddings.words",
            [self._constant("embeddings.word_embeddings.weight", words), "input_ids"],
        )
        length = self._node(
            "Gather",
            "sequence_length",
            [self._node("Shape", "input_shape", ["input_ids"]), self._integers("axis_1", 1)],
        )
        # A text is one segment, so the vector of segment 0 is part of every position's.
        table = self._constant("embeddings.position_and_segment.weight", positions + types[0])
        position = self._node(
            "Slice",
            "embeddings.positions",
            [table, self._integers("start", 0), length, self._integers("axis_0", 0)],
        )
        return self._norm("embeddings.LayerNorm", self._node("Add", "embeddings.sum", [word, position]))

    def _mask_bias(self) -> str:
        """0 for tokens, MASKED for padding: FLOAT [batch, 1, 1, sequence]."""
        wide = self._node("Unsqueeze", "mask.unsqueezed", ["attention_mask", self._integers("axes_1_2", 1, 2)])
        number = self._node("Cast", "mask.number", [wide], to=1)
        padding = self._node("Sub", "mask.padding", [self._scalar("one", 1.0), number])
        return self._node("Mul", "mask.bias", [padding, self._scalar("masked", MASKED)])

    def _layer(self, name: str, value: str, bias: str) -> str:
        attention = f"{name}.attention"
        context = self._attention(f"{attention}.self", value, bias)
        dense = self._linear(f"{attention}.output.dense", context, self._hidden, self._hidden)
        summed = self._node("Add", f"{attention}.output.sum", [dense, value])
        attended = self._norm(f"{attention}.output.LayerNorm", summed)
        inner = self._linear(f"{name}.intermediate.dense", attended, self._hidden, self._inner)
        outer = self._linear(
            f"{name}.output.dense", self._gelu(f"{name}.intermediate.gelu", inner), self._inner, self._hidden
        )
        return self._norm(f"{name}.output.LayerNorm", self._node("Add", f"{name}.output.sum", [outer, attended]))

    def _attention(self, name: str, value: str, bias: str) -> str:
        size = self._hidden // self._heads
        split = self._integers("heads_shape", 0, 0, self._heads, size)

        def heads(part: str, order: Sequence[int]) -> str:
            projected = self._linear(f"{name}.{part}", value, self._hidden, self._hidden)
            shaped = self._node("Reshape", f"{name}.{part}.shaped", [projected, split])
            return self._node("Transpose", f"{name}.{part}.heads", [shaped], perm=list(order))

        query, key, values = heads("query", (0, 2, 1, 3)), heads("key", (0, 2, 3, 1)), heads("value", (0, 2, 1, 3))
        product = self._node("MatMul", f"{name}.product", [query, key])
        scaled = self._node("Div", f"{name}.scaled", [product, self._scalar("sqrt_head_size", math.sqrt(size))])
        scores = self._node("Add", f"{name}.scores", [scaled, bias])
        probabilities = self._node("Softmax", f"{name}.probabilities", [scores], axis=-1)
        context = self._node("MatMul", f"{name}.context", [probabilities, values])
        ordered = self._node("Transpose", f"{name}.context.ordered", [context], perm=[0, 2, 1, 3])
        return self._node("Reshape", f"{name}.joined", [ordered, self._integers("hidden_shape", 0, 0, self._hidden)])

    def _gelu(self, name: str, value: str) -> str:
        erf = self._node(
            "Erf", f"{name}.erf", [self._node("Div", f"{name}.scaled", [value, self._scalar("sqrt_2", math.sqrt(2))])]
        )
        raised = self._node("Add", f"{name}.raised", [erf, self._scalar("one", 1.0)])
        product = self._node("Mul", f"{name}.product", [value, raised])
        return self._node("Mul", name, [product, self._scalar("half", 0.5)])

    def _sentence(self, hidden: str) -> None:
        """Mean under the mask, then length 1. The floors are sentence-transformers' and torch's own."""
        mask = self._node("Cast", "pooling.mask", ["attention_mask"], to=1)
        weights = self._node("Unsqueeze", "pooling.weights", [mask, self._integers("axis_2", 2)])
        axis = self._integers("axis_1", 1)
        weighted = self._node("Mul", "pooling.weighted", [hidden, weights])
        total = self._node("ReduceSum", "pooling.total", [weighted, axis], keepdims=0)
        count = self._node("ReduceSum", "pooling.count", [mask, axis], keepdims=1)
        counted = self._node("Max", "pooling.counted", [count, self._scalar("least_count", 1e-9)])
        mean = self._node("Div", "pooling.mean", [total, counted])
        length = self._node("ReduceL2", "normalize.length", [mean], axes=[1], keepdims=1)
        floored = self._node("Max", "normalize.floored", [length, self._scalar("least_length", 1e-12)])
        self._node("Div", "sentence_embedding", [mean, floored])
