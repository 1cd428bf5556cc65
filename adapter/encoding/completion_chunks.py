"""Streamed text completions: events to `text_completion` objects.

Nearly every chunk differs from the one before in its text and its counts only, so the JSON around them is made once.
"""

from __future__ import annotations

import secrets
from typing import Any

import orjson

from adapter.encoding.completion_pieces import CompletionForm, CompletionPieces, Piece
from adapter.encoding.event_stream import DONE, event
from adapter.encoding.usage import running_usage, total_usage
from adapter.generation.events import Event, Finish, TextDelta
from adapter.settings import StreamUsage
from adapter.triton.model import ServedModel

_CUT = "\x00cut\x00"  # stands where the template of a chunk is cut; cannot occur in JSON unescaped
_PADDED_TO = 32  # characters


class CompletionChunkEncoder:
    """Encodes the answers of one request. Call `start` once, `encode` per event, `end` once.

    Args:
        completion_id: `cmpl-...`.
        created: Unix seconds.
        prompts: how many there are; the choices of one prompt stand side by side.
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
        form: CompletionForm,
        *,
        prompts: int = 1,
        obfuscation: bool = False,
    ) -> None:
        self._prompts = prompts
        self._usage = usage
        self._plain = not form.logprobs and not obfuscation
        self._obfuscation = obfuscation
        self._prompt_tokens = 0
        self._pieces = [
            CompletionPieces(model.tokenizer, form, form.echo[prompt] if form.echo is not None else None)
            for prompt in range(prompts)
            for _ in range(form.choices)
        ]
        self._done = [0] * len(self._pieces)  # tokens generated so far, by choice
        self._finishes: list[Finish | None] = [None] * len(self._pieces)
        self._envelope = {
            "id": completion_id,
            "object": "text_completion",
            "created": created,
            "model": model.id,
            "system_fingerprint": model.fingerprint,
        }
        self._templates: list[tuple[bytes, bytes, bytes]] = []
        self._counts = b""

    def start(self, prompt_tokens: int) -> bytes:
        """The prompts, where they are a part of the answers' texts."""
        self._prompt_tokens = prompt_tokens
        self._templates = [self._text_template(index) for index in range(len(self._pieces))]
        self._counts = b'{"prompt_tokens":%d,"completion_tokens":%%d,"total_tokens":%%d}' % prompt_tokens
        return b"".join(self._piece(index, pieces.start()) for index, pieces in enumerate(self._pieces))

    def encode(self, index: int, item: Event) -> bytes:
        """The chunk of one event of the choice `index`; empty for an event that shows nothing."""
        if type(item) is TextDelta:
            self._done[index] = item.completion_tokens
            if self._plain:
                before, between, after = self._templates[index]
                text = orjson.dumps(item.text)
                if self._usage is StreamUsage.CONTINUOUS:
                    done = sum(self._done)
                    return b"".join((before, text, between, self._counts % (done, self._prompt_tokens + done), after))
                return b"".join((before, text, after))
        elif type(item) is Finish:
            self._done[index] = item.completion_tokens
            self._finishes[index] = item
        return self._piece(index, self._pieces[index].push(item))

    def end(self) -> bytes:
        if self._usage is not StreamUsage.FINAL:
            return DONE
        return self._chunk([], self._total()) + DONE

    def _piece(self, index: int, piece: Piece | None) -> bytes:
        if piece is None:
            return b""
        usage = None
        if self._usage is StreamUsage.CONTINUOUS:
            complete = None not in self._finishes
            usage = self._total() if complete else running_usage(self._prompt_tokens, sum(self._done))
        return self._chunk([_choice(index, piece)], usage)

    def _total(self) -> dict[str, Any]:
        finishes = [finish for finish in self._finishes if finish is not None]
        return total_usage(self._prompt_tokens, finishes, prompts=self._prompts)

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
        template = self._chunk([_choice(index, Piece(_CUT))], usage)
        # From the end: what stands before, the model's id, is not ours and might look the same.
        cut = orjson.dumps(_CUT)
        parts = template.replace(orjson.dumps({"cut": _CUT}), cut).rsplit(cut, 2 if usage else 1)
        return parts[0], parts[1] if usage else b"", parts[-1]


def _choice(index: int, piece: Piece) -> dict[str, Any]:
    return {"index": index, "text": piece.text, "logprobs": piece.logprobs, "finish_reason": piece.finish_reason}
