"""gpt-oss: answers token by token, as openai-harmony reads them (tests/data/harmony)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapter.parsing.harmony import Harmony
from adapter.parsing.parsed import CallArguments, CallStart, Content, Parsed, Reasoning
from adapter.parsing.tool_format import Tool
from tests.unit.adapter.parsing.splits import parse, run

FAMILY = Harmony()
TOOLS = [Tool("get_weather"), Tool("now"), Tool("a.b-c")]
RECORDED = json.loads((Path(__file__).parents[3] / "data" / "harmony" / "recorded.json").read_text(encoding="utf-8"))
LONGEST_MARKER = len("<|constrain|>")


def flow(events: list[Parsed]) -> list[tuple[str, str]]:
    """What is said one after another: kind, or the name of the tool, and text."""
    said: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, CallStart):
            said.append((event.name, ""))
        elif isinstance(event, CallArguments):
            said[-1] = (said[-1][0], said[-1][1] + event.text)
        elif isinstance(event, Content | Reasoning):
            kind = "*" + type(event).__name__
            if said and said[-1][0] == kind:
                said[-1] = (kind, said[-1][1] + event.text)
            else:
                said.append((kind, event.text))
    return [item for item in said if item[1]]


def oracle_flow(answer: dict[str, Any], tokens: int) -> list[tuple[str, str]]:
    """The same of what the library said after so many tokens."""
    said: list[tuple[str, str]] = []
    last = -1
    for token in answer["tokens"][:tokens]:
        if len(token) == 1:
            continue
        channel, recipient = answer["messages"][token[1]]
        kind = "*Reasoning" if channel == "analysis" else "*Content"
        if recipient is not None:
            kind = recipient.removeprefix("functions.")
        if said and said[-1][0] == kind and (token[1] == last or kind[0] == "*"):
            said[-1] = (kind, said[-1][1] + token[2])
        else:
            said.append((kind, token[2]))
        last = token[1]
    return said


@pytest.mark.parametrize("answer", RECORDED["answers"])
def test_as_the_library_reads_it(answer: dict[str, Any]) -> None:
    pieces = [token[0] for token in answer["tokens"]]
    whole = parse(lambda: FAMILY.parser(TOOLS), "".join(pieces))
    assert flow(whole) == oracle_flow(answer, len(pieces))
    assert run(FAMILY.parser(TOOLS), pieces) == whole


@pytest.mark.parametrize("answer", RECORDED["answers"])
def test_as_early_as_the_library(answer: dict[str, Any]) -> None:
    """After every token no more is held back than what may become a marker."""
    parser = FAMILY.parser(TOOLS)
    events: list[Parsed] = []
    for index, token in enumerate(answer["tokens"]):
        events += parser.push(token[0])
        expected = oracle_flow(answer, index + 1)
        there, all_of_it = ("".join(text for _, text in said) for said in (flow(events), expected))
        assert all_of_it.startswith(there)
        assert len(all_of_it) - len(there) < LONGEST_MARKER


def test_reasoning_is_known_token_by_token() -> None:
    for answer in RECORDED["answers"]:
        parser = FAMILY.parser(TOOLS)
        for token in answer["tokens"]:
            parser.push(token[0])
            if len(token) == 3:
                channel, recipient = answer["messages"][token[1]]
                assert parser.reasoning == (channel == "analysis" and recipient is None)
            elif token[0] in ("<|end|>", "<|call|>", "<|return|>"):
                assert not parser.reasoning
