"""Behind the standard `tensorrt_llm` configuration in tests: a Python model in place of the compiled engine.

It keeps TensorRT-LLM's C++ backend's habits that a caller has to know: the outputs `output_ids` and `sequence_length`
must be asked for, a streamed response holds new tokens only, the token that ends an answer is among them, nothing names
the reason of the end, unknown guides are passed over. It writes the tokens of `stand_in_answer.json` beside it, and the
end id.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._decoupled = config["model_transaction_policy"]["decoupled"]
        self._answer = json.loads(Path(__file__).with_name("stand_in_answer.json").read_text())
        self._log = Path(__file__).with_name("requests.log")

    def execute(self, requests: list[Any]) -> list[Any] | None:
        if not self._decoupled:
            return [self._whole(request) for request in requests]
        for request in requests:
            self._stream(request)
        return None

    def _stream(self, request: Any) -> None:
        sender = request.get_response_sender()
        error, tokens, tensors = self._tokens(request)
        if error is not None:
            sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(error)), flags=FINAL)
            return
        parts = [[token] for token in tokens] if tensors.get("streaming") else [tokens]
        for part in parts[:-1]:
            sender.send(self._response(part, tensors))
        sender.send(self._response(parts[-1], tensors), flags=FINAL)

    def _whole(self, request: Any) -> Any:
        error, tokens, tensors = self._tokens(request)
        if error is None and tensors.get("streaming"):
            error = "Streaming is only supported if model is deployed using decoupled mode."
        if error is not None:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(error))
        return self._response(tokens, tensors)

    def _tokens(self, request: Any) -> tuple[str | None, list[int], dict[str, Any]]:
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        tensors = {name: array.reshape(-1)[0] for name, array in given.items() if array.size == 1}
        words = given["stop_words_list"].reshape(2, -1).tolist() if "stop_words_list" in given else [[], []]
        told = {name: array.tolist() for name, array in given.items() if array.dtype != np.object_}
        with self._log.open("a") as log:
            log.write(json.dumps(told) + "\n")
        if not {"output_ids", "sequence_length"} <= set(request.requested_output_names()):
            return "output_ids and sequence_length must be among the requested outputs", [], tensors
        if not tensors.get("exclude_input_in_output"):
            return "this test wants no prompt back", [], tensors
        ends = {int(tensors.get("end_id", -1)), *(words[0] if words[1] else [])}
        tokens = []
        for token in [*self._answer, int(tensors.get("end_id", -1))]:
            tokens.append(token)
            if token in ends or len(tokens) == int(tensors["request_output_len"]):
                break
        return None, tokens, tensors

    def _response(self, tokens: list[int], tensors: dict[str, Any]) -> Any:
        outputs = [
            pb_utils.Tensor("output_ids", np.array([[tokens]], dtype=np.int32)),
            pb_utils.Tensor("sequence_length", np.array([[len(tokens)]], dtype=np.int32)),
        ]
        if tensors.get("return_log_probs"):
            scores = [-0.5] * len(tokens)
            outputs.append(pb_utils.Tensor("output_log_probs", np.array([[scores]], dtype=np.float32)))
        return pb_utils.InferenceResponse(outputs)
