"""docs/parameters.md: every request field, its type and limits, its default, and what becomes of it.

`python -m adapter.schema.parameters` writes it (`make params`). Fields, types and limits are those of the request
models, OpenAI's fields those of the types of the installed `openai` package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields
from typing import Any

from openai.types import EmbeddingCreateParams
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.conversations.conversation_create_params import ConversationCreateParams
from openai.types.conversations.conversation_update_params import ConversationUpdateParams
from openai.types.conversations.item_create_params import ItemCreateParams
from openai.types.responses import response_create_params as response_params
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_compact_params import ResponseCompactParams

from adapter.generation.json_schema import RULES, SchemaRules
from adapter.generation.sampling import Sampling, request_fields
from adapter.schema.body import RequestModel
from adapter.schema.chat import ChatCompletionRequest, parse_chat_request
from adapter.schema.chat import sampling_of as chat_sampling
from adapter.schema.completions import CompletionRequest, parse_completion_request
from adapter.schema.completions import sampling_of as completion_sampling
from adapter.schema.conversations import ConversationCreate, ConversationItemsCreate, ConversationUpdate
from adapter.schema.embeddings import EmbeddingsRequest
from adapter.schema.parameter_types import describe
from adapter.schema.rerank import RerankRequest, ScoreRequest
from adapter.schema.responses import (
    CompactRequest,
    InputTokensRequest,
    ResponseRequest,
    parse_response_request,
    response_sampling,
)
from adapter.schema.tokenize import DetokenizeRequest, TokenizeRequest
from adapter.schema.unsupported import CHAT_COMPLETIONS, COMPACT, INPUT_TOKENS, RESPONSES, Unsupported

TAKEN = frozenset({"user", "safety_identifier", "prompt_cache_key"})
"""Checked, and nothing reads them, unless an endpoint has a note that says more."""

# Tensors that every generating model declares, whatever the request asks for.
_ALWAYS = frozenset({"input_ids", "input_lengths", "request_output_len"})


@dataclass(frozen=True)
class Endpoint:
    """What its table is made of.

    model: of the body.
    openai: names of OpenAI's fields; None: an endpoint that OpenAI does not have.
    refused: fields of OpenAI's that `model` does not have.
    tensors: field -> the engine's tensors that carry it.
    notes: what becomes of fields of which only a part needs a tensor, or that do less than they say.
    sampling: what an otherwise empty request asks of the engine: its defaults.
    """

    path: str
    model: type[RequestModel]
    openai: Set[str] | None
    refused: Mapping[str, Unsupported]
    tensors: Mapping[str, list[str]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    sampling: Sampling | None = None


_GREEDY = "; 0 needs `runtime_top_k`"
_GENERATION_NOTES = {
    "model": "honoured; an adapter of a model needs `lora_task_id`",
    "temperature": "honoured where the engine declares `temperature`" + _GREEDY,
    "top_p": "honoured where the engine declares `runtime_top_p`" + _GREEDY,
}
_DEMANDED = "honoured; a demanded call needs `guided_decoding_guide_type`"
_CHAT_NOTES = {
    **_GENERATION_NOTES,
    "metadata": "kept with what is stored",
    "verbosity": "told to the model in words",
    "messages": "honoured; without `media` images and audio are refused",
    "tools": "honoured; `strict` needs `guided_decoding_guide_type`",
    "tool_choice": _DEMANDED,
    "function_call": _DEMANDED,
    "service_tier": "taken; there is one tier, and the answer says `default`",
}
_COMPLETION_NOTES = {
    **_GENERATION_NOTES,
    "prompt": "honoured",
    "logprobs": "honoured where the engine declares `return_log_probs`; over 0 needs `top_logprobs`",
    "best_of": "honoured; more than `n` needs `return_log_probs`",
    "echo": "honoured; with `logprobs` it needs `return_prompt_log_probs`",
}

_ECHOED = "taken; the response shows it"
_INPUT = "honoured; without `media` images and audio are refused"
_PROMPTED_NOTES = {
    "input": _INPUT,
    "tools": "honoured; `strict` needs `guided_decoding_guide_type`",
    "tool_choice": _DEMANDED,
}
_RESPONSE_NOTES = {
    **_GENERATION_NOTES,
    **_PROMPTED_NOTES,
    "include": "honoured; of tools that are not served there is nothing to include",
    "text": "honoured; a JSON format needs `guided_decoding_guide_type`; `verbosity` is told to the model in words",
    "reasoning": "honoured; `effort` where the chat template knows it; summaries are not made",
    "top_logprobs": "honoured where the engine declares `top_logprobs` and `return_log_probs`",
    "service_tier": "taken; there is one tier, and the response says `default`",
    "metadata": "honoured",
    **dict.fromkeys(("user", "safety_identifier", "prompt_cache_key"), _ECHOED),
}

_KEPT = {"metadata": "honoured"}


def _keys(*kinds: Any) -> frozenset[str]:
    """The keys of TypedDicts."""
    return frozenset(key for kind in kinds for key in kind.__required_keys__ | kind.__optional_keys__)


def _tensors(sampling: Sampling, prompt: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tensor, name in request_fields(sampling, prompt).items():
        if tensor not in _ALWAYS:
            found.setdefault(name, []).append(tensor)
    return found


def endpoints() -> list[Endpoint]:
    """Every endpoint with a body."""
    chat = chat_sampling(parse_chat_request({"model": "m", "messages": [{"role": "user", "content": "x"}]}))
    completion = completion_sampling(parse_completion_request({"model": "m"}))
    response = response_sampling(parse_response_request({"model": "m", "input": "x"}), logprobs=False)
    return [
        Endpoint(
            "/v1/chat/completions",
            ChatCompletionRequest,
            _keys(chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming),
            CHAT_COMPLETIONS,
            _tensors(chat, "messages"),
            _CHAT_NOTES,
            chat,
        ),
        Endpoint(
            "/v1/completions",
            CompletionRequest,
            _keys(
                completion_params.CompletionCreateParamsNonStreaming, completion_params.CompletionCreateParamsStreaming
            ),
            {},
            _tensors(completion, "prompt"),
            _COMPLETION_NOTES,
            completion,
        ),
        Endpoint(
            "/v1/responses",
            ResponseRequest,
            _keys(response_params.ResponseCreateParamsNonStreaming, response_params.ResponseCreateParamsStreaming),
            RESPONSES,
            _tensors(response, "input"),
            _RESPONSE_NOTES,
            response,
        ),
        Endpoint(
            "/v1/responses/input_tokens",
            InputTokensRequest,
            _keys(InputTokenCountParams),
            INPUT_TOKENS,
            notes={**_PROMPTED_NOTES, "truncation": "taken; the count is that of the whole input"},
        ),
        Endpoint(
            "/v1/responses/compact",
            CompactRequest,
            _keys(ResponseCompactParams),
            COMPACT,
            notes={"input": _INPUT, "service_tier": "taken; there is one tier"},
        ),
        Endpoint("/v1/conversations", ConversationCreate, _keys(ConversationCreateParams), {}, notes=_KEPT),
        Endpoint("/v1/conversations/{id}", ConversationUpdate, _keys(ConversationUpdateParams), {}, notes=_KEPT),
        Endpoint(
            "/v1/conversations/{id}/items",
            ConversationItemsCreate,
            _keys(ItemCreateParams) - {"include"},  # in the query
            {},
        ),
        Endpoint("/v1/embeddings", EmbeddingsRequest, _keys(EmbeddingCreateParams), {}),
        Endpoint("/v1/rerank", RerankRequest, None, {}),
        Endpoint("/v1/score", ScoreRequest, None, {}),
        Endpoint("/v1/tokenize", TokenizeRequest, None, {}),
        Endpoint("/v1/detokenize", DetokenizeRequest, None, {}),
    ]


def _fate(endpoint: Endpoint, name: str) -> str:
    if name in TAKEN and name not in endpoint.notes:
        return "taken, changes nothing"
    fate = endpoint.notes.get(name, "honoured")
    if name not in endpoint.notes and name in endpoint.tensors:
        fate += " where the engine declares " + " and ".join(f"`{tensor}`" for tensor in endpoint.tensors[name])
    extension = endpoint.openai is not None and name not in endpoint.openai
    return f"{fate}; extension" if extension else fate


def _default(endpoint: Endpoint, name: str, schema: Mapping[str, Any]) -> str:
    """What the engine is asked for without the field, else the model's default; null says nothing, and is left out."""
    if endpoint.sampling is not None and name in {wish.name for wish in fields(Sampling)}:
        value = getattr(endpoint.sampling, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return f"`{value:g}`"
    value = schema.get("default")
    return "" if value is None else f"`{value}`"


def _table(endpoint: Endpoint) -> list[str]:
    schema = endpoint.model.model_json_schema()
    required = set(schema.get("required", ()))
    lines = [f"## POST {endpoint.path}", ""]
    if endpoint.openai is None:
        lines += ["OpenAI has no such endpoint.", ""]
    lines += ["| field | type and limits | default | |", "|---|---|---|---|"]
    for name, type_ in schema["properties"].items():
        default = "required" if name in required else _default(endpoint, name, type_)
        lines.append(f"| `{name}` | {describe(type_, schema.get('$defs', {}))} | {default} | {_fate(endpoint, name)} |")
    for name, refused in endpoint.refused.items():
        neutral = " or ".join(f"`{json.dumps(value)}`" for value in refused.neutral)
        but = f", unless {neutral}" if neutral else ""
        lines.append(f"| `{name}` | | | refused{but}: {refused.advice} |")
    return [*lines, ""]


def _engines() -> dict[str, tuple[SchemaRules, list[str]]]:
    """By grammar compiler: its rules, and the engines that have it."""
    found: dict[str, tuple[SchemaRules, list[str]]] = {}
    for engine, rules in RULES.items():
        found.setdefault(rules.name, (rules, []))[1].append(f"`{engine}`")
    return found


def _keywords() -> list[str]:
    compilers = list(_engines().values())
    titles = [f"{rules.name} ({', '.join(engines)})" for rules, engines in compilers]
    lines = [
        "## JSON Schema keywords",
        "",
        "Of `response_format` and of tools with `strict`. A keyword that is refused is a 400 `unsupported_json_schema`",
        "that names it; keywords that are not listed are enforced or are annotations. Engines that are not listed",
        "decide for themselves.",
        "",
        f"| keyword | {' | '.join(titles)} |",
        "|---|" + "---|" * len(titles),
    ]

    def row(name: str, refused: list[bool]) -> str:
        return f"| {name} | " + " | ".join("refused" if no else "enforced" for no in refused) + " |"

    for keyword in sorted(set().union(*(rules.refused for rules, _ in compilers))):
        lines.append(row(f"`{keyword}`", [keyword in rules.refused for rules, _ in compilers]))
    lines.append(row("`allOf` of several schemas", [rules.single_all_of for rules, _ in compilers]))
    lines.append(row("`$ref` to an `$anchor`", [not rules.anchors for rules, _ in compilers]))
    for name in (
        "keywords beside `$ref`, `const`, `enum`, `anyOf`, `oneOf` or `allOf`, but `type`",
        "keywords of one type without `type`",
        "`minLength`, `maxLength`, `pattern` beside `format`; lengths beside `pattern`",
        "`required` without `properties`",
    ):
        lines.append(row(name, [rules.apart for rules, _ in compilers]))
    for tag in sorted(set().union(*(rules.formats for rules, _ in compilers))):
        lines.append(row(f"`format`: `{tag}`", [tag not in rules.formats for rules, _ in compilers]))
    lines.append(row("`format`: any other", [True for _ in compilers]))
    return lines


_INTRODUCTION = """# Parameters

Made by `make params` from the request models; [The API](api.md) says what the fields mean. A field that is in no table
is refused as unknown. `null` is taken for any field that is not required, and means the default.

*Honoured where the engine declares* a tensor, or *needs* it: for other models the field is a 400
`unsupported_parameter` with the name of the tensor. *Extension*: OpenAI does not have the field.
"""


def document() -> str:
    """The markdown of docs/parameters.md."""
    lines = [line for endpoint in endpoints() for line in _table(endpoint)]
    return "\n".join([_INTRODUCTION, *lines, *_keywords()]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
