"""Streamed chat completions: events to `chat.completion.chunk` objects.

Nearly every chunk differs from the one before in its text and its counts only, so the JSON around them is made once.
"""

from __future__ import annotations

import secrets
from typing import Any

import orjson

from adapter.encoding.chat_form import ChatForm, tool_call
from adapter.encoding.event_stream import DONE, event
from adapter.encoding.logprobs import logprobs_content
from adapter.encoding.usage import running_usage, total_usage
from adapter.generation.events import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallEnd,
    ToolCallStart,
)
from adapter.settings import StreamUsage
from adapter.triton.model import ServedModel

_CUT = "\x00cut\x00"  # stands where the template of a chunk is cut; cannot occur in JSON unescaped
_PADDED_TO = 32  # characters


class ChatChunkEncoder:
    """Encodes the answers of one request. Call `start` once, `encode` per event, `end` once.

    Args:
        completion_id: `chatcmpl-...`.
        created: Unix seconds.
        choices: how many answers there are.
        usage: with CONTINUOUS every chunk has the running counts, complete in the last; with FINAL `usage` is null
            until a last chunk with empty `choices`, as OpenAI's include_usage has it.
        obfuscation: every chunk is padded by random characters, so that its size says nothing about its text.
    """

    def __init__(
        self,
        model: ServedModel,
        completion_id: str,
        created: int,
        usage: StreamUsage,
        form: ChatForm,
        *,
        choices: int = 1,
        obfuscation: bool = False,
    ) -> None:
        self._tokenizer = model.tokenizer
        self._usage = usage
        self._form = form
        self._obfuscation = obfuscation
        self._prompt_tokens = 0
        self._done = [0] * choices  # tokens generated so far, by choice
        self._finishes: list[Finish | None] = [None] * choices
        self._calls: list[ToolCallStart | None] = [None] * choices  # the one under way
        self._envelope = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model.id,
            "system_fingerprint": model.fingerprint,
            **form.envelope(),
        }
        self._templates: list[tuple[bytes, bytes, bytes]] = []
        self._counts = b""

    def start(self, prompt_tokens: int) -> bytes:
        """The first chunk of each choice: the role."""
        self._prompt_tokens = prompt_tokens
        indices = range(len(self._done))
        self._templates = [self._text_template(index) for index in indices]
        self._counts = b'{"prompt_tokens":%d,"completion_tokens":%%d,"total_tokens":%%d}' % prompt_tokens
        return b"".join(self._delta(index, {"role": "assistant", "content": "", "refusal": None}) for index in indices)

    def encode(self, index: int, item: Event) -> bytes:
        """The chunk of one event of the choice `index`; empty for an event that shows nothing."""
        if type(item) is TextDelta:
            self._done[index] = item.completion_tokens
            if item.logprobs is None and not self._obfuscation:
                before, between, after = self._templates[index]
                text = orjson.dumps(item.text)
                if self._usage is StreamUsage.CONTINUOUS:
                    done = sum(self._done)
                    return b"".join((before, text, between, self._counts % (done, self._prompt_tokens + done), after))
                return b"".join((before, text, after))
            logprobs = None
            if item.logprobs is not None:
                logprobs = {"content": logprobs_content(self._tokenizer, item.logprobs), "refusal": None}
            return self._delta(index, {"content": item.text}, logprobs)
        if type(item) is ToolCallDelta:
            self._done[index] = item.completion_tokens
            return self._delta(index, self._call_delta(index, item))
        if type(item) is ReasoningDelta:
            self._done[index] = item.completion_tokens
            return self._delta(index, {self._form.reasoning_field: item.text})
        if type(item) is ToolCallStart:
            self._done[index] = item.completion_tokens
            self._calls[index] = item
            call = tool_call(item, "")
            if self._form.legacy_function:
                return self._delta(index, {"function_call": call["function"]})
            return self._delta(index, {"tool_calls": [{"index": item.index, **call}]})
        if type(item) is ToolCallEnd:
            return b""
        assert isinstance(item, Finish)
        self._done[index] = item.completion_tokens
        self._finishes[index] = item
        usage = None
        if self._usage is StreamUsage.CONTINUOUS:
            finishes = [finish for finish in self._finishes if finish is not None]
            usage = running_usage(self._prompt_tokens, sum(self._done))
            if len(finishes) == len(self._finishes):
                usage = total_usage(self._prompt_tokens, finishes)
        return self._chunk([_choice(index, {}, self._form.finish_reason(item))], usage)

    def end(self) -> bytes:
        if self._usage is not StreamUsage.FINAL:
            return DONE
        finishes = [finish for finish in self._finishes if finish is not None]
        return self._chunk([], total_usage(self._prompt_tokens, finishes)) + DONE

    def _call_delta(self, index: int, item: ToolCallDelta) -> dict[str, Any]:
        call = self._calls[index]
        assert call is not None
        if self._form.legacy_function:
            return {"function_call": {"arguments": item.text}}
        piece = {"custom": {"input": item.text}} if call.custom else {"function": {"arguments": item.text}}
        return {"tool_calls": [{"index": item.index, **piece}]}

    def _delta(self, index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None) -> bytes:
        choice = _choice(index, delta)
        choice["logprobs"] = logprobs
        usage = None
        if self._usage is StreamUsage.CONTINUOUS:
            usage = running_usage(self._prompt_tokens, sum(self._done))
        return self._chunk([choice], usage)

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        body = {**self._envelope, "choices": choices}
        if self._usage is not StreamUsage.NONE:
            body["usage"] = usage
        if self._obfuscation and choices:
            size = len(orjson.dumps(choices))
            body["obfuscation"] = secrets.token_hex(_PADDED_TO)[: _PADDED_TO - size % _PADDED_TO]
        return event(orjson.dumps(body))

    def _text_template(self, index: int) -> tuple[bytes, bytes, bytes]:
        """A text chunk around its text and, where every chunk has usage, its counts."""
        usage = {"cut": _CUT} if self._usage is StreamUsage.CONTINUOUS else None
        template = self._chunk([_choice(index, {"content": _CUT})], usage)
        # From the end: what stands before, the model's id, is not ours and might look the same.
        cut = orjson.dumps(_CUT)
        parts = template.replace(orjson.dumps({"cut": _CUT}), cut).rsplit(cut, 2 if usage else 1)
        return parts[0], parts[1] if usage else b"", parts[-1]


def _choice(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
