"""In place of a compiled engine in tests, as a target (`build_config.max_draft_len` over 0) or as a draft model.

It "thinks" by arithmetic: the next token follows from the last three tokens, and when it draws (`temperature`) from
seed and place in the request too. A draft model errs where that number says so. Its habits are TensorRT-LLM's: a
request with `draft_input_ids` ends after one step, with the draft tokens that it would have chosen itself and one
more; one without goes on to `request_output_len`, end id or stop word, which are part of the answer; the places of a
draft are set aside for every request; drafts that are too long, and prompts that leave no room, are errors; `stop`
ends the request of the same id. A step takes STEP seconds. What happens is written to `events.log` beside it.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
STEP = 0.004
VOCABULARY = 300
POISON = 299  # in a prompt: an error
MASK = (1 << 64) - 1


def mixed(*numbers: int) -> int:
    value = 0x243F6A8885A308D3
    for number in numbers:
        value = ((value ^ (number + 1)) * 0x9E3779B97F4A7C15) & MASK
        value ^= value >> 29
    return value


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        folder = Path(config["parameters"]["gpt_model_path"]["string_value"])
        built = json.loads((folder / "config.json").read_text())["build_config"]
        self._draft_len, self._room = built["max_draft_len"], built["max_seq_len"]
        self._log = Path(__file__).with_name("events.log")
        self._name = args["model_name"]
        self._stopped: set[str] = set()
        self._lock = threading.Lock()

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            sender = request.get_response_sender()
            if "stop" in given and given["stop"].any():
                self._stopped.add(request.request_id())
                sender.send(flags=FINAL)
                continue
            outputs = set(request.requested_output_names())
            threading.Thread(target=self._answer, args=(sender, given, request.request_id(), outputs)).start()

    def _answer(self, sender: Any, given: dict[str, Any], request_id: str, outputs: set[str]) -> None:
        try:
            steps, reason = self._steps(sender, given, request_id, outputs)
            self._tell(event="end", id=request_id, steps=steps, reason=reason)
        except Exception as error:
            self._tell(event="end", id=request_id, steps=0, reason=str(error))
            sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))), flags=FINAL)

    def _steps(self, sender: Any, given: dict[str, Any], request_id: str, outputs: set[str]) -> tuple[int, str]:
        tokens = given["input_ids"].reshape(-1)[: int(given["input_lengths"].reshape(-1)[0])].tolist()
        scalars = {name: array.reshape(-1)[0] for name, array in given.items() if array.size == 1}
        draft = given["draft_input_ids"].reshape(-1).tolist() if "draft_input_ids" in given else []
        length, seed = int(scalars["request_output_len"]), int(scalars.get("seed", 0))
        self._tell(
            event="begin",
            id=request_id,
            prompt=len(tokens),
            draft=len(draft),
            length=length,
            inputs=sorted(given),
            seed=seed,
        )
        if not {"output_ids", "sequence_length"} <= outputs:
            raise ValueError("output_ids and sequence_length must be among the requested outputs")
        if POISON in tokens:
            raise ValueError(f"{self._name}: the prompt is poisoned")
        if len(draft) > self._draft_len:
            raise ValueError(f"Draft tokens length ({len(draft)}) exceeds maximum draft tokens length")
        if len(tokens) > self._room:
            raise ValueError(f"Prompt length ({len(tokens)}) exceeds maximum input length ({self._room})")
        length = min(length, self._room - len(tokens) - (len(draft) or self._draft_len))
        words = given["stop_words_list"].reshape(2, -1).tolist() if "stop_words_list" in given else [[], []]
        ends = [end for end in words[1] if end != -1]
        stops = [words[0][start:end] for start, end in zip([0, *ends], ends, strict=False)]
        new: list[int] = []
        steps = sent = 0
        reason = "length"
        while len(new) < length and reason == "length":
            time.sleep(STEP)
            steps += 1
            if request_id in self._stopped:
                reason = "stopped"
                break
            guesses = draft if steps == 1 else []
            for place in range(len(guesses) + 1):
                token = self._next(tokens, len(new), seed if "temperature" in scalars else None)
                tokens.append(token)
                new.append(token)
                if token == int(scalars.get("end_id", -1)) or any(tokens[-len(word) :] == word for word in stops):
                    reason = "stop"
                if (place < len(guesses) and guesses[place] != token) or reason == "stop" or len(new) == length:
                    break
            if draft:
                reason = "checked"
            if scalars.get("streaming") and reason == "length" and len(new) < length:
                sender.send(self._response(new[sent:], scalars, outputs))
                sent = len(new)
        self._tell(event="steps", id=request_id, count=steps)
        sender.send(self._response(new[sent:], scalars, outputs, last=True), flags=FINAL)
        return steps, reason

    def _next(self, tokens: list[int], place: int, seed: int | None) -> int:
        thought = mixed(*tokens[-3:], *([] if seed is None else [seed, place]))
        if not self._draft_len and thought % 5 == 0:
            return (thought // 7 + 1) % 290 + 2  # errs
        return (thought // 7) % 290 + 2

    def _response(self, tokens: list[int], scalars: dict[str, Any], outputs: set[str], last: bool = False) -> Any:
        made = {
            "output_ids": np.array([[tokens]], dtype=np.int32),
            "sequence_length": np.array([[len(tokens)]], dtype=np.int32),
        }
        if scalars.get("return_log_probs"):
            made["output_log_probs"] = np.full((1, 1, len(tokens)), -0.5, dtype=np.float32)
        if scalars.get("return_num_output_tokens"):
            made["num_output_tokens"] = np.array([[len(tokens)]], dtype=np.int32)
        if scalars.get("return_perf_metrics") and last:
            for name in ("arrival_time_ns", "last_token_time_ns"):
                made[name] = np.array([[time.monotonic_ns()]], dtype=np.int64)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, made[name]) for name in made if name in outputs])

    def _tell(self, **event: Any) -> None:
        with self._lock, self._log.open("a") as log:
            log.write(json.dumps({"time": time.time(), **event}) + "\n")
