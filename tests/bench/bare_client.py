"""The floor: `tritonclient.grpc.aio` and nothing else.

`python -m tests.bench.bare_client HOST:PORT MODEL PROMPT_IDS`
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient

from tests.bench.worker import Outcome, Run, WorkerFailed, serve


def tensor(name: str, values: np.ndarray, datatype: str) -> InferInput:
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


class BareClient:
    def __init__(self, target: str, model: str, prompt: list[int]) -> None:
        self._target = target
        self._model = model
        self._prompt = np.array(prompt, dtype=np.int32)
        self._client: InferenceServerClient | None = None

    async def run(self, run: Run) -> Outcome:
        if self._client is None:
            self._client = InferenceServerClient(self._target)
        first_tokens: list[float] = []
        start = time.perf_counter()
        await asyncio.gather(*[self._requests(self._client, run, first_tokens) for _ in range(run.streams)])
        return Outcome(time.perf_counter() - start, first_tokens)

    async def _requests(self, client: InferenceServerClient, run: Run, first_tokens: list[float]) -> None:
        for _ in range(run.requests):
            await self._request(client, run.tokens, first_tokens)

    async def _request(self, client: InferenceServerClient, tokens: int, first_tokens: list[float]) -> None:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {
                "model_name": self._model,
                "inputs": [
                    tensor("input_ids", self._prompt, "INT32"),
                    tensor("input_lengths", np.array([self._prompt.size], dtype=np.int32), "INT32"),
                    tensor("request_output_len", np.array([tokens], dtype=np.int32), "INT32"),
                    tensor("streaming", np.array([True]), "BOOL"),
                ],
                "outputs": [InferRequestedOutput("output_ids")],
            }

        received = 0
        start = time.perf_counter()
        async for result, error in client.stream_infer(requests()):
            if error is not None:
                raise WorkerFailed(str(error))
            if not received:
                first_tokens.append(time.perf_counter() - start)
            # The cheapest way to the tokens; `as_numpy` would cost more.
            contents = result.get_response().raw_output_contents
            received += len(contents[0]) // 4 if contents else 0
        if received != tokens:
            raise WorkerFailed(f"a stream brought {received} tokens, {tokens} were asked for")


if __name__ == "__main__":
    serve(BareClient(sys.argv[1], sys.argv[2], [int(token) for token in sys.argv[3].split(",")]).run)
