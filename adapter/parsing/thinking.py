"""Reasoning: what a model writes between two tags before it answers.

Sources: the chat templates of DeepSeek-R1, Qwen3, QwQ and GLM-4.5 (`<think>`), Magistral (`[THINK]`), Granite 3.2
(`<think>`, `<response>`).
"""

from __future__ import annotations

from dataclasses import dataclass

from adapter.parsing.held_back import held_back
from adapter.parsing.parsed import Content, Parsed, Reasoning


@dataclass(frozen=True)
class ReasoningFormat:
    """Two tags.

    begin_optional: the model may leave out the first tag and write the second all the same, so that an answer has to
        be taken for reasoning until the second is there.
    """

    begin: str = "<think>"
    end: str = "</think>"
    begin_optional: bool = False

    @property
    def special_tokens(self) -> frozenset[str]:
        """Tokens that the parser has to see as text, where the tokenizer has them as special ones."""
        return frozenset({self.begin, self.end})

    def begins_inside(self, prompt: str) -> bool:
        """Whether the chat template has opened the reasoning itself, so that the answer begins within it."""
        return prompt.rstrip().endswith(self.begin)

    def closed_by(self, prompt: str) -> bool:
        """Whether the chat template has closed the reasoning, so that there is none."""
        return prompt.rstrip().endswith(self.end)

    def parser(self, prompt: str) -> ThinkingParser:
        """A parser for the answer to this prompt."""
        closed = self.closed_by(prompt)
        inside = not closed and (self.begin_optional or self.begins_inside(prompt))
        return ThinkingParser(self, inside=inside, closed=closed)


_THINK = ReasoningFormat()
REASONING_FORMATS: dict[str, ReasoningFormat] = {
    "think": _THINK,
    "qwen3": _THINK,
    "glm": _THINK,
    "deepseek_r1": ReasoningFormat(begin_optional=True),
    "qwq": ReasoningFormat(begin_optional=True),
    "mistral": ReasoningFormat("[THINK]", "[/THINK]"),
}
"""The values of `reasoning_parser`."""


class ThinkingParser:
    """Splits one answer into reasoning and content.

    Only an answer that begins with the first tag (after white space) reasons. Line breaks around the tags belong to
    neither part. A second opening tag is dropped where the template has written the first. Without the closing tag
    all is reasoning.
    """

    def __init__(self, tags: ReasoningFormat, *, inside: bool, closed: bool) -> None:
        self._tags = tags
        self._held = ""
        self._at = 0  # where in the text `_held` begins
        self._state = "content" if closed else "begin"
        self._inside = inside
        self._trim = False  # line breaks at the front are still to be dropped

    @property
    def reasoning(self) -> bool:
        return self._state == "reasoning" or (self._state == "begin" and self._inside)

    def push(self, text: str) -> list[Parsed]:
        if self._state == "content" and not self._trim:
            self._at += len(text)
            return [Content(text, self._at - len(text))] if text else []
        self._held += text
        return self._read(last=False)

    def finish(self) -> list[Parsed]:
        return self._read(last=True)

    def _read(self, *, last: bool) -> list[Parsed]:
        parsed: list[Parsed] = []
        if self._state == "begin":
            self._read_begin(last=last, parsed=parsed)
        if self._state == "reasoning":
            self._read_reasoning(last=last, parsed=parsed)
        if self._state == "content":
            self._drop_breaks()
            if self._held:
                self._trim = False
                parsed.append(Content(self._held, self._at))
                self._skip(len(self._held))
        return parsed

    def _read_begin(self, *, last: bool, parsed: list[Parsed]) -> None:
        begin = self._tags.begin
        start = len(self._held) - len(self._held.lstrip())
        rest = self._held[start:]
        if rest.startswith(begin):
            self._skip(start + len(begin))
            self._state, self._trim = "reasoning", True
        elif not last and begin.startswith(rest):
            pass  # white space, or a part of the tag
        elif self._inside:
            self._state, self._trim = "reasoning", True
        else:
            self._state = "content"

    def _read_reasoning(self, *, last: bool, parsed: list[Parsed]) -> None:
        if self._trim:
            self._drop_breaks()
        end = self._tags.end
        found = self._held.find(end)
        if found >= 0:
            text = self._held[:found].rstrip("\n")
            self._reason(text, parsed)
            self._skip(found - len(text) + len(end))
            self._state, self._trim = "content", True
            return
        # What may be the beginning of the tag is held back, and the line breaks before it.
        keep = 0 if last else held_back(self._held, (end,))
        text = self._held[: len(self._held) - keep]
        self._reason(text.rstrip("\n"), parsed)
        if last:
            self._skip(len(self._held))

    def _reason(self, text: str, parsed: list[Parsed]) -> None:
        if text:
            self._trim = False
            parsed.append(Reasoning(text, self._at))
            self._skip(len(text))

    def _drop_breaks(self) -> None:
        if self._trim:
            self._skip(len(self._held) - len(self._held.lstrip("\n")))

    def _skip(self, count: int) -> None:
        self._held = self._held[count:]
        self._at += count
