"""Chat completions in one piece: the fold of the events that would have been streamed."""

from __future__ import annotations

from typing import Any

import orjson

from adapter.encoding.logprobs import logprobs_content
from adapter.encoding.usage import usage_object
from adapter.generation.events import Event, Finish, TextDelta, TokenLogprob
from adapter.triton.model import ServedModel


class ChatCompletionFold:
    """Collects the events of one answer into a `chat.completion` object."""

    def __init__(self, model: ServedModel, completion_id: str, created: int) -> None:
        self._model = model
        self._id = completion_id
        self._created = created
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] | None = None
        self._finish: Finish | None = None

    def add(self, item: Event) -> None:
        if type(item) is TextDelta:
            self._text.append(item.text)
            if item.logprobs is not None:
                self._logprobs = (self._logprobs or []) + item.logprobs
        else:
            assert isinstance(item, Finish)
            self._finish = item

    def body(self, *, logprobs: bool) -> bytes:
        """The JSON object.

        Args:
            logprobs: whether they were asked for; an answer without text then has an empty list.
        """
        assert self._finish is not None
        choice: dict[str, Any] = {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "".join(self._text),
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": self._finish.reason,
        }
        if logprobs:
            content = logprobs_content(self._model.tokenizer, self._logprobs or [])
            choice["logprobs"] = {"content": content, "refusal": None}
        return orjson.dumps(
            {
                "id": self._id,
                "object": "chat.completion",
                "created": self._created,
                "model": self._model.id,
                "system_fingerprint": self._model.fingerprint,
                "choices": [choice],
                "usage": usage_object(self._finish),
            }
        )
