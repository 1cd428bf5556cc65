"""A chat request against one model: its prompt, what the engine is held to, and how the answer is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adapter.errors import APIError, invalid_request
from adapter.generation.answer_events import Reading
from adapter.generation.field_names import CHAT_COMPLETIONS, FieldNames
from adapter.generation.json_schema import check_schema
from adapter.generation.prompt import Conversation, chat_prompt
from adapter.generation.sampling import Guide
from adapter.generation.tool_use import ToolUse
from adapter.parsing.chain import Chain
from adapter.parsing.formats import format_for
from adapter.parsing.guides import CannotBeStrict, Choice, ToolGuide, answer_format, tag_text, tool_guide
from adapter.parsing.parsed import OutputParser
from adapter.parsing.thinking import REASONING_FORMATS, ReasoningFormat
from adapter.parsing.tool_format import ToolFormat
from adapter.triton.model import ServedModel

_SWITCHES = ("enable_thinking", "thinking")  # the names that templates have for whether the model reasons
_NO_REASONING = ("none", "minimal")
_HARMONY = "<|channel|>"  # gpt-oss; its prompt knows three efforts
_HARMONY_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}
_MOST_CALLS = 32  # of one answer; a small model that has to call something may never find an end


@dataclass(frozen=True)
class ChatPlan:
    """prompt: token ids. guide: what the engine enforces."""

    prompt: list[int]
    guide: Guide | None
    _model: ServedModel
    _text: str
    _tools: ToolUse | None
    _format: ToolFormat
    _thinking: ReasoningFormat | None
    _ends_itself: bool

    def reading(self) -> Reading | None:
        """How one answer is read: every answer needs a parser of its own. None: all of it is content."""
        parser: OutputParser | None = None
        special = frozenset[str]()
        if self._tools is not None or self._format.reasons:
            parser = self._format.parser_after(self._text, self._tools.callable if self._tools is not None else [])
            special |= self._format.special_tokens
        if self._thinking is not None:
            thinking = self._thinking.parser(self._text)
            parser = thinking if parser is None else Chain(thinking, parser)
            special |= self._thinking.special_tokens
        if parser is None:
            return None
        one = self._tools is not None and (not self._tools.parallel or self._tools.choice is Choice.NAMED)
        most_calls = (None if self._ends_itself else 1) if one else _MOST_CALLS
        ids = {self._model.tokenizer.token_id(token) for token in special}
        return Reading(
            parser,
            self._format if self._tools is not None else None,
            most_calls=most_calls if self._tools is not None else None,
            custom=self._tools.custom if self._tools is not None else frozenset(),
            reasons=self._thinking is not None or self._format.reasons,
            visible=frozenset(token for token in ids if token is not None),
        )


async def plan_chat(
    model: ServedModel,
    conversation: Conversation,
    tools: ToolUse | None,
    answer_schema: Mapping[str, Any] | None,
    reasoning_effort: str | None,
    names: FieldNames = CHAT_COMPLETIONS,
) -> ChatPlan:
    """Args:
        answer_schema: what the answer is held to.
        names: of the request's fields, for errors.

    Raises:
        APIError: 400, naming the field that this model or its engine cannot do.
    """
    template = model.tokenizer.template
    source = template.source if template is not None else ""
    tool_format = format_for(model.tool_parser, template)
    thinking = _reasoning_format(model.reasoning_parser, source)
    variables = {**_effort(model, reasoning_effort, source, names.effort), **conversation.variables}
    definitions = tools.definitions if tools is not None else ()
    prompt, text = await chat_prompt(model, replace(conversation, tools=definitions, variables=variables))
    if thinking is not None and (thinking.closed_by(text) or conversation.continue_final):
        thinking = None
    end = thinking.end if thinking is not None else None
    calls = _tool_guide(model, tools, tool_format, end) if tools is not None else None
    if calls is not None:
        tool_format = calls.tool_format
        thinking = thinking if calls.reasoning else None
    guide = _guide(model, tools, calls, answer_schema, tool_format, end, names)
    if guide is not None and guide.type == "json_schema":
        thinking = None  # the engine holds the answer to the schema from its first token
    return ChatPlan(prompt, guide, model, text, tools, tool_format, thinking, calls is not None)


def _reasoning_format(name: str, template: str) -> ReasoningFormat | None:
    """Of a `reasoning_parser`, which is one of `REASONING_PARSERS`; empty: as the template has it."""
    if name in ("none", "harmony"):
        return None
    if name:
        return REASONING_FORMATS[name]
    for known in ("granite", "granite3_3", "think", "mistral"):
        if all(tag in template for tag in REASONING_FORMATS[known].special_tokens):
            return REASONING_FORMATS[known]
    return None


def _effort(model: ServedModel, effort: str | None, template: str, param: str) -> dict[str, Any]:
    """`reasoning_effort` as the template's variables."""
    if effort is None:
        return {}
    variables: dict[str, Any] = {name: effort not in _NO_REASONING for name in _SWITCHES if name in template}
    if "reasoning_effort" in template:
        variables["reasoning_effort"] = _HARMONY_EFFORTS.get(effort, effort) if _HARMONY in template else effort
    if _HARMONY in template and effort == "none":
        raise invalid_request(
            f"Unsupported value: '{param}' does not support 'none' with `{model.id}`, which always reasons. Supported "
            "values are: 'low', 'medium', and 'high'.",
            param,
            "unsupported_value",
        )
    if not variables and effort != "none":
        raise invalid_request(
            f"Unsupported parameter: '{param}' is not supported with `{model.id}`: its chat template knows no such "
            "thing. Leave it out, or send 'none'.",
            param,
            "unsupported_parameter",
        )
    return variables


