"""Triton model: token ids to sentence vectors or scores, by ONNX Runtime. The contract: docs/model_repository.md.

The rows of all requests of a batch are computed together, sorted by length, so that a short text is not padded to the
length of a long one that happens to come at the same time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at its import: no id and no events for its makers
import onnxruntime
import triton_python_backend_utils as pb_utils

GROUP_TOKENS = 16384  # padded tokens in one run: bounds the memory of the attention
GROUP_WASTE = 0.25  # of a group's longest row may be padding in its shortest
TYPE_IDS = "token_type_ids"

Row = Mapping[str, np.ndarray]  # a row of each input, INT64 [tokens], without padding at the end


class RequestError(Exception):
    """What the request got wrong."""


class TritonPythonModel:
    """A request that is wrong fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = config["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"]) or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        # Idle threads that spin would take the cores of the language model beside this one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = parameters["provider"]["string_value"]
        self._session = _session(parameters["weights"]["string_value"], options, provider)
        self._context_length = int(parameters["context_length"]["string_value"])
        facts = self._session.get_modelmeta().custom_metadata_map
        self._limits = {"input_ids": (int(facts["vocab_size"]), "a token id")}
        # A graph without the input knows one segment only, as XLM-RoBERTa does: there is nothing to tell apart.
        if TYPE_IDS in (tensor.name for tensor in self._session.get_inputs()):
            self._limits[TYPE_IDS] = (int(facts["type_vocab_size"]), "a token type")
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._output = config["output"][0]["name"]

    def execute(self, requests: list[Any]) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        rows: list[Row] = []
        spans: list[tuple[int, int, int]] = []  # request, first row, end of its rows
        for index, request in enumerate(requests):
            try:
                request_rows = self._read(request)
            except RequestError as error:
                code = pb_utils.TritonError.INVALID_ARG
                responses[index] = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
                continue
            spans.append((index, len(rows), len(rows) + len(request_rows)))
            rows += request_rows
        if rows:
            values = self._encode(rows)
            for index, start, end in spans:
                tensor = pb_utils.Tensor(self._output, values[start:end])
                responses[index] = pb_utils.InferenceResponse([tensor])
        return responses

    def _read(self, request: Any) -> list[Row]:
        """The rows of a request."""
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        ids, mask = tensors["input_ids"], tensors["attention_mask"]
        for name, tensor in tensors.items():
            if tensor.shape != ids.shape:
                raise RequestError(f"input_ids are {list(ids.shape)}, {name} is {list(tensor.shape)}")
        rows = []
        for index, row_mask in enumerate(mask):
            if ((row_mask != 0) & (row_mask != 1)).any():
                raise RequestError(f"attention_mask of input {index} holds other numbers than 0 and 1")
            present = np.flatnonzero(row_mask)
            if not len(present):
                raise RequestError(f"input {index} has no tokens")
            length = int(present[-1]) + 1
            if length > self._context_length:
                raise RequestError(f"input {index} has {length} tokens; the model takes {self._context_length}")
            row = {name: tensor[index, :length] for name, tensor in tensors.items()}
            for name, (limit, what) in self._limits.items():
                if row[name].min() < 0 or row[name].max() >= limit:
                    raise RequestError(f"input {index} has {what} outside 0 to {limit - 1}")
            rows.append(row)
        return rows

    def _encode(self, rows: Sequence[Row]) -> np.ndarray:
        """FP32 [rows, n], in the order of `rows`."""
        values = None
        lengths = [len(row["input_ids"]) for row in rows]
        for group in _groups(lengths):
            shape = (len(group), lengths[group[0]])
            inputs = {name: np.zeros(shape, np.int64) for name in ("attention_mask", *self._limits)}
            for place, index in enumerate(group):
                for name, padded in inputs.items():
                    padded[place, : lengths[index]] = rows[index][name]
            (result,) = self._session.run([self._output], inputs)
            if values is None:
                values = np.empty((len(rows), result.shape[1]), np.float32)
            values[group] = result
        assert values is not None
        return values


def _session(weights: str, options: Any, provider: str) -> Any:
    """ONNX Runtime on `provider`: cpu or cuda. It would go on without a GPU in silence; here that is an error."""
    names = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
    if provider not in names:
        raise pb_utils.TritonModelException(f"provider: {provider!r}; known: {', '.join(names)}")
    wanted = names[provider][0]
    available = onnxruntime.get_available_providers()
    session = onnxruntime.InferenceSession(
        weights, options, providers=[name for name in names[provider] if name in available]
    )
    if session.get_providers()[0] != wanted:
        raise pb_utils.TritonModelException(
            f"provider: {provider} needs ONNX Runtime's {wanted}; here are {', '.join(available)} "
            "(the package onnxruntime-gpu, and a GPU)"
        )
    # After an error of the provider, `run` would make a new session on the CPU and go on with that.
    session.disable_fallback()
    return session


def _groups(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of rows of similar length, the longest first in each group."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    group: list[int] = []
    for index in order:
        longest = lengths[group[0]] if group else 0
        full = (len(group) + 1) * longest > GROUP_TOKENS
        if group and (full or lengths[index] < (1 - GROUP_WASTE) * longest):
            yield group
            group = []
        group.append(index)
    if group:
        yield group
