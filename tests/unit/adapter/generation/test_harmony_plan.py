"""Chat requests to gpt-oss, from the prompt to the events of an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.generation.answer import Answer
from adapter.generation.answer_events import ParsedEvents
from adapter.generation.chat_plan import ChatPlan, plan_chat
from adapter.generation.events import Event, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallEnd, ToolCallStart
from adapter.generation.prompt import Conversation
from adapter.generation.tool_use import ToolUse
from adapter.parsing.guides import Choice
from adapter.parsing.tool_format import Tool
from adapter.triton.model import ServedModel
from tests.unit.adapter.served import served_model, tokenizer_folder
from tokentext import TextTokenizer

TEMPLATE = (Path(__file__).parents[3] / "data" / "harmony" / "gpt_oss.jinja").read_text(encoding="utf-8")
CALL_TOKEN = 5000  # `<|call|>` ends the answer and has no text
ANALYSIS = "<|channel|>analysis<|message|>"
FINAL = "<|channel|>final<|message|>"
SCHEMA = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    folder = tokenizer_folder(tmp_path_factory.mktemp("gpt-oss") / "t", template=TEMPLATE)
    return served_model(TextTokenizer(folder))


def use_of(*tools: Tool, choice: Choice = Choice.AUTO, custom: frozenset[str] = frozenset()) -> ToolUse:
    definitions = [
        {"type": "function", "function": {"name": tool.name, "description": "", "parameters": dict(tool.parameters)}}
        for tool in tools
    ]
    places = [f"tools[{index}]" for index in range(len(tools))]
    return ToolUse(definitions, list(tools), places, choice, True, custom, False)


async def plan_of(model: ServedModel, tools: ToolUse | None = None, **options: Any) -> ChatPlan:
    conversation = Conversation([{"role": "user", "content": "Hi"}], **options.pop("conversation", {}))
    return await plan_chat(model, conversation, tools, options.pop("schema", None), options.pop("effort", None))


def play(model: ServedModel, plan: ChatPlan, text: str, stop: tuple[str, ...] = ()) -> tuple[ParsedEvents, list[Event]]:
    """The events of an answer, token by token."""
    reading = plan.reading()
    assert reading is not None
    answer = Answer(
        model.tokenizer, stop=(), end_ids=(CALL_TOKEN,), max_tokens=9999, logprobs=False, visible=reading.visible
    )
    events = ParsedEvents(answer, reading, stop)
    seen: list[Event] = []
    ids = model.tokenizer.encode_batch([text], add_special_tokens=False)[0]
    for token in [*ids, CALL_TOKEN]:
        seen += events.push([token], None)
    return events, seen


def texts(seen: list[Event], kind: type) -> str:
    return "".join(event.text for event in seen if isinstance(event, kind))  # type: ignore[attr-defined]


async def test_reasoning_is_counted_without_any_tools(model: ServedModel) -> None:
    plan = await plan_of(model)
    thought = "They greet, so do I."
    events, seen = play(model, plan, f"{ANALYSIS}{thought}<|end|><|start|>assistant{FINAL}Hello.")
    assert (texts(seen, ReasoningDelta), texts(seen, TextDelta)) == (thought, "Hello.")
    assert events.finish_reason == "stop"
    tokens = len(model.tokenizer.encode_batch([thought], add_special_tokens=False)[0])
    # With the tokens between which it stands: no header of the next message is counted.
    assert events.reasoning_tokens is not None
    assert tokens <= events.reasoning_tokens <= tokens + 2
    assert texts(play(model, plan, f"{FINAL}Hello.", stop=("llo",))[1], TextDelta) == "He"


async def test_a_call_that_its_end_token_ends(model: ServedModel) -> None:
    plan = await plan_of(model, use_of(Tool("now")))
    events, seen = play(
        model,
        plan,
        f"{ANALYSIS}Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        '<|start|>assistant to=functions.now<|channel|>commentary json<|message|>{"zone": "UTC"}',
    )
    assert (texts(seen, ReasoningDelta), texts(seen, TextDelta)) == ("Hm.", "I look.")
    assert texts(seen, ToolCallDelta) == '{"zone": "UTC"}'
    assert isinstance(seen[-1], ToolCallEnd)
    assert events.finish_reason == "tool_calls"


async def test_the_input_of_a_custom_tool(model: ServedModel) -> None:
    plan = await plan_of(model, use_of(Tool("run"), custom=frozenset({"run"})))
    _, seen = play(
        model, plan, f"<|channel|>commentary to=functions.run json<|message|>{json.dumps({'input': 'ls -l'})}"
    )
    assert [(event.name, event.custom) for event in seen if isinstance(event, ToolCallStart)] == [("run", True)]
    assert texts(seen, ToolCallDelta) == "ls -l"


async def test_a_call_that_is_not_complete(model: ServedModel) -> None:
    plan = await plan_of(model, use_of(Tool("now")))
    with pytest.raises(APIError) as caught:
        play(model, plan, '<|channel|>commentary to=functions.now json<|message|>{"zone"')
    assert (caught.value.status, caught.value.code) == (502, "invalid_tool_call")


async def test_what_the_engine_is_held_to(model: ServedModel) -> None:
    assert (await plan_of(model, use_of(Tool("now")))).guide is None
    tagged = served_model(model.tokenizer, guide_types=frozenset({"json_schema", "structural_tag"}))
    plan = await plan_of(tagged, use_of(Tool("now"), choice=Choice.REQUIRED))
    assert plan.guide is not None and plan.guide.type == "structural_tag"
    assert "<|channel|>analysis<|message|>" in plan.guide.text
    assert "<|channel|>commentary to=functions.now <|constrain|>json<|message|>" in plan.guide.text
    plan = await plan_of(tagged, schema=SCHEMA)
    assert plan.guide is not None and plan.guide.type == "structural_tag"
    assert "<|channel|>final<|message|>" in plan.guide.text
    _, seen = play(tagged, plan, f'{ANALYSIS}Hm.<|end|><|start|>assistant{FINAL}{{"a": 1}}')
    assert texts(seen, TextDelta) == '{"a": 1}'


async def test_an_engine_without_structural_tags(model: ServedModel) -> None:
    """It writes JSON from its first token, without channels."""
    plain = served_model(model.tokenizer, guide_types=frozenset({"json_schema"}))
    plan = await plan_of(plain, schema=SCHEMA)
    assert plan.guide is not None and plan.guide.type == "json_schema"
    assert texts(play(plain, plan, '{"a": 1}')[1], TextDelta) == '{"a": 1}'
    plan = await plan_of(plain, use_of(Tool("now"), choice=Choice.NAMED))
    events, seen = play(plain, plan, '{"name": "now", "arguments": {"zone": "UTC"}}')
    assert texts(seen, ToolCallDelta) == '{"zone": "UTC"}'
    assert events.finish_reason == "tool_calls"
    with pytest.raises(APIError) as caught:
        await plan_of(plain, use_of(Tool("now", strict=True)))
    assert (caught.value.status, caught.value.param) == (400, "tools[0].strict")


async def test_the_effort_is_in_the_prompt(model: ServedModel) -> None:
    plan = await plan_of(model, effort="high")
    assert "Reasoning: high" in model.tokenizer.decode(plan.prompt)


@pytest.mark.parametrize(
    ("effort", "told"), [("minimal", "low"), ("low", "low"), ("high", "high"), ("xhigh", "high"), (None, "medium")]
)
async def test_efforts_are_those_that_gpt_oss_knows(model: ServedModel, effort: str | None, told: str) -> None:
    plan = await plan_of(model, effort=effort)
    assert f"Reasoning: {told}\n" in model.tokenizer.decode(plan.prompt, skip_special_tokens=False)


async def test_gpt_oss_always_reasons(model: ServedModel) -> None:
    with pytest.raises(APIError) as caught:
        await plan_of(model, effort="none")
    assert (caught.value.status, caught.value.param) == (400, "reasoning_effort")
