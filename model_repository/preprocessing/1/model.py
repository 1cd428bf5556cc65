"""Triton Python-backend model: text or chat messages to the tensors of the engine, or the tokenizer's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from tokentext.files import TOKENIZER_FILES
from tokentext.tokenizer import TextTokenizer

from .prompts import PromptError, PromptMaker, Settings


class TritonPythonModel:
    """One request after another: tokenizing is quick beside everything an engine does."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: entry["string_value"] for key, entry in config["parameters"].items()}
        self._folder = Path(parameters["tokenizer_dir"])
        settings = Settings(
            context_length=int(parameters["context_length"]),
            vocab_size=int(parameters["vocab_size"]),
            end_ids=tuple(int(token) for token in parameters["end_ids"].split(",")),
            pad_id=int(parameters["pad_id"]),
            add_special_tokens=parameters["add_special_tokens"] == "true",
        )
        self._maker = PromptMaker(TextTokenizer(self._folder), settings)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            outputs = self._file(inputs["file_name"]) if "file_name" in inputs else self._maker.make(inputs)
        except FileNotFoundError as error:
            return _error(str(error), pb_utils.TritonError.NOT_FOUND)
        except PromptError as error:
            return _error(str(error), pb_utils.TritonError.INVALID_ARG)
        except Exception as error:  # would fail every request of the batch, and show this one's text in the error
            return _error(f"this request cannot be prepared ({type(error).__name__})", pb_utils.TritonError.INVALID_ARG)
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, array) for name, array in outputs.items() if name in wanted]
        )

    def _file(self, tensor: np.ndarray) -> dict[str, np.ndarray]:
        name = tensor.reshape(-1)[0].decode("utf-8", "replace")
        path = self._folder / name
        if name not in TOKENIZER_FILES or not path.is_file():
            raise FileNotFoundError(f"file_name: there is no tokenizer file {name!r}")
        return {"file_content": np.array([[path.read_bytes()]], dtype=np.object_)}


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))
