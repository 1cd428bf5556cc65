"""Streamed chat completions: events to `chat.completion.chunk` objects.

Nearly every chunk differs from the one before in its text and its counts only, so the JSON around them is made once.
"""

from __future__ import annotations

from typing import Any

import orjson

from adapter.encoding.event_stream import DONE, event
from adapter.encoding.logprobs import logprobs_content
from adapter.encoding.usage import usage_object
from adapter.generation.events import Event, Finish, TextDelta
from adapter.settings import StreamUsage
from adapter.triton.model import ServedModel

_CUT = "\x00cut\x00"  # stands where the template of a chunk is cut; cannot occur in JSON unescaped


class ChatChunkEncoder:
    """Encodes one answer. Call `start` once, `encode` per event, `end` once.

    Args:
        completion_id: `chatcmpl-...`.
        created: Unix seconds.
        usage: with CONTINUOUS every chunk has the running counts, complete in the last; with FINAL `usage` is null
            until a last chunk with empty `choices`, as OpenAI's include_usage has it.
    """

    def __init__(
        self, model: ServedModel, completion_id: str, created: int, prompt_tokens: int, usage: StreamUsage
    ) -> None:
        self._tokenizer = model.tokenizer
        self._prompt_tokens = prompt_tokens
        self._usage = usage
        self._envelope = {
            "id": completion_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model.id,
            "system_fingerprint": model.fingerprint,
        }
        self._before, self._between, self._after = self._text_template()
        self._counts = b'{"prompt_tokens":%d,"completion_tokens":%%d,"total_tokens":%%d}' % prompt_tokens

    def start(self) -> bytes:
        """The first chunk: the role."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        return self._chunk([_choice(delta)], self._running_usage(0))

    def encode(self, item: Event) -> bytes:
        """The chunk, or chunks, of one event."""
        if type(item) is TextDelta:
            if item.logprobs is None:
                text = orjson.dumps(item.text)
                if self._usage is StreamUsage.CONTINUOUS:
                    done = item.completion_tokens
                    counts = self._counts % (done, self._prompt_tokens + done)
                    return b"".join((self._before, text, self._between, counts, self._after))
                return b"".join((self._before, text, self._after))
            choice = _choice({"content": item.text})
            choice["logprobs"] = {"content": logprobs_content(self._tokenizer, item.logprobs), "refusal": None}
            return self._chunk([choice], self._running_usage(item.completion_tokens))
        assert isinstance(item, Finish)
        usage = usage_object(item)
        last = self._chunk([_choice({}, item.reason)], usage if self._usage is StreamUsage.CONTINUOUS else None)
        if self._usage is StreamUsage.FINAL:
            last += self._chunk([], usage)
        return last

    def end(self) -> bytes:
        return DONE

    def _running_usage(self, completion_tokens: int) -> dict[str, Any] | None:
        if self._usage is not StreamUsage.CONTINUOUS:
            return None
        return usage_object(Finish("", self._prompt_tokens, completion_tokens))

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        body = {**self._envelope, "choices": choices}
        if self._usage is not StreamUsage.NONE:
            body["usage"] = usage
        return event(orjson.dumps(body))

    def _text_template(self) -> tuple[bytes, bytes, bytes]:
        """A text chunk around its text and, where every chunk has usage, its counts."""
        usage = {"cut": _CUT} if self._usage is StreamUsage.CONTINUOUS else None
        template = self._chunk([_choice({"content": _CUT})], usage)
        # From the end: what stands before, the model's id, is not ours and might look the same.
        cut = orjson.dumps(_CUT)
        parts = template.replace(orjson.dumps({"cut": _CUT}), cut).rsplit(cut, 2 if usage else 1)
        return parts[0], parts[1] if usage else b"", parts[-1]


def _choice(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
