"""Guided decoding by the llama.cpp engine in a real Triton: all five guide types hold, and bad ones are refused."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from launcher.triton_server import TritonServer
from tests.support.engine_client import Answer, EngineClient, word_list
from tests.support.engine_triton import engine_triton
from tokentext.tokenizer import TextTokenizer

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "inhabitants": {"type": "integer", "minimum": 0, "maximum": 9999},
        "seaside": {"type": "boolean"},
    },
    "required": ["city", "inhabitants", "seaside"],
    "additionalProperties": False,
}


pytestmark = pytest.mark.asyncio(loop_scope="module")  # gRPC's channels belong to the loop they began in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with engine_triton(tmp_path_factory.mktemp("engine"), slots=3, batch_size=64) as server:
        yield server


@pytest.fixture(scope="module")
def prompt(tokenizer: TextTokenizer) -> list[int]:
    return tokenizer.encode("<|im_start|>user\nTell me about Lisbon.<|im_end|>\n<|im_start|>assistant\n")


@pytest.fixture
def guided(engine: EngineClient, tokenizer: TextTokenizer, prompt: list[int]) -> Any:
    """Runs a guided request; returns its text and why it ended."""

    async def run(kind: str, guide: Any, length: int = 120, **tensors: Any) -> tuple[str, str]:
        text = guide if isinstance(guide, str) else json.dumps(guide)
        answer = await engine.generate(
            prompt, length, guided_decoding_guide_type=kind, guided_decoding_guide=text, **tensors
        )
        return tokenizer.decode(answer.ids), answer.finish_reason

    return run


async def test_json(guided: Any) -> None:
    # Free-form JSON need not end by itself: a small object is made likely by starting from a nearly full budget.
    text, _ = await guided("json", "", 40)
    assert text.lstrip()[0] in "{["
    ended, reason = await guided("json", "", 200, temperature=1.0, seed=3)
    if reason == "stop":
        assert isinstance(json.loads(ended), dict | list)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.5, "seed": 5}, {"temperature": 1.5, "seed": 6}])
async def test_json_schema(guided: Any, sampling: dict[str, Any]) -> None:
    text, reason = await guided("json_schema", SCHEMA, 200, **sampling)
    assert reason == "stop"
    jsonschema.validate(json.loads(text), SCHEMA)


async def test_regex(guided: Any) -> None:
    text, reason = await guided("regex", r"[A-Z][a-z]{2,5} [0-9]{3}(-[0-9]{2})?!", temperature=1.2, seed=1)
    assert re.fullmatch(r"[A-Z][a-z]{2,5} [0-9]{3}(-[0-9]{2})?!", text)
    assert reason == "stop"


async def test_ebnf_grammar(guided: Any) -> None:
    grammar = """
        # a sum, as xgrammar and llama.cpp write grammars
        root ::= term (" + " term){1,3} " = " number
        term ::= number | "(" number " * " number ")"
        number ::= [1-9] [0-9]{0,2}
    """
    text, reason = await guided("ebnf_grammar", grammar, temperature=1.0, seed=2)
    number = r"[1-9][0-9]{0,2}"
    term = rf"({number}|\({number} \* {number}\))"
    assert re.fullmatch(rf"{term}( \+ {term}){{1,3}} = {number}", text)
    assert reason == "stop"


@pytest.mark.parametrize("newer", [False, True])
async def test_structural_tag(guided: Any, tokenizer: TextTokenizer, newer: bool) -> None:
    """Once a trigger has been written, by whatever chance, the rest of the tag is forced."""
    schema = {"type": "object", "properties": {"city": {"enum": ["Lisbon", "Porto"]}}, "required": ["city"]}
    schema["additionalProperties"] = False
    begin, end, trigger = " weather(", ") degrees", " weather"
    if newer:
        content = {"type": "json_schema", "json_schema": schema}
        tags = [{"type": "tag", "begin": begin, "content": content, "end": end}]
        tag_format = {"type": "triggered_tags", "triggers": [trigger], "tags": tags}
        guide: dict[str, Any] = {"type": "structural_tag", "format": tag_format}
    else:
        structure = {"begin": begin, "schema": schema, "end": end}
        guide = {"type": "structural_tag", "structures": [structure], "triggers": [trigger]}
    bias = np.zeros(49152, np.float32)
    (token,) = tokenizer.encode(trigger)
    bias[token] = 15.0
    text, _ = await guided("structural_tag", guide, 80, embedding_bias=bias)
    tags_written = text.split(trigger)[1:-1]  # the last one may be cut off by the length
    assert tags_written
    for written in tags_written:
        assert re.match(r'\(\s*\{\s*"city"\s*:\s*"(Lisbon|Porto)"\s*\}\s*\) degrees', written)
    free, reason = await guided("structural_tag", {"structures": [_never()], "triggers": ["<never>"]}, 6)
    assert free
    assert reason == "length"


def _never() -> dict[str, Any]:
    return {"begin": "<never>", "schema": {}, "end": "</never>"}


async def test_characters_of_several_tokens(guided: Any) -> None:
    text, reason = await guided("regex", "🦄日本語ẞ{3}")
    assert (text, reason) == ("🦄日本語ẞẞẞ", "stop")


async def _ids(engine: EngineClient, prompt: list[int], pattern: str, **tensors: Any) -> Answer:
    return await engine.generate(
        prompt, 12, guided_decoding_guide_type="regex", guided_decoding_guide=pattern, **tensors
    )


async def test_other_constraints_hold_too(
    guided: Any, engine: EngineClient, tokenizer: TextTokenizer, prompt: list[int]
) -> None:
    free = (await _ids(engine, prompt, "[ab]{20,}")).ids
    assert len(free) == 12
    banned = (await _ids(engine, prompt, "[ab]{20,}", bad_words_list=word_list([free[0]]))).ids
    assert free[0] not in banned
    stopped = await _ids(engine, prompt, "[ab]{20,}", stop_words_list=word_list(free[3:5]))
    assert stopped.ids[-2:] == free[3:5]
    assert stopped.finish_reason == "stop"
    # A guide that has been fulfilled ends the answer even if end tokens are ignored.
    assert await guided("regex", "(ja){3}", ignore_eos=True) == ("jajaja", "stop")
    # An end token of the request's own, where the guide may end.
    text, _ = await guided("regex", "[ab]{2,500}", 8, end_id=tokenizer.encode("x")[0])
    assert re.fullmatch("[ab]{2,500}x?", text)


async def test_no_token_left_is_an_error(guided: Any) -> None:
    bias = np.full(49152, -np.inf, np.float32)
    bias[1000] = 0.0
    with pytest.raises(InferenceServerException, match="no token is left"):
        await guided("regex", "[0-9]+", embedding_bias=bias)


async def test_guides_do_not_mix(guided: Any) -> None:
    patterns = ["a{12}", "b{12}", "c{12}", "d{12}", "e{12}", "f{12}"]
    answers = await asyncio.gather(*(guided("regex", pattern) for pattern in patterns))
    assert [text for text, _ in answers] == [pattern[0] * 12 for pattern in patterns]


@pytest.mark.parametrize(
    ("kind", "guide", "message"),
    [
        ("xml", "", "guided_decoding_guide_type: 'xml' is unknown"),
        ("json_schema", "{", "guided_decoding_guide: not a JSON schema"),
        ("json_schema", '{"type": "strange"}', "guided_decoding_guide: .*strange"),
        ("json_schema", "[]", "guided_decoding_guide: a JSON schema is an object"),
        ("json_schema", '{"a":' * 200 + "1" + "}" * 200, "guided_decoding_guide: nested more than 100 levels"),
        ("regex", "(", "guided_decoding_guide: .*regex"),
        ("regex", "", "guided_decoding_guide: the expression is empty"),
        ("ebnf_grammar", "root ::= missing", "guided_decoding_guide: not an EBNF grammar: Rule 'missing'"),
        ("ebnf_grammar", "start: X", "guided_decoding_guide: not an EBNF grammar"),
        ("ebnf_grammar", "root ::= " + "(" * 4000 + '"a"' + ")" * 4000, "guided_decoding_guide: nested too deeply"),
        ("structural_tag", '{"structures": []}', "guided_decoding_guide: .*structures"),
        (
            "structural_tag",
            '{"structures": [{"begin": "<a>", "schema": {}}], "triggers": ["<b>"]}',
            "guided_decoding_guide: structures.tags.0..begin starts with none of the triggers",
        ),
        ("regex", "a" * 300_000, "guided_decoding_guide: at most"),
        (None, "{}", "guided_decoding_guide: needs guided_decoding_guide_type"),
    ],
)
async def test_bad_guides_are_refused(
    engine: EngineClient, prompt: list[int], kind: str | None, guide: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message):
        await engine.generate(prompt, 10, guided_decoding_guide_type=kind, guided_decoding_guide=guide)
    assert len((await engine.generate(prompt, 2)).ids) == 2


async def test_a_costly_guide_is_given_up(engine: EngineClient, prompt: list[int]) -> None:
    """An expression that explodes while it is followed ends its own request; another answer goes on meanwhile."""
    hostile = r"(?:(?:a{1,50}){1,50}){1,50}"
    costly = engine.generate(
        prompt, 200, guided_decoding_guide_type="regex", guided_decoding_guide=hostile, ignore_eos=True
    )
    other, outcome = await asyncio.gather(engine.generate(prompt, 30, ignore_eos=True), costly, return_exceptions=True)
    assert not isinstance(other, BaseException)
    assert len(other.ids) == 30
    assert "guided_decoding_guide: " in str(outcome)


async def test_white_space_is_bounded(guided: Any, tokenizer: TextTokenizer) -> None:
    """A model that wants nothing but blanks still gets to the end of its object."""
    bias = np.zeros(49152, np.float32)
    bias[[tokenizer.encode(blank)[0] for blank in ("\n", " ", "  ")]] = 30.0
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    text, reason = await guided("json_schema", schema | {"additionalProperties": False}, 250, embedding_bias=bias)
    assert reason == "stop"
    assert json.loads(text)["a"] in (True, False)


async def test_a_schema_that_explodes_is_refused(engine: EngineClient, prompt: list[int]) -> None:
    """Merging these constraints takes work and memory without end; it must not happen in the engine's process."""
    hostile: dict[str, Any] = {"type": "string"}
    for number in range(26):
        hostile = {"type": "string", "pattern": f"a{number}", "anyOf": [hostile]}
    with pytest.raises(InferenceServerException, match="too much work"):
        await engine.generate(
            prompt, 5, guided_decoding_guide_type="json_schema", guided_decoding_guide=json.dumps(hostile)
        )
