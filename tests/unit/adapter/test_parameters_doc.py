"""docs/parameters.md is what the request models make of it, and leaves out no field of OpenAI's."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest
from openai.types import EmbeddingCreateParams
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsStreaming as CompletionParams
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_compact_params import ResponseCompactParams
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

import adapter
from adapter.generation.sampling import Sampling, request_fields
from adapter.schema import parameters
from adapter.schema.parameter_types import describe
from adapter.schema.parameters import Endpoint, document, endpoints

DOC = (Path(__file__).parents[3] / "docs" / "parameters.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part for part in DOC.split("\n## ")}
ENDPOINTS = {endpoint.path: endpoint for endpoint in endpoints()}


def rows(path: str) -> dict[str, list[str]]:
    """Field -> the further cells of its row."""
    lines = [line for line in SECTIONS[f"POST {path}"].splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = {name.strip("`"): rest for name, *rest in cells}
    assert len(found) == len(lines)
    return found


def test_it_is_what_make_params_writes() -> None:
    assert document() == DOC, "docs/parameters.md is old: make params"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", ChatParams),
        ("/v1/completions", CompletionParams),
        ("/v1/embeddings", EmbeddingCreateParams),
        ("/v1/responses", ResponseCreateParamsStreaming),
        ("/v1/responses/input_tokens", InputTokenCountParams),
        ("/v1/responses/compact", ResponseCompactParams),
    ],
)
def test_every_field_of_openai_is_in_a_table(path: str, kind: type) -> None:
    names = set(kind.__required_keys__ | kind.__optional_keys__)  # type: ignore[attr-defined]
    assert len(names) >= 5
    table = rows(path)
    assert names - set(table) == set()
    extensions = {name for name, cells in table.items() if cells[-1].endswith("extension")}
    assert extensions == set(table) - names


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_every_row_is_whole(endpoint: Endpoint) -> None:
    table = rows(endpoint.path)
    assert set(table) == set(endpoint.model.model_fields) | set(endpoint.refused)
    for name, cells in table.items():
        assert len(cells) == 3 and cells[2], name
        assert (name in endpoint.refused) == cells[2].startswith("refused")
        if name not in endpoint.refused:
            assert cells[0] and "any JSON" not in cells[0], name


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_notes_name_fields_and_tensors_that_there_are(endpoint: Endpoint) -> None:
    within = endpoint.model.model_json_schema().get("$defs", {}).values()
    known = {"strict", "default", *endpoint.model.model_fields, *request_fields(Sampling(1.0, 1.0), "messages")}
    known |= {name for schema in within for name in schema.get("properties", ())}
    for name, note in endpoint.notes.items():
        assert name in endpoint.model.model_fields
        assert set(re.findall(r"`(\w+)`", note)) <= known
    for name, tensors in endpoint.tensors.items():
        # A completion's prompt is text: nothing of it needs `media`.
        if name in endpoint.model.model_fields and name != "prompt":
            fate = rows(endpoint.path)[name][2]
            assert all(f"`{tensor}`" in fate for tensor in tensors), name


@functools.cache
def read_in(pattern: str) -> set[str]:
    """Attributes that files of the adapter read."""
    folders = [
        Path(adapter.__file__).parent / name for name in ("schema", "generation", "encoding", "responses", "routes")
    ]
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob(pattern)]
    assert sources
    return {node.attr for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("pattern", ["chat*.py", "completion*.py", "embedding*.py"])
def test_what_changes_nothing_is_read_by_nothing(pattern: str) -> None:
    assert parameters.TAKEN & read_in(pattern) == set()


@pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS)
def test_what_is_honoured_is_read(endpoint: Endpoint) -> None:
    read = read_in("*.py") | {"text_1", "text_2"}  # `ScoreRequest.sides` looks them up by their names
    honoured = set(endpoint.model.model_fields) - parameters.TAKEN
    assert honoured - read == set()


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 10}, "number, over 0, up to 10"),
        ({"type": "integer", "minimum": 1}, "integer, at least 1"),
        ({"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]}, "string, not empty"),
        ({"type": "array", "maxItems": 16, "items": {"$ref": "#/$defs/A"}}, "array of up to 16: object with `b`"),
        ({"enum": ["x", "y"], "type": "string"}, "`x`, `y`"),
        ({"type": "object", "properties": {"type": {"enum": ["x", "y"]}}}, "object, by `type`: `x`, `y`"),
    ],
)
def test_types_in_words(schema: dict[str, object], words: str) -> None:
    assert describe(schema, {"A": {"type": "object", "properties": {"b": {}}}}) == words
