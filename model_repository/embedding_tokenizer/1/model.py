"""Triton model: texts to token ids, or the files of the tokenizer. The contract is in docs/model_repository.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from tokentext.files import TOKENIZER_FILES
from tokentext.tokenizer import TextTokenizer


class RequestError(Exception):
    """What the request got wrong."""


class NoSuchFile(RequestError):
    """It asked for a file that is not there, or not one of the tokenizer's."""


class TritonPythonModel:
    """Each request is answered on its own; the texts of a request are tokenized together."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        self._folder = Path(parameters["tokenizer_dir"]["string_value"])
        self._context_length = int(parameters["context_length"]["string_value"])
        self._tokenizer = TextTokenizer(self._folder)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            text = pb_utils.get_input_tensor_by_name(request, "text")
            file_name = pb_utils.get_input_tensor_by_name(request, "file_name")
            if (text is None) == (file_name is None):
                raise RequestError("a request has either `text` or `file_name`")
            if file_name is not None:
                return pb_utils.InferenceResponse([self._files(_strings(file_name, "file_name"))])
            return pb_utils.InferenceResponse(self._tokens(_strings(text, "text")))
        except RequestError as error:
            codes = pb_utils.TritonError
            code = codes.NOT_FOUND if isinstance(error, NoSuchFile) else codes.INVALID_ARG
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))

    def _tokens(self, texts: list[str]) -> list[Any]:
        """`input_ids` and `attention_mask`, INT64 [texts, tokens of the longest]."""
        rows = self._tokenizer.encode_batch(texts, add_special_tokens=True)
        for index, row in enumerate(rows):
            if len(row) > self._context_length:
                raise RequestError(f"input {index} has {len(row)} tokens; the model takes {self._context_length}")
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return [pb_utils.Tensor("input_ids", ids), pb_utils.Tensor("attention_mask", mask)]

    def _files(self, names: list[str]) -> Any:
        """`file_content`, STRING [names, 1]."""
        contents = np.empty((len(names), 1), np.object_)
        for index, name in enumerate(names):
            path = self._folder / name
            if name not in TOKENIZER_FILES or not path.is_file():
                raise NoSuchFile(f"there is no tokenizer file {name!r}")
            contents[index, 0] = path.read_bytes()
        return pb_utils.Tensor("file_content", contents)


def _strings(tensor: Any, name: str) -> list[str]:
    values = []
    for index, value in enumerate(tensor.as_numpy().reshape(-1)):
        try:
            values.append(value.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise RequestError(f"{name} {index} is not UTF-8: {error}") from error
    if not values:
        raise RequestError(f"{name} is empty")
    return values