def _tool_guide(model: ServedModel, tools: ToolUse, tool_format: ToolFormat, end: str | None) -> ToolGuide | None:
    unenforced = set()
    for tool, place in zip(tools.callable, tools.places, strict=True):
        try:
            check_schema(tool.parameters, f"{place}.parameters", model.engine)
        except APIError:
            if tool.strict:
                raise
            unenforced.add(tool.name)
    try:
        return tool_guide(
            tools.callable,
            tools.choice,
            tool_format,
            parallel=tools.parallel,
            structural_tags="structural_tag" in model.guide_types,
            reasoning_end=end,
            unenforced=unenforced,
        )
    except CannotBeStrict as error:
        param = f"{tools.places[error.index]}.strict"
        message = f"Unsupported parameter: '{param}': {error} Use tool_choice 'required', or leave 'strict' out."
        raise invalid_request(message, param, "unsupported_parameter") from error


def _guide(
    model: ServedModel,
    tools: ToolUse | None,
    calls: ToolGuide | None,
    answer_schema: Mapping[str, Any] | None,
    tool_format: ToolFormat,
    end: str | None,
    names: FieldNames,
) -> Guide | None:
    """What the answer is held to: calls, the schema of the answer, or either."""
    if answer_schema is not None:
        check_schema(answer_schema, names.answer_schema, model.engine)
    if tools is not None and (answer_schema is None or tools.choice is not Choice.AUTO):
        # A call that is demanded leaves no room for an answer.
        return Guide(calls.kind, calls.text, "tools") if calls is not None else None
    if answer_schema is None:
        return None
    schema = answer_format(answer_schema, tool_format)
    tagged = "structural_tag" in model.guide_types
    if tools is None:
        if not tagged or (end is None and tool_format.messages is None):
            return Guide("json_schema", _dump(answer_schema), names.answer_format)
        return Guide("structural_tag", tag_text(schema, end), names.answer_format)
    if not tagged or tool_format.syntax is None:
        raise invalid_request(
            f"The model `{model.id}` cannot choose between tools and a '{names.answer_format}': leave one out, or set "
            "'tool_choice' to 'none' or 'required'.",
            names.answer_format,
            "invalid_parameter_combination",
        )
    demanded = tool_guide(
        tools.callable, Choice.REQUIRED, tool_format, parallel=tools.parallel, structural_tags=True, reasoning_end=None
    )
    assert demanded is not None
    either = {"type": "or", "elements": [json.loads(demanded.text)["format"], schema]}
    return Guide("structural_tag", tag_text(either, end), names.answer_format)


def _dump(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
