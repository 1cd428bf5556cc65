"""From vectors of tokens to one of the text, as sentence-transformers' Pooling, Dense and Normalize do it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from build.onnx_graph import GraphBuilder, GraphError, Tensors

WEIGHT, BIAS = "linear.weight", "linear.bias"  # names in the weights of a Dense module


def mean(graph: GraphBuilder, hidden: str) -> str:
    """Under the mask: FLOAT [batch, hidden]. The floor is sentence-transformers' own."""
    mask = graph.node("Cast", "pooling.mask", ["attention_mask"], to=1)
    weights = graph.node("Unsqueeze", "pooling.weights", [mask, graph.integers("axis_2", 2)])
    axis = graph.integers("axis_1", 1)
    weighted = graph.node("Mul", "pooling.weighted", [hidden, weights])
    total = graph.node("ReduceSum", "pooling.total", [weighted, axis], keepdims=0)
    count = graph.node("ReduceSum", "pooling.count", [mask, axis], keepdims=1)
    counted = graph.node("Max", "pooling.counted", [count, graph.scalar("least_count", 1e-9)])
    return graph.node("Div", "pooling.mean", [total, counted])


def first(graph: GraphBuilder, hidden: str) -> str:
    """The first token's: FLOAT [batch, hidden]; what sentence-transformers calls pooling of the CLS token."""
    place = graph.integers("first_place", 0)
    token = graph.node("Gather", "pooling.token", [hidden, place], axis=1)
    return graph.node("Squeeze", "pooling.first", [token, graph.integers("axis_of_first", 1)])


def dense(graph: GraphBuilder, value: str, weights: Path) -> str:
    """A linear layer without an activation, as sentence-t5 and GTR have it; its bias is optional."""
    tensors = Tensors(weights)
    outputs, inputs = dense_shape(weights)
    turned = np.ascontiguousarray(tensors.get(WEIGHT, (outputs, inputs)).T)
    product = graph.node("MatMul", "dense.product", [value, graph.constant("dense.weight", turned)])
    if BIAS not in tensors:
        return product
    bias = graph.constant("dense.bias", tensors.get(BIAS, (outputs,)))
    return graph.node("Add", "dense.sum", [product, bias])


def dense_shape(weights: Path) -> tuple[int, int]:
    """Lengths of a Dense module's output and input. Raises GraphError: its weights are not there."""
    shape = Tensors(weights).shape(WEIGHT)
    if len(shape) != 2:
        raise GraphError(f"{WEIGHT} is {list(shape)}, a matrix is expected")
    return shape[0], shape[1]


def normalize(graph: GraphBuilder, value: str, output: str) -> str:
    """Length 1. The floor is torch's own."""
    length = graph.node("ReduceL2", "normalize.length", [value], axes=[1], keepdims=1)
    floored = graph.node("Max", "normalize.floored", [length, graph.scalar("least_length", 1e-12)])
    return graph.node("Div", output, [value, floored])
