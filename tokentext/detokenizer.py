"""Token ids in, text out, one step at a time."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokentext.tokenizer import TextTokenizer

_utf8_decoder = codecs.getincrementaldecoder("utf-8")

# Tokens that a decoder without a byte table may hold back and decode again with each new one. Longer runs without
# certain text do not exist in practice (a character has at most 4 bytes); past it the text is given out as it is.
_WINDOW = 32


class IncrementalDetokenizer:
    """Decodes one sequence. The pieces it returns, joined, are the text of the whole sequence.

    A character whose bytes are not all there yet is held back, so no U+FFFD is shown for a character that a later
    token completes. Bytes that can no longer become a character give U+FFFD as in any UTF-8 decoder.

    `visible` are ids of special tokens that are shown all the same: the markers that a parser looks for.
    `continues`: the sequence goes on where a text has ended, so a space before its first word stays. (SentencePiece
    tokenizers put one before the first word of a text, and drop it again.)

    Joined output equals `tokenizer.decode(all_ids)`, with one exception: for SentencePiece tokenizers, a run of byte
    tokens that is invalid as a whole is decoded character by character here, while `tokenizers` replaces all of it.
    """

    __slots__ = (
        "_at_start",
        "_continues",
        "_decode",
        "_decoder",
        "_hidden",
        "_pieces",
        "_strip_left",
        "_tokenizer",
        "_window",
    )

    def __init__(
        self,
        tokenizer: TextTokenizer,
        *,
        skip_special_tokens: bool = True,
        visible: frozenset[int] = frozenset(),
        continues: bool = False,
    ):
        self._continues = continues
        self._tokenizer = tokenizer
        self._hidden = tokenizer.special_ids - visible if skip_special_tokens else frozenset()
        pieces = tokenizer.pieces(self._hidden)
        self._window: _WindowDecoder | None = None
        if pieces is None:
            # Here the library decodes, which shows all special tokens or none.
            self._window = _WindowDecoder(tokenizer, skip_special_tokens)
        else:
            self._pieces = pieces
        self._reset()

    def _reset(self) -> None:
        self._decoder = _utf8_decoder("replace")
        self._decode = self._decoder.decode
        rules = self._tokenizer.rules
        self._strip_left = rules.strip[1] if rules and not self._continues else 0
        first_differs = rules is None or (rules.first_to_bytes is not rules.to_bytes and not self._continues)
        self._at_start = first_differs or bool(self._strip_left)

    def push(self, ids: Sequence[int]) -> str:
        """Text that is certain after these ids; may be empty. Ids outside the vocabulary add nothing."""
        if self._at_start:
            return self._push_slow(ids)
        if len(ids) == 1:
            return self._decode(self._pieces[ids[0]])
        return self._decode(b"".join([self._pieces[i] for i in ids]))

    def flush(self) -> str:
        """What was held back, at the end of the sequence: an incomplete character is one U+FFFD.

        Afterwards the object is ready for another sequence.
        """
        rest = self._window.flush() if self._window else self._decode(b"", True)
        self._reset()
        return rest

    def _push_slow(self, ids: Sequence[int]) -> str:
        if self._window is not None:
            return "".join([self._window.push(int(i)) for i in ids])
        return self._push_start(ids)

    def _push_start(self, ids: Sequence[int]) -> str:
        rules = self._tokenizer.rules
        assert rules is not None
        shown: list[str] = []
        for index, token_id in enumerate(ids):
            if not self._at_start:
                shown.append(self.push(ids[index:]))
                break
            token = self._tokenizer.visible_token(int(token_id), self._hidden)
            if token is not None:
                shown.append(self._strip(self._decode(rules.first_to_bytes(token))))
                # A rule about the first token is now used up; one about the first characters while some are to come.
                self._at_start = self._strip_left > 0
        return "".join(shown)

    def _strip(self, text: str) -> str:
        if not self._strip_left or not text:
            return text
        rules = self._tokenizer.rules
        assert rules is not None
        character = rules.strip[0]
        dropped = 0
        while dropped < min(self._strip_left, len(text)) and text[dropped] == character:
            dropped += 1
        self._strip_left = self._strip_left - dropped if dropped == len(text) else 0
        return text[dropped:]


class _WindowDecoder:
    """For decoders whose text is not the sum of their tokens (WordPiece, none): decode a short window twice.

    `_ids[:_read]` is the context whose text has been given out: the tokens of the last certain text. A window that
    began anywhere else could begin inside a character, and its text would no longer be a continuation.
    """

    __slots__ = ("_hidden", "_ids", "_read", "_skip", "_tokenizer")

    def __init__(self, tokenizer: TextTokenizer, skip_special_tokens: bool):
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._hidden = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._ids: list[int] = []
        self._read = 0

    def push(self, token_id: int) -> str:
        if self._tokenizer.visible_token(token_id, self._hidden) is None:
            return ""
        self._ids.append(token_id)
        return self._take(force=len(self._ids) - self._read >= _WINDOW)

    def flush(self) -> str:
        rest = self._take(force=True)
        self._ids.clear()
        self._read = 0
        return rest

    def _take(self, force: bool) -> str:
        decode = self._tokenizer.decode
        shown = decode(self._ids[: self._read], skip_special_tokens=self._skip)
        text = decode(self._ids, skip_special_tokens=self._skip)
        if len(text) <= len(shown) or (text.endswith("\ufffd") and not force):
            if force:
                self._advance()
            return ""
        self._advance()
        return text[len(shown) :]

    def _advance(self) -> None:
        del self._ids[: self._read]
        self._read = len(self._ids)
