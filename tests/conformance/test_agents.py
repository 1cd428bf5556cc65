"""`openai-agents`, unmodified, with this server's Responses API behind it: tools, a handoff, sessions, streams."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import openai
import pytest
from agents import (
    Agent,
    HandoffOutputItem,
    ItemHelpers,
    ModelSettings,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    ToolCallItem,
    ToolCallOutputItem,
    function_tool,
)
from pydantic import BaseModel

from tests.support import models

RUN = RunConfig(tracing_disabled=True)
SETTINGS = ModelSettings(temperature=0, max_tokens=300, tool_choice="required", parallel_tool_calls=False)
QUESTION = "How is the weather in Ulm?"
LATER = dataclasses.replace(SETTINGS, tool_choice=None)


class Answer(BaseModel):
    city: Literal["Paris", "Ulm"]


class Report(BaseModel):
    """What an agent says in the end: held to a form, so that the model, which is small, comes to an end."""

    degrees: Literal["21", "no"]
    clock: Literal["12:34", "no"]


@pytest.fixture
def model(async_openai_client: openai.AsyncOpenAI) -> OpenAIResponsesModel:
    return OpenAIResponsesModel(model=models.GOOD_CHAT, openai_client=async_openai_client)


@pytest.fixture
def called() -> list[str]:
    return []


@pytest.fixture
def two_tools(model: OpenAIResponsesModel, called: list[str]) -> Agent[Any]:
    """Each tool is there until it was called: the model, which is small, calls what there is again and again."""

    @function_tool(is_enabled=lambda context, agent: "weather" not in called)
    def get_weather(city: Literal["Paris", "Ulm"]) -> str:
        """The weather in a city."""
        called.append("weather")
        return f"It is 21 degrees in {city}."

    @function_tool(is_enabled=lambda context, agent: "time" not in called)
    def get_time(zone: Literal["CET", "UTC"]) -> str:
        """The time in a zone."""
        called.append("time")
        return "It is 12:34."

    return Agent(
        name="helper",
        instructions="Tell the user what the tools said.",
        model=model,
        tools=[get_weather, get_time],
        model_settings=SETTINGS,
        output_type=Report,
    )


async def test_an_agent_with_two_tools(two_tools: Agent[Any], called: list[str]) -> None:
    """The model calls the one and then the other, is told what came of it, and answers with that."""
    agent = two_tools.clone(model_settings=dataclasses.replace(SETTINGS, tool_choice="get_weather"))
    first = await Runner.run(agent, QUESTION, run_config=RUN, max_turns=6)
    assert called[0] == "weather" and first.final_output.degrees == "21"
    called[:] = ["weather"]
    agent = two_tools.clone(model_settings=dataclasses.replace(SETTINGS, tool_choice="get_time"))
    said: Any = [*first.to_input_list(), {"role": "user", "content": "And what time is it, in UTC?"}]
    second = await Runner.run(agent, said, run_config=RUN, max_turns=6)
    assert called == ["weather", "time"]
    for result, name, output in ((first, "get_weather", "21"), (second, "get_time", "12:34")):
        call = next(item for item in result.new_items if isinstance(item, ToolCallItem))
        answer = next(item for item in result.new_items if isinstance(item, ToolCallOutputItem))
        assert call.raw_item.name == name and output in answer.output  # type: ignore[union-attr]
        assert result.final_output


async def test_its_stream(two_tools: Agent[Any], called: list[str]) -> None:
    result = Runner.run_streamed(two_tools, QUESTION, run_config=RUN, max_turns=6)
    types: list[str] = []
    text = ""
    async for event in result.stream_events():
        if event.type == "raw_response_event":
            types.append(event.data.type)
            text += event.data.delta if event.data.type == "response.output_text.delta" else ""
    assert called and text.endswith("}") and isinstance(result.final_output, Report)
    assert types.count("response.completed") == types.count("response.created") == len(called) + 1
    assert types.count("response.function_call_arguments.done") == len(called)


async def test_a_handoff(model: OpenAIResponsesModel, two_tools: Agent[Any], called: list[str]) -> None:
    clerk = two_tools.clone(name="clerk", handoff_description="Knows the weather")
    reception = Agent(
        name="reception",
        instructions="Hand everything over to the clerk.",
        model=model,
        handoffs=[clerk],
        model_settings=SETTINGS,
    )
    result = await Runner.run(reception, QUESTION, run_config=RUN, max_turns=8)
    assert result.last_agent.name == "clerk" and called
    (handed,) = [item for item in result.new_items if isinstance(item, HandoffOutputItem)]
    assert (handed.source_agent.name, handed.target_agent.name) == ("reception", "clerk")
    assert result.final_output == Report.model_validate_json(ItemHelpers.text_message_outputs(result.new_items[-1:]))


async def test_it_goes_on_by_the_previous_response(two_tools: Agent[Any]) -> None:
    first = await Runner.run(two_tools, QUESTION, run_config=RUN, max_turns=6)
    assert first.last_response_id is not None
    talker = two_tools.clone(tools=[], model_settings=LATER)
    second = await Runner.run(
        talker, "Say it again.", run_config=RUN, previous_response_id=first.last_response_id, max_turns=2
    )
    alone = await Runner.run(talker, "Say it again.", run_config=RUN, max_turns=2)
    read, unread = (run.context_wrapper.usage.input_tokens for run in (second, alone))
    assert read > unread, "the previous response is not read"


async def test_it_goes_on_in_a_conversation(
    async_openai_client: openai.AsyncOpenAI, two_tools: Agent[Any], called: list[str]
) -> None:
    conversation = await async_openai_client.conversations.create()
    await Runner.run(two_tools, QUESTION, run_config=RUN, conversation_id=conversation.id, max_turns=6)
    kinds = [item.type async for item in async_openai_client.conversations.items.list(conversation.id, order="asc")]
    assert called and kinds == ["message", *["function_call", "function_call_output"] * len(called), "message"]


async def test_an_answer_by_a_type(model: OpenAIResponsesModel) -> None:
    agent = Agent(name="typed", instructions="Name the city.", model=model, output_type=Answer, model_settings=LATER)
    result = await Runner.run(agent, "Which city is on the Danube?", run_config=RUN)
    assert isinstance(result.final_output, Answer)
