"""Guides of tool calls in a real Triton: a model of 135 million parameters then calls correctly every time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from adapter.parsing.formats import TOOL_FORMATS
from adapter.parsing.guides import Choice, ToolGuide, tool_guide
from adapter.parsing.tool_format import Tool
from launcher.triton_server import TritonServer
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import engine_triton
from tests.unit.adapter.parsing.splits import Call, calls_of, run
from tokentext import TextTokenizer

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"$ref": "#/$defs/city"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "also": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/$defs/city"}, "maxItems": 2}]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"city": {"enum": ["Zürich", "Basel", "Bern"]}},
}
NOTE = {
    "type": "object",
    "properties": {"text": {"type": "string", "maxLength": 20}, "done": {"type": "boolean"}},
    "required": ["text", "done"],
    "additionalProperties": False,
}
TOOLS = [Tool("get_weather", "", WEATHER, True), Tool("make_note", "", NOTE)]
SCHEMAS = {tool.name: tool.parameters for tool in TOOLS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with engine_triton(tmp_path_factory.mktemp("tool_guides")) as server:
        yield server


@pytest.fixture
def ask(engine: EngineClient, tokenizer: TextTokenizer) -> Any:
    """The calls of one answer, checked."""
    assert tokenizer.template is not None
    text = tokenizer.template.render([{"role": "user", "content": "Rain in Basel for two days? Make a note."}])
    prompt = tokenizer.encode(text)

    async def generate(made: ToolGuide | None, seed: int) -> list[Call]:
        assert made is not None
        answer = await engine.generate(
            prompt,
            300,
            temperature=1.0,
            seed=seed,
            guided_decoding_guide_type=made.kind,
            guided_decoding_guide=made.text,
        )
        written = tokenizer.decode(answer.ids)
        assert answer.finish_reason == "stop", written
        calls = calls_of(run(made.tool_format.parser(TOOLS), [written]))
        for call in calls:
            assert call.end == "complete", written
            jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
        return calls

    return generate


@pytest.mark.parametrize("structural_tags", [True, False])
async def test_required_is_kept_every_time(ask: Any, structural_tags: bool) -> None:
    made = tool_guide(TOOLS, Choice.REQUIRED, TOOL_FORMATS["hermes"], parallel=False, structural_tags=structural_tags)
    for seed in range(20):
        assert len(await ask(made, seed)) == 1


async def test_named(ask: Any) -> None:
    for name in ("hermes", "mistral", "llama3_json", "phi4_mini"):
        made = tool_guide(TOOLS[1:], Choice.NAMED, TOOL_FORMATS[name], structural_tags=True)
        for seed in range(3):
            (call,) = await ask(made, seed)
            assert call.name == "make_note"
