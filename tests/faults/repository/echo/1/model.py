"""Gives back its input; `die` ends its process, as a crash in native code would."""

from __future__ import annotations

import os
from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        responses = []
        for request in requests:
            text = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
            if text[0] == b"die":
                os._exit(1)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("text", text)]))
        return responses
