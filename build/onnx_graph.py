"""Writing an ONNX graph node by node from safetensors, no torch.

Opset 17 with standard operators only: ONNX Runtime and TensorRT 10 both take it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8  # the one that belongs to opset 17; newer ones are refused by older runtimes
GRAPH = "model.onnx"
EMBED_LIMIT = 1 << 30  # bytes of weights; a protobuf ends at 2 GiB, so larger weights go to a file of their own


class GraphError(ValueError):
    """The weights are not those of a model that can be built; the message names the key."""


class Tensors:
    """The weights by name."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            self._tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise GraphError(f"{path}: {error}") from error

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises GraphError: there is none of this name."""
        if name not in self._tensors:
            raise GraphError(f"the weights have no {name}")
        return tuple(self._tensors[name].shape)

    def get(self, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """Raises GraphError: there is none of this name, or it is of another shape."""
        tensor = self._tensors.get(name)
        if tensor is None:
            raise GraphError(f"the weights have no {name}")
        if tuple(tensor.shape) != tuple(shape):
            raise GraphError(f"{name} is {list(tensor.shape)}, {list(shape)} is expected")
        return np.ascontiguousarray(tensor, dtype=np.float32)


class GraphBuilder:
    """Collects the nodes and constants of one graph. Methods take and return names of values."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}

    def node(self, kind: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        from onnx import helper

        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(value, name)
        return name

    def scalar(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, np.float32))

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))

    def linear(self, name: str, value: str, inputs: int, outputs: int, output: str | None = None) -> str:
        """The layer whose weights are `NAME.weight` [outputs, inputs] and `NAME.bias`; its value is called `output`."""
        weight = self.tensors.get(f"{name}.weight", (outputs, inputs))
        turned = self.constant(f"{name}.weight", np.ascontiguousarray(weight.T))
        bias = self.constant(f"{name}.bias", self.tensors.get(f"{name}.bias", (outputs,)))
        return self.node("Add", output or name, [self.node("MatMul", f"{name}.product", [value, turned]), bias])

    def norm(self, name: str, value: str, size: int, epsilon: float) -> str:
        parts = [
            self.constant(f"{name}.{part}", self.tensors.get(f"{name}.{part}", (size,))) for part in ("weight", "bias")
        ]
        return self.node("LayerNormalization", name, [value, *parts], axis=-1, epsilon=epsilon)

    def save(
        self,
        folder: Path,
        name: str,
        inputs: Sequence[str],
        output: tuple[str, int],
        facts: Mapping[str, int],
        embed_limit: int,
    ) -> Path:
        """Writes `model.onnx` (and `model.onnx.data` for large weights) into `folder`.

        Args:
            inputs: names of INT64 [batch, sequence].
            output: name of a FLOAT [batch, n], and n.
            facts: for who runs the graph; they become its metadata.
            embed_limit: bytes of weights from which on they go to a file of their own.
        """
        import onnx
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(value, TensorProto.INT64, ["batch", "sequence"]) for value in inputs],
            [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, ["batch", output[1]])],
            list(self._initializers.values()),
        )
        model = helper.make_model(
            graph, producer_name="tritongate", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
        )
        helper.set_model_props(model, {key: str(value) for key, value in facts.items()})
        path = folder / GRAPH
        size = sum(len(initializer.raw_data) for initializer in graph.initializer)
        if size > embed_limit:
            onnx.save(model, path, save_as_external_data=True, location=f"{GRAPH}.data")
        else:
            onnx.save(model, path)
        onnx.checker.check_model(str(path), full_check=True)
        return path
