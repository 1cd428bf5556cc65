"""Every parameter that the installed SDK can send is decided upon: honoured or refused, never dropped.

A new field of a new SDK fails here until somebody decides.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types import EmbeddingCreateParams
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from adapter.errors import APIError
from adapter.schema import chat_messages
from adapter.schema.body import RequestModel
from adapter.schema.chat import ChatCompletionRequest, StreamOptions, parse_chat_request
from adapter.schema.embeddings import EmbeddingsRequest
from adapter.schema.unsupported import CHAT_COMPLETIONS

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}

# What each refused field looks like when it asks for something.
ASKING: dict[str, list[Any]] = {
    "audio": [{"voice": "alloy", "format": "wav"}],
    "modalities": [["text", "audio"], ["audio"], []],
    "moderation": [{"model": "omni-moderation-latest"}],
    "prediction": [{"type": "content", "content": "x"}],
    "prompt_cache_options": [{"mode": "explicit"}],
    "prompt_cache_retention": ["24h"],
    "store": [True],
    "verbosity": ["low", "high"],
    "web_search_options": [{}],
}


# Fields that OpenAI does not have.
EXTENSIONS = {
    "top_k",
    "min_p",
    "repetition_penalty",
    "min_tokens",
    "ignore_eos",
    "bad_words",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
}


def fields(kind: type[RequestModel]) -> set[str]:
    return set(kind.model_fields)


@pytest.mark.parametrize("params", [CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming])
def test_every_chat_parameter_is_decided(params: Any) -> None:
    sent = set(get_type_hints(params))
    assert len(sent) > 30
    assert sent - fields(ChatCompletionRequest) - set(CHAT_COMPLETIONS) == set()


def test_nothing_is_decided_that_there_is_not() -> None:
    sent = set(get_type_hints(CompletionCreateParamsStreaming))
    assert (fields(ChatCompletionRequest) - EXTENSIONS) | set(CHAT_COMPLETIONS) == sent
    assert fields(ChatCompletionRequest) >= EXTENSIONS and not EXTENSIONS & sent
    assert fields(ChatCompletionRequest) & set(CHAT_COMPLETIONS) == set()


def test_every_embedding_parameter_is_decided() -> None:
    assert set(get_type_hints(EmbeddingCreateParams)) == fields(EmbeddingsRequest)


@pytest.mark.parametrize(
    ("params", "kind", "refused"),
    [
        (ChatCompletionDeveloperMessageParam, chat_messages.DeveloperMessage, set()),
        (ChatCompletionSystemMessageParam, chat_messages.SystemMessage, set()),
        (ChatCompletionUserMessageParam, chat_messages.UserMessage, set()),
        (ChatCompletionAssistantMessageParam, chat_messages.AssistantMessage, set()),
        (ChatCompletionToolMessageParam, chat_messages.ToolMessage, set()),
        (ChatCompletionStreamOptionsParam, StreamOptions, set()),
    ],
)
def test_every_field_of_a_message_is_known(params: Any, kind: type[RequestModel], refused: set[str]) -> None:
    assert set(get_type_hints(params)) - fields(kind) == refused


@pytest.mark.parametrize("name", sorted(CHAT_COMPLETIONS))
def test_what_is_refused_is_refused(name: str) -> None:
    for value in ASKING[name]:
        with pytest.raises(APIError) as caught:
            parse_chat_request({**BODY, name: value})
        error = caught.value
        assert (error.status, error.param, error.code) == (400, name, "unsupported_parameter"), value
        assert f"'{name}'" in error.message
        assert CHAT_COMPLETIONS[name].advice in error.message


@pytest.mark.parametrize("name", sorted(CHAT_COMPLETIONS))
def test_what_asks_for_nothing_is_taken(name: str) -> None:
    for value in (None, *CHAT_COMPLETIONS[name].neutral):
        parse_chat_request({**BODY, name: value})
