"""Two parsers one after the other: reasoning first, tool calls in what is left."""

from __future__ import annotations

from bisect import bisect_right

from adapter.parsing.parsed import Content, OutputParser, Parsed


class Chain:
    """The content of the first parser is the text of the second; places are those in the whole text.

    What looks like a call within the reasoning is reasoning.
    """

    def __init__(self, first: OutputParser, second: OutputParser) -> None:
        self._first = first
        self._second = second
        self._length = 0  # of the second's text
        # Where pieces of the second's text stand: its own place -> the place in the whole text.
        self._own: list[int] = []
        self._whole: list[int] = []

    @property
    def reasoning(self) -> bool:
        return self._first.reasoning or self._second.reasoning

    def push(self, text: str) -> list[Parsed]:
        return self._through(self._first.push(text))

    def finish(self) -> list[Parsed]:
        return self._through(self._first.finish()) + self._placed(self._second.finish())

    def _through(self, parsed: list[Parsed]) -> list[Parsed]:
        result: list[Parsed] = []
        for item in parsed:
            if isinstance(item, Content):
                shift = item.start - self._length
                if not self._own or self._whole[-1] - self._own[-1] != shift:
                    self._own.append(self._length)
                    self._whole.append(item.start)
                self._length += len(item.text)
                result += self._placed(self._second.push(item.text))
            else:
                result.append(item)
        return result

    def _placed(self, parsed: list[Parsed]) -> list[Parsed]:
        result: list[Parsed] = []
        for item in parsed:
            if isinstance(item, Content):
                result += self._split(item)
            else:
                result.append(item)
        return result

    def _split(self, item: Content) -> list[Content]:
        """A piece that lies together in the second's text may stand in several places of the whole."""
        pieces = []
        start, end = item.start, item.start + len(item.text)
        at = bisect_right(self._own, start) - 1
        while start < end:
            stop = min(end, self._own[at + 1]) if at + 1 < len(self._own) else end
            text = item.text[start - item.start : stop - item.start]
            pieces.append(Content(text, start + self._whole[at] - self._own[at]))
            start, at = stop, at + 1
        return pieces
