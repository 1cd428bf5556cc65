"""Triton model: texts, or pairs of a query and a document, to token ids; or the files of the tokenizer.

Which of the two it takes shows in the inputs that its configuration declares. The contract is in
docs/model_repository.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
        config = json.loads(args["model_config"])
        parameters = config["parameters"]
        declared = [tensor["name"] for tensor in config["input"]]
        self._texts = [name for name in ("text", "query", "document") if name in declared]
        self._folder = Path(parameters["tokenizer_dir"]["string_value"])
        self._context_length = int(parameters["context_length"]["string_value"])
        self._tokenizer = TextTokenizer(self._folder)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            texts = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._texts}
            given = {name: _strings(tensor, name) for name, tensor in texts.items() if tensor is not None}
            file_name = pb_utils.get_input_tensor_by_name(request, "file_name")
            if len(given) != (0 if file_name is not None else len(self._texts)):
                wanted = " and ".join(f"`{name}`" for name in self._texts)
                raise RequestError(f"a request has either {wanted} or `file_name`")
            if file_name is not None:
                return pb_utils.InferenceResponse([self._files(_strings(file_name, "file_name"))])
            return pb_utils.InferenceResponse(self._tokens(request, given))
        except RequestError as error:
            codes = pb_utils.TritonError
            code = codes.NOT_FOUND if isinstance(error, NoSuchFile) else codes.INVALID_ARG
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))

    def _tokens(self, request: Any, texts: dict[str, list[str]]) -> list[Any]:
        """`input_ids`, `attention_mask` and for pairs `token_type_ids`, INT64 [rows, tokens of the longest]."""
        if "text" in texts:
            rows = self._tokenizer.encode_batch(texts["text"], add_special_tokens=True)
            columns = {"input_ids": rows}
        else:
            rows, types = self._pairs(texts["query"], texts["document"], _flags(request, "truncate"))
            columns = {"input_ids": rows, "token_type_ids": types}
        for index, row in enumerate(rows):
            if len(row) > self._context_length:
                raise RequestError(f"input {index} has {len(row)} tokens; the model takes {self._context_length}")
        columns["attention_mask"] = [[1] * len(row) for row in rows]
        return [pb_utils.Tensor(name, _padded(values)) for name, values in columns.items()]

    def _pairs(
        self, queries: list[str], documents: list[str], cut: Sequence[bool]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Ids and segments of each pair; the documents of rows that are to be `cut` end where the context does."""
        rows: list[list[int]] = [[]] * len(queries)
        types: list[list[int]] = [[]] * len(queries)
        for wanted in (False, True):
            chosen = [index for index in range(len(queries)) if bool(cut and cut[index]) == wanted]
            pairs = self._tokenizer.encode_pairs(
                [queries[index] for index in chosen],
                [documents[index] for index in chosen],
                longest=self._context_length if wanted else None,
            )
            for index, pair in zip(chosen, pairs, strict=True):
                rows[index], types[index] = pair.ids, pair.type_ids
        return rows, types

    def _files(self, names: list[str]) -> Any:
        """`file_content`, STRING [names, 1]."""
        contents = np.empty((len(names), 1), np.object_)
        for index, name in enumerate(names):
            path = self._folder / name
            if name not in TOKENIZER_FILES or not path.is_file():
                raise NoSuchFile(f"there is no tokenizer file {name!r}")
            contents[index, 0] = path.read_bytes()
        return pb_utils.Tensor("file_content", contents)


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    values = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for index, row in enumerate(rows):
        values[index, : len(row)] = row
    return values


def _flags(request: Any, name: str) -> list[bool]:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return [] if tensor is None else [bool(value) for value in tensor.as_numpy().reshape(-1)]


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
