"""Prompt templates: found by id and version, filled with text, images and files, and never looked for elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapter.errors import APIError
from adapter.prompts import FilledPrompt, PromptTemplates

IMAGE = {"type": "input_image", "image_url": "https://example.com/a.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prompts"


def write(folder: Path, name: str, content: Any) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


async def fill(folder: Path | None, prompt_id: str, version: str | None = None, **variables: Any) -> FilledPrompt:
    return await PromptTemplates(folder).fill(prompt_id, version, variables or None)


async def refused(folder: Path | None, prompt_id: str, version: str | None = None, **variables: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        await fill(folder, prompt_id, version, **variables)
    return caught.value


async def test_variables_are_put_in(folder: Path) -> None:
    messages = [
        {"role": "user", "content": "Hello, {{ name }}! {{name}}?"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "I am {{name}}."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "plain {text} {{}}"}]},
    ]
    write(folder, "greet.json", {"instructions": "Speak {{language}}.", "messages": messages})
    filled = await fill(folder, "greet", language="Romansh", name="{{language}} $1 \\1")
    assert filled.instructions == "Speak Romansh."
    texts = [part["text"] for item in filled.items for part in item["content"]]
    assert texts == [
        "Hello, {{language}} $1 \\1! {{language}} $1 \\1?",
        "I am {{language}} $1 \\1.",
        "plain {text} {{}}",
    ]
    assert [item["role"] for item in filled.items] == ["user", "assistant", "user"]
    assert all(item["type"] == "message" and item["id"].startswith("msg_") for item in filled.items)


async def test_images_become_parts(folder: Path) -> None:
    write(folder, "look.json", {"messages": [{"role": "user", "content": "See {{picture}}: {{question}}"}]})
    filled = await fill(folder, "look", picture=IMAGE, question={"type": "input_text", "text": "what is it?"})
    assert filled.instructions is None
    assert filled.items[0]["content"] == [
        {"type": "input_text", "text": "See "},
        {**IMAGE, "detail": "auto"},
        {"type": "input_text", "text": ": what is it?"},
    ]


async def test_an_image_is_of_no_use_in_instructions_and_answers(folder: Path) -> None:
    write(folder, "a.json", {"instructions": "{{x}}"})
    write(folder, "b.json", {"messages": [{"role": "assistant", "content": "{{x}}"}]})
    for name in ("a", "b"):
        error = await refused(folder, name, x=IMAGE)
        assert (error.status, error.param, error.code) == (400, "prompt.variables.x", "invalid_type")


async def test_a_text_file_is_instructions(folder: Path) -> None:
    write(folder, "short.txt", "Be {{how}}.\n")
    assert await fill(folder, "short", how="brief") == FilledPrompt("Be brief.", [])


async def test_versions(folder: Path) -> None:
    for version in ("2", "10", "draft"):
        write(folder, f"v/{version}.txt", version)
    assert (await fill(folder, "v", "2")).instructions == "2"
    assert (await fill(folder, "v", "draft")).instructions == "draft"
    assert (await fill(folder, "v")).instructions == "10"
    write(folder, "v.txt", "the current one")
    assert (await fill(folder, "v")).instructions == "the current one"
    assert (await fill(folder, "v", "2")).instructions == "2"


async def test_what_there_is_not(folder: Path) -> None:
    write(folder, "v/1.txt", "one")
    write(folder.parent, "secret.txt", "secret")
    for prompt_id in ("w", "../secret", "v/1", "", "..", "a" * 200):
        error = await refused(folder, prompt_id)
        assert (error.status, error.param) == (404, "prompt.id")
        assert error.message == f"Prompt with id '{prompt_id}' not found."
    for version in ("2", "../../secret", ".."):
        error = await refused(folder, "v", version)
        assert (error.status, error.param) == (404, "prompt.version")


async def test_missing_and_unknown_variables(folder: Path) -> None:
    write(folder, "a.txt", "{{x}}")
    error = await refused(folder, "a")
    assert (error.status, error.param, error.code) == (400, "prompt.variables.x", "missing_required_parameter")
    error = await refused(folder, "a", x="1", y="2")
    assert (error.status, error.param, error.code) == (400, "prompt.variables.y", "unknown_prompt_variable")


async def test_without_a_folder_there_are_none() -> None:
    error = await refused(None, "a")
    assert (error.status, error.param, error.code) == (400, "prompt", "unsupported_parameter")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        {"system": "x"},
        {"messages": [{"role": "user"}]},
        {"messages": [1]},
        {"instructions": 1},
        {"instructions": "x" * (1 << 20)},
    ],
)
async def test_a_bad_file_is_the_servers_fault(folder: Path, content: Any) -> None:
    write(folder, "a.json", content)
    error = await refused(folder, "a")
    assert (error.status, error.code) == (500, "invalid_prompt_template")
    assert "'a'" in error.message


async def test_what_a_template_grows_to_is_bounded(folder: Path) -> None:
    write(folder, "a.txt", "{{x}}" * 100_000)
    error = await refused(folder, "a", x="y" * 1_000_000)
    assert (error.status, error.param, error.code) == (400, "prompt.variables", "string_above_max_length")
    assert len((await fill(folder, "a", x="y")).instructions or "") == 100_000
