"""Chat completions in one piece: the fold of the events that would have been streamed."""

from __future__ import annotations

from typing import Any

import orjson

from adapter.encoding.chat_form import ChatForm, tool_call
from adapter.encoding.logprobs import logprobs_content
from adapter.encoding.usage import total_usage
from adapter.generation.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
)
from adapter.triton.model import ServedModel


class ChatCompletionFold:
    """Collects the events of one request's answers into a `chat.completion` object."""

    def __init__(
        self, model: ServedModel, completion_id: str, created: int, form: ChatForm, *, choices: int = 1
    ) -> None:
        self._model = model
        self._id = completion_id
        self._created = created
        self._form = form
        self._choices = [_Choice() for _ in range(choices)]

    def add(self, index: int, item: Event) -> None:
        choice = self._choices[index]
        if type(item) is TextDelta:
            choice.text.append(item.text)
            if item.logprobs is not None:
                choice.logprobs += item.logprobs
        elif type(item) is ReasoningDelta:
            choice.reasoning.append(item.text)
        elif type(item) is ToolCallStart:
            choice.calls.append((item, []))
        elif type(item) is ToolCallDelta:
            choice.calls[-1][1].append(item.text)
        elif type(item) is Finish:
            choice.finish = item

    def body(self, prompt_tokens: int) -> bytes:
        """The JSON object, when every answer is complete."""
        return orjson.dumps(self.completion(prompt_tokens))

    def completion(self, prompt_tokens: int) -> dict[str, Any]:
        """The same, for the store."""
        finishes = [choice.finish for choice in self._choices if choice.finish is not None]
        return {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model.id,
            "system_fingerprint": self._model.fingerprint,
            **self._form.envelope(),
            "choices": [self._choice(index, choice) for index, choice in enumerate(self._choices)],
            "usage": total_usage(prompt_tokens, finishes),
        }

    def _choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        assert choice.finish is not None
        logprobs = None
        if self._form.logprobs:  # an answer without text has an empty list
            logprobs = {"content": logprobs_content(self._model.tokenizer, choice.logprobs), "refusal": None}
        return {
            "index": index,
            "message": self._message(choice),
            "logprobs": logprobs,
            "finish_reason": self._form.finish_reason(choice.finish),
        }

    def _message(self, choice: _Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if choice.calls and not text else text,
            "refusal": None,
            "annotations": [],
        }
        if choice.reasoning:
            message[self._form.reasoning_field] = "".join(choice.reasoning)
        calls = [tool_call(start, "".join(pieces)) for start, pieces in choice.calls]
        if calls and self._form.legacy_function:
            message["function_call"] = calls[0]["function"]
        elif calls:
            message["tool_calls"] = calls
        return message


class _Choice:
    """What has come of one answer."""

    __slots__ = ("calls", "finish", "logprobs", "reasoning", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[ToolCallStart, list[str]]] = []
        self.logprobs: list[TokenLogprob] = []
        self.finish: Finish | None = None
