"""How a family of models writes its tool calls: what a parser reads, and what a guide can enforce."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapter.parsing.parsed import OutputParser


@dataclass(frozen=True)
class Tool:
    """A function that the model may call.

    parameters: JSON Schema of its arguments, an object; {} allows any object.
    strict: whether the arguments have to follow the schema.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True)
class CallSyntax:
    """The text around calls whose arguments are JSON, so that a guide can enforce it.

    Calls are written `open`, the calls with `separator` between them, `close`; one call is the text before its
    arguments (`ToolFormat.call_begin`), the JSON object of its arguments, and `end`.

    triggers: texts that begin a call and nothing else; each is a prefix of `open` + `call_begin` of every tool.
    """

    end: str
    triggers: tuple[str, ...]
    open: str = ""
    separator: str = ""
    close: str = ""


@dataclass(frozen=True)
class MessageSyntax:
    """The text around messages, where an answer is a sequence of these and calls, so that a guide can enforce it.

    separator: stands between one and the next.
    thought, preamble, answer: what begins and ends reasoning, text before calls, and text instead of calls.
    """

    separator: str
    thought: tuple[str, str]
    preamble: tuple[str, str]
    answer: tuple[str, str]


class ToolFormat(ABC):
    """One family's way of writing tool calls.

    special_tokens: special tokens of the tokenizer that the parser has to see as text.
    syntax: for guides; None where arguments are not written as JSON.
    messages: for guides; None where what is no call is free text.
    reasons: whether the parser finds the model's reasoning too, so that it reads every answer, tools or not.
    """

    special_tokens: frozenset[str] = frozenset()
    reasons: bool = False
    syntax: CallSyntax | None = None
    messages: MessageSyntax | None = None

    @abstractmethod
    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        """A parser for one answer. Only names of `tools` make a call; anything else stays content."""

    def template_messages(self, messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The messages as the family's chat templates want them, where they want them unlike others."""
        return messages

    def parser_after(self, prompt: str, tools: Sequence[Tool]) -> OutputParser:
        """A parser for the answer to this prompt, where it matters how the prompt ends."""
        return self.parser(tools)

    def call_begin(self, name: str) -> str:
        """The text between `syntax.open` (or a separator) and the arguments of a call of `name`."""
        raise NotImplementedError

    def written(self, calls: Sequence[tuple[str, str]]) -> str | None:
        """Calls (name, arguments as JSON) as the model writes them; None where that is not known.

        For conversations whose chat template leaves calls out.
        """
        if self.syntax is None:
            return None
        texts = [self.call_begin(name) + arguments + self.syntax.end for name, arguments in calls]
        return self.syntax.open + self.syntax.separator.join(texts) + self.syntax.close

    def new_id(self) -> str:
        """An id for a call of a model that writes none."""
        return "call_" + secrets.token_hex(12)
