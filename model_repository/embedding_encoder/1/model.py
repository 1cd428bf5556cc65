"""Triton model: token ids to sentence vectors, with ONNX Runtime. The contract is in docs/model_repository.md.

The rows of all requests of a batch are computed together, sorted by length, so that a short text is not padded to the
length of a long one that happens to come at the same time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at its import: no id and no events for its makers
import onnxruntime
import triton_python_backend_utils as pb_utils

GROUP_TOKENS = 16384  # padded tokens in one run: bounds the memory of the attention
GROUP_WASTE = 0.25  # of a group's longest row may be padding in its shortest


class RequestError(Exception):
    """What the request got wrong."""


class TritonPythonModel:
    """A request that is wrong fails alone."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"]) or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        # Idle threads that spin would take the cores of the language model beside this one.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            parameters["weights"]["string_value"], options, providers=["CPUExecutionProvider"]
        )
        self._context_length = int(parameters["context_length"]["string_value"])
        self._vocab_size = int(self._session.get_modelmeta().custom_metadata_map["vocab_size"])

    def execute(self, requests: list[Any]) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        rows: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        spans: list[tuple[int, int, int]] = []  # request, first row, end of its rows
        for index, request in enumerate(requests):
            try:
                request_rows, request_masks = self._read(request)
            except RequestError as error:
                code = pb_utils.TritonError.INVALID_ARG
                responses[index] = pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
                continue
            spans.append((index, len(rows), len(rows) + len(request_rows)))
            rows += request_rows
            masks += request_masks
        if rows:
            vectors = self._encode(rows, masks)
            for index, start, end in spans:
                tensor = pb_utils.Tensor("sentence_embedding", vectors[start:end])
                responses[index] = pb_utils.InferenceResponse([tensor])
        return responses

    def _read(self, request: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The rows of a request and their masks, INT64 [tokens], without padding at the end."""
        ids = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()
        mask = pb_utils.get_input_tensor_by_name(request, "attention_mask").as_numpy()
        if ids.shape != mask.shape:
            raise RequestError(f"input_ids are {list(ids.shape)}, attention_mask is {list(mask.shape)}")
        rows, masks = [], []
        for index, (row, row_mask) in enumerate(zip(ids, mask, strict=True)):
            if ((row_mask != 0) & (row_mask != 1)).any():
                raise RequestError(f"attention_mask of input {index} holds other numbers than 0 and 1")
            present = np.flatnonzero(row_mask)
            if not len(present):
                raise RequestError(f"input {index} has no tokens")
            length = int(present[-1]) + 1
            if length > self._context_length:
                raise RequestError(f"input {index} has {length} tokens; the model takes {self._context_length}")
            row = row[:length]
            if row.min() < 0 or row.max() >= self._vocab_size:
                raise RequestError(f"input {index} has a token id outside 0 to {self._vocab_size - 1}")
            rows.append(row)
            masks.append(row_mask[:length])
        return rows, masks

    def _encode(self, rows: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> np.ndarray:
        """FP32 [rows, dimensions], in the order of `rows`."""
        vectors = None
        for group in _groups([len(row) for row in rows]):
            ids = np.zeros((len(group), len(rows[group[0]])), np.int64)
            mask = np.zeros_like(ids)
            for place, index in enumerate(group):
                ids[place, : len(rows[index])] = rows[index]
                mask[place, : len(rows[index])] = masks[index]
            (result,) = self._session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})
            if vectors is None:
                vectors = np.empty((len(rows), result.shape[1]), np.float32)
            vectors[group] = result
        assert vectors is not None
        return vectors


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
