"""A plain gRPC client of the engine model, as any Triton user would write it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tritonclient.grpc.aio as grpc

DTYPES: dict[str, tuple[str, Any]] = {
    "INT32": ("INT32", np.int32),
    "FP32": ("FP32", np.float32),
    "BOOL": ("BOOL", np.bool_),
    "UINT64": ("UINT64", np.uint64),
    "BYTES": ("BYTES", np.object_),
}

KINDS = {
    **dict.fromkeys(
        ["input_ids", "input_lengths", "request_output_len", "end_id", "stop_words_list", "bad_words_list"], "INT32"
    ),
    **dict.fromkeys(["runtime_top_k", "min_tokens", "top_logprobs", "stop_token_ids", "beam_width"], "INT32"),
    "num_return_sequences": "INT32",
    **dict.fromkeys(["embedding_bias", "temperature", "runtime_top_p", "min_p", "repetition_penalty"], "FP32"),
    **dict.fromkeys(["presence_penalty", "frequency_penalty"], "FP32"),
    **dict.fromkeys(["return_log_probs", "return_num_input_tokens", "return_num_output_tokens"], "BOOL"),
    **dict.fromkeys(["return_prompt_log_probs", "return_perf_metrics"], "BOOL"),
    **dict.fromkeys(["exclude_input_in_output", "stop", "streaming", "ignore_eos"], "BOOL"),
    **dict.fromkeys(["seed", "lora_task_id"], "UINT64"),
    **dict.fromkeys(["guided_decoding_guide_type", "guided_decoding_guide", "cache_scope", "media"], "BYTES"),
}


def tensor(name: str, value: Any) -> grpc.InferInput:
    """An input tensor with the leading batch dimension of 1; scalars become [1, 1]."""
    kind = KINDS[name]
    if isinstance(value, str):
        value = value.encode()
    array = np.array(value, dtype=DTYPES[kind][1])
    array = array.reshape(1, 1) if array.ndim == 0 else array[np.newaxis]
    made = grpc.InferInput(name, list(array.shape), DTYPES[kind][0])
    made.set_data_from_numpy(array)
    return made


def word_list(*words: Sequence[int]) -> np.ndarray:
    """The wire format of stop and bad words: int32 [2, n]."""
    ids = [token for word in words for token in word]
    ends = np.cumsum([len(word) for word in words]).tolist()
    return np.array([ids, ends + [-1] * (len(ids) - len(ends))], dtype=np.int32)


@dataclass
class Answer:
    """Everything that came back for one request; `responses` holds the output tensors of each response by name."""

    responses: list[dict[str, np.ndarray]] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return [int(token) for response in self.responses for token in response["output_ids"][0, 0]]

    @property
    def log_probs(self) -> list[float]:
        return [float(value) for response in self.responses for value in response["output_log_probs"][0, 0]]

    @property
    def finish_reason(self) -> str:
        (reason,) = [r["finish_reason"][0, 0] for r in self.responses if "finish_reason" in r]
        return bytes(reason).decode()


class EngineClient:
    """Talks to one engine model. Close it, or use it as a context manager.

    Args:
        url: `host:port` of Triton's gRPC.
    """

    def __init__(self, url: str, model: str) -> None:
        self.client = grpc.InferenceServerClient(url)
        self.model = model

    async def __aenter__(self) -> EngineClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    def request(self, prompt: Sequence[int], length: int, **tensors: Any) -> dict[str, Any]:
        """One item for `stream_infer`."""
        request_id = tensors.pop("request_id", "")
        outputs = tensors.pop("outputs", None)
        inputs = {"input_ids": list(prompt), "input_lengths": len(prompt), "request_output_len": length, **tensors}
        made = [tensor(name, value) for name, value in inputs.items() if value is not None]
        item: dict[str, Any] = {"model_name": self.model, "inputs": made, "request_id": request_id}
        if outputs:
            item["outputs"] = [grpc.InferRequestedOutput(name) for name in outputs]
        return item

    def stream(self, item: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        """The call: an async iterator of (result, error) with `cancel()`."""

        async def items() -> AsyncIterator[Mapping[str, Any]]:
            yield item

        return self.client.stream_infer(items(), headers=headers)

    async def generate(self, prompt: Sequence[int], length: int, **tensors: Any) -> Answer:
        """Runs a request to its end, streamed unless `streaming=False`.

        Raises:
            InferenceServerException: an error response.
        """
        answer = Answer()
        failure: Exception | None = None
        async for result, error in self.stream(self.request(prompt, length, **({"streaming": True} | tensors))):
            if error is not None:
                failure = error
                continue
            outputs = result.get_response().outputs
            answer.responses.append({output.name: result.as_numpy(output.name) for output in outputs})
        if failure is not None:
            raise failure
        return answer
