"""Triton Python-backend model: the engine's token ids to text, response by response."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from tokentext.tokenizer import TextTokenizer

from .texts import TextMaker


class TritonPythonModel:
    """One response of the engine after another."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"])["parameters"]
        tokenizer = TextTokenizer(Path(parameters["tokenizer_dir"]["string_value"]))
        self._maker = TextMaker(tokenizer, parameters["skip_special_tokens"]["string_value"] == "true")

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        tokens = inputs["TOKENS_BATCH"]
        lengths = inputs["SEQUENCE_LENGTH"].reshape(-1)
        rows = tokens.reshape(len(lengths), -1)
        sequences = [row[:length].tolist() for row, length in zip(rows, lengths, strict=True)]
        if len(sequences) > 1:  # beams come whole
            texts = [self._maker.whole(sequence) for sequence in sequences]
        elif "CONTEXT_IDS" in inputs:
            context = inputs["CONTEXT_IDS"].reshape(-1).tolist()
            texts = [self._maker.after(context, sequences[0], "FINISH_REASON" in inputs)]
        elif request.request_id():
            texts = [self._maker.next(request.request_id(), sequences[0])]
        else:
            texts = [self._maker.whole(sequences[0])]
        output = np.array([[text.encode() for text in texts]], dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", output)])
