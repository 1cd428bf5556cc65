"""A text as chunks of tokens that overlap, and each chunk as windows that an embedding model can read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tokentext import TextTokenizer

_SLICE = 200_000  # characters that are tokenized at once: what a tokenizer knows of a token takes a hundred bytes


@dataclass(frozen=True)
class TokenizedText:
    """ids: of the tokens. starts: where in the text each begins, never less than the one before."""

    text: str
    ids: list[int]
    starts: list[int]

    def part(self, first: int, end: int) -> str:
        """The text of tokens; what lies before the first and after the last of all belongs to these."""
        begins = self.starts[first] if first else 0
        return self.text[begins : self.starts[end] if end < len(self.starts) else len(self.text)]


@dataclass(frozen=True)
class Span:
    """Tokens from `first` up to `end`, that one left out."""

    first: int
    end: int


def tokenized(tokenizer: TextTokenizer, text: str) -> TokenizedText:
    """Takes a while for a long text: to be called in a thread."""
    text = text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no character
    ids: list[int] = []
    starts: list[int] = []
    for begin, end in _slices(text):
        found, offsets = tokenizer.encode_starts(text[begin:end])
        ids += found
        starts += [begin + offset for offset in offsets]
    return TokenizedText(text, ids, list(accumulate(starts, max)))


def chunks(tokens: int, size: int, overlap: int) -> list[Span]:
    """Chunks of `size` tokens, each beginning `overlap` tokens before the end of the one before.

    The last one has what is left. There is none that is all in the one before.
    """
    spans = []
    first = 0
    while first < tokens:
        end = min(first + size, tokens)
        spans.append(Span(first, end))
        if end == tokens:
            break
        first = end - overlap
    return spans


def windows(chunk: Span, longest: int) -> list[Span]:
    """The chunk in as few parts of like length as have at most `longest` tokens each."""
    count = -(-(chunk.end - chunk.first) // longest)
    cuts = [chunk.first + (chunk.end - chunk.first) * index // count for index in range(count + 1)]
    return [Span(first, end) for first, end in pairwise(cuts)]


def _slices(text: str) -> Iterator[tuple[int, int]]:
    """Parts of the text that end, where they can, at the end of a word."""
    begin = 0
    while begin < len(text):
        end = min(begin + _SLICE, len(text))
        if end < len(text):
            space = max(text.rfind(" ", begin + _SLICE // 2, end), text.rfind("\n", begin + _SLICE // 2, end))
            end = space if space > 0 else end
        yield begin, end
        begin = end
