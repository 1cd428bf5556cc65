"""Builds a `ModelInferRequest`: tensors as raw bytes, little-endian, in the KServe v2 protocol's order."""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence

from tritonclient.grpc import service_pb2 as pb


class RequestBuilder:
    """Collects the tensors of one request.

    Args:
        model: Triton's name of the model.
        request_id: unique among all requests of this Triton: TensorRT-LLM keeps requests by it.
        batched: every tensor gets a leading batch dimension of 1.
    """

    def __init__(self, model: str, request_id: str, *, batched: bool) -> None:
        self.message = pb.ModelInferRequest(model_name=model, id=request_id)
        self._lead = [1] if batched else []

    def boolean(self, name: str, value: bool) -> None:
        self._add(name, "BOOL", [1], b"\x01" if value else b"\x00")

    def int32(self, name: str, value: int) -> None:
        self._add(name, "INT32", [1], struct.pack("<i", value))

    def uint64(self, name: str, value: int) -> None:
        self._add(name, "UINT64", [1], struct.pack("<Q", value))

    def fp32(self, name: str, value: float) -> None:
        self._add(name, "FP32", [1], struct.pack("<f", value))

    def string(self, name: str, value: str) -> None:
        self.byte_strings(name, [value.encode()])

    def byte_strings(self, name: str, values: Sequence[bytes]) -> None:
        """STRING of shape [n]; each is preceded by its length."""
        self._add(name, "BYTES", [len(values)], b"".join(struct.pack("<I", len(data)) + data for data in values))

    def int32s(self, name: str, values: Sequence[int]) -> None:
        """A row of shape [n]."""
        self._add(name, "INT32", [len(values)], _little_endian(array("i", values)))

    def fp32s(self, name: str, values: array[float]) -> None:
        """A row of shape [n]; `values` is an array of type code "f"."""
        self._add(name, "FP32", [len(values)], _little_endian(values))

    def word_list(self, name: str, words: Sequence[Sequence[int]]) -> None:
        """`stop_words_list` and `bad_words_list`, INT32 [2, n] with n the number of tokens of all words.

        Row 0 holds the words' tokens end to end, row 1 the end offset of each word, padded with -1 (as TensorRT-LLM's
        preprocessing model makes them).
        """
        tokens: list[int] = []
        ends: list[int] = []
        for word in words:
            tokens.extend(word)
            ends.append(len(tokens))
        ends.extend([-1] * (len(tokens) - len(ends)))
        self._add(name, "INT32", [2, len(tokens)], _little_endian(array("i", tokens + ends)))

    def outputs(self, names: Sequence[str]) -> None:
        """Asks for these outputs and no others."""
        for name in names:
            self.message.outputs.add(name=name)

    def _add(self, name: str, datatype: str, shape: list[int], raw: bytes) -> None:
        self.message.inputs.add(name=name, datatype=datatype, shape=self._lead + shape)
        self.message.raw_input_contents.append(raw)


def _little_endian(values: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values.tobytes()
