"""Reasoning: what a model writes between two tags before it answers.

Sources: the chat templates of DeepSeek-R1, Qwen3, QwQ and GLM-4.5 (`<think>`), Magistral (`[THINK]`), Granite 3.2
(sentences for tags) and 3.3 (`<think>`, and `<response>` around the answer).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adapter.parsing.held_back import held_back
from adapter.parsing.parsed import Content, Parsed, Reasoning


@dataclass(frozen=True)
class ReasoningFormat:
    """Two tags.

    begin_optional: the model may leave out the first tag and write the second all the same, so that an answer has to
        be taken for reasoning until the second is there.
    answer: two further tags, which may stand around the answer that follows reasoning; they are dropped.
    margin: chars around tags that belong to neither part.
    if_asked: the model reasons only where its prompt names the tags, as chat templates make it do on request.
    """

    begin: str = "<think>"
    end: str = "</think>"
    begin_optional: bool = False
    answer: tuple[str, str] | None = None
    margin: str = "\n"
    if_asked: bool = False

    @property
    def special_tokens(self) -> frozenset[str]:
        """Tokens that the parser has to see as text, where the tokenizer has them as special ones."""
        return frozenset({self.begin, self.end, *(self.answer or ())})

    def begins_inside(self, prompt: str) -> bool:
        """Whether the chat template has opened the reasoning itself, so that the answer begins within it."""
        return prompt.rstrip().endswith(self.begin)

    def closed_by(self, prompt: str) -> bool:
        """Whether there is no reasoning, as the chat template has closed it or has not asked for it."""
        return prompt.rstrip().endswith(self.end) or (self.if_asked and self.begin not in prompt)

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
    "granite": ReasoningFormat("Here is my thought process:", "Here is my response:", margin=" \n", if_asked=True),
    "granite3_3": ReasoningFormat(answer=("<response>", "</response>"), if_asked=True),
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
        self._blank: list[str] = []  # white space that is shown only if text of the same part follows
        self._held = ""  # what comes after it and may be the beginning of a tag
        self._at = 0  # where in the text `_blank` begins
        self._step: Callable[[bool, list[Parsed]], bool] = self._content if closed else self._begin
        self._inside = inside
        self._trim = False  # line breaks at the front are still to be dropped

    @property
    def reasoning(self) -> bool:
        return self._step == self._reasoning or (self._step == self._begin and self._inside)

    def push(self, text: str) -> list[Parsed]:
        if self._step == self._content and not self._trim:
            self._at += len(text)
            return [Content(text, self._at - len(text))] if text else []
        self._held += text
        return self._read(last=False)

    def finish(self) -> list[Parsed]:
        return self._read(last=True)

    def _read(self, *, last: bool) -> list[Parsed]:
        parsed: list[Parsed] = []
        while self._step(last, parsed):
            pass
        return parsed

    # ---- the parts of an answer: each reads what it can, and returns whether another one follows

    def _begin(self, last: bool, parsed: list[Parsed]) -> bool:
        begin = self._tags.begin
        rest = self._held.lstrip()
        self._blank.append(self._held[: len(self._held) - len(rest)])
        self._held = rest
        if rest.startswith(begin):
            self._drop(len(begin))
            self._follow(self._reasoning)
        elif not last and begin.startswith(rest):
            return False  # white space, or a part of the tag
        else:
            self._held = "".join(self._blank) + rest
            self._blank.clear()
            self._step, self._trim = (self._reasoning, True) if self._inside else (self._content, False)
        return True

    def _reasoning(self, last: bool, parsed: list[Parsed]) -> bool:
        if not self._until(self._tags.end, Reasoning, last, parsed):
            return False
        self._follow(self._answer_begin if self._tags.answer else self._content)
        return True

    def _answer_begin(self, last: bool, parsed: list[Parsed]) -> bool:
        assert self._tags.answer is not None
        begin = self._tags.answer[0]
        self._trim_front()
        if self._held.startswith(begin):
            self._drop(len(begin))
            self._follow(self._answer)
        elif not last and begin.startswith(self._held):
            return False
        else:
            self._step = self._content
        return True

    def _answer(self, last: bool, parsed: list[Parsed]) -> bool:
        assert self._tags.answer is not None
        if not self._until(self._tags.answer[1], Content, last, parsed):
            return False
        self._follow(self._content)
        return True

    def _content(self, last: bool, parsed: list[Parsed]) -> bool:
        self._trim_front()
        self._show(self._held, Content, parsed)
        return False

    # ---- text

    def _until(self, end: str, part: type[Content] | type[Reasoning], last: bool, parsed: list[Parsed]) -> bool:
        """Text before a tag, and the tag. Returns whether the tag was there."""
        self._trim_front()
        found = self._held.find(end)
        size = found
        if found < 0:  # what may be the beginning of the tag is held back, and the line breaks before it
            size = len(self._held) - (0 if last else held_back(self._held, (end,)))
        text = self._held[:size].rstrip(self._tags.margin)
        self._show(text, part, parsed)
        size -= len(text)
        if found >= 0:
            self._drop(size + len(end))
            return True
        self._blank.append(self._held[:size])
        self._held = self._held[size:]
        return False

    def _show(self, text: str, part: type[Content] | type[Reasoning], parsed: list[Parsed]) -> None:
        """What is held begins with this text, which is of this part of the answer."""
        if not text:
            return
        self._held = self._held[len(text) :]
        text = "".join(self._blank) + text
        parsed.append(part(text, self._at))
        self._blank.clear()
        self._at += len(text)
        self._trim = False

    def _drop(self, count: int) -> None:
        """The white space and this many chars after it are of no part."""
        self._at += sum(map(len, self._blank)) + count
        self._blank.clear()
        self._held = self._held[count:]

    def _trim_front(self) -> None:
        if self._trim:
            self._drop(len(self._held) - len(self._held.lstrip(self._tags.margin)))

    def _follow(self, step: Callable[[bool, list[Parsed]], bool]) -> None:
        self._step, self._trim = step, True
