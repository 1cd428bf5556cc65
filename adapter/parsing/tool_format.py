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


class ToolFormat(ABC):
    """One family's way of writing tool calls.

    special_tokens: special tokens of the tokenizer that the parser has to see as text.
    syntax: for guides; None where arguments are not written as JSON.
    reasons: whether the parser finds the model's reasoning too, so that it reads every answer, tools or not.
    """

    special_tokens: frozenset[str] = frozenset()
    reasons: bool = False
    syntax: CallSyntax | None = None

    @abstractmethod
    def parser(self, tools: Sequence[Tool]) -> OutputParser:
        """A parser for one answer. Only names of `tools` make a call; anything else stays content."""

    def call_begin(self, name: str) -> str:
        """The text between `syntax.open` (or a separator) and the arguments of a call of `name`."""
        raise NotImplementedError

    def new_id(self) -> str:
        """An id for a call of a model that writes none."""
        return "call_" + secrets.token_hex(12)
