"""Prompt templates: files of a folder, which requests name by id (`prompt` of the Responses API).

The template `greet` is `greet.json`, or `greet.txt`, which is its instructions alone. Its further versions are
`greet/VERSION.json` (or `.txt`). A request that names no version gets `greet.json`, else the last of the versions: the
highest number, else the last name.

A JSON file is an object with `instructions` (a string), `messages` (items, as in `input`), or both. Variables are
written `{{name}}`. A variable that is an image or a file becomes a part of its own in the message around it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field

from adapter.errors import APIError, invalid_request, not_found
from adapter.schema.body import RequestModel, check
from adapter.schema.response_items import check_items, input_items
from adapter.schema.unsupported import unsupported_parameter

_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_.-]{1,128})\s*\}\}")
_LARGEST_FILE = 1 << 20  # bytes
_LONGEST = 16 << 20  # characters of a template with its variables
_MOST_MESSAGES = 256

Variable = str | Mapping[str, Any]


class _Template(RequestModel):
    instructions: str | None = None
    messages: Annotated[list[Any], Field(max_length=_MOST_MESSAGES)] | None = None


@dataclass(frozen=True)
class FilledPrompt:
    """items: in wire form; they come before those of the request's `input`."""

    instructions: str | None
    items: list[dict[str, Any]]


class PromptTemplates:
    """Args:
    folder: None: there are no templates.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def fill(self, prompt_id: str, version: str | None, variables: Mapping[str, Variable] | None) -> FilledPrompt:
        """The template with its variables in place.

        Raises:
            APIError: 404, there is no such template; 400, a variable is missing, unknown, or of no use where it stands;
                500, the template's file is not as it should be.
        """
        if self._folder is None:
            raise unsupported_parameter("prompt", "It keeps no prompt templates: send 'instructions' and 'input'.")
        template = await asyncio.to_thread(self._load, self._folder, prompt_id, version)
        filling = _Filling(variables or {})
        instructions = filling.text(template.instructions) if template.instructions is not None else None
        items = [filling.item(item) for item in template.messages or ()]
        filling.check_all_used()
        return FilledPrompt(instructions, input_items(items))

    def _load(self, folder: Path, prompt_id: str, version: str | None) -> _Template:
        path = _find(folder, prompt_id, version)
        if path is None:
            named = f" and version '{version}'" if version is not None else ""
            param = "prompt.version" if version is not None and _find(folder, prompt_id, None) else "prompt.id"
            raise not_found(f"Prompt with id '{prompt_id}'{named} not found.", param, "prompt_not_found")
        try:
            with path.open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
            if len(raw) > _LARGEST_FILE:
                raise ValueError(f"it is larger than {_LARGEST_FILE} bytes")
            if path.suffix == ".txt":
                return _Template(instructions=raw.decode().strip())
            content = orjson.loads(raw)
            if not isinstance(content, dict):
                raise ValueError("it is no JSON object")
            template = check(_Template, content)
            check_items(template.messages or (), "messages")
        except (OSError, ValueError, APIError) as error:
            message = f"The prompt template '{prompt_id}' is set up wrongly: {error}"
            raise APIError(500, message, type="server_error", code="invalid_prompt_template") from error
        return template


def _find(folder: Path, prompt_id: str, version: str | None) -> Path | None:
    """Ids and versions are names of files, and lead nowhere else."""
    if not _NAME.match(prompt_id) or (version is not None and not _NAME.match(version)):
        return None
    if version is not None:
        return _existing(folder / prompt_id, version)
    plain = _existing(folder, prompt_id)
    if plain is not None or not (folder / prompt_id).is_dir():
        return plain
    versions = {path.stem for path in (folder / prompt_id).iterdir() if path.suffix in (".json", ".txt")}
    last = max((name for name in versions if _NAME.match(name)), key=_order, default=None)
    return _existing(folder / prompt_id, last) if last is not None else None


def _order(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isascii() and version.isdecimal() else (-1, version)


def _existing(folder: Path, name: str) -> Path | None:
    return next((path for ending in (".json", ".txt") if (path := folder / f"{name}{ending}").is_file()), None)


class _Filling:
    """Puts variables in; what they hold is never looked at for further ones."""

    def __init__(self, variables: Mapping[str, Variable]) -> None:
        self._variables = variables
        self._used: set[str] = set()
        self._length = 0

    def text(self, template: str) -> str:
        """Raises APIError, 400, for a variable that is no text."""
        return "".join(self._text_of(piece) for piece in self._pieces(template))

    def parts(self, template: str, text_type: str) -> list[dict[str, Any]]:
        """The text, split where an image or a file comes in."""
        parts: list[dict[str, Any]] = []
        texts: list[str] = []

        def close() -> None:
            if texts:
                parts.append({"type": text_type, "text": "".join(texts)})
                texts.clear()

        for piece in self._pieces(template):
            if isinstance(piece, str) or piece["type"] == "input_text":
                texts.append(self._text_of(piece))
            elif text_type != "input_text":
                self._text_of(piece)
            else:
                close()
                parts.append(dict(piece))
        close()
        return parts or [{"type": text_type, "text": ""}]

    def item(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """A message with its variables in place; other items are as they are."""
        content = item.get("content")
        if item.get("role") is None or content is None:
            return dict(item)
        text_type = "output_text" if item["role"] == "assistant" else "input_text"
        if isinstance(content, str):
            return {**item, "content": self.parts(content, text_type)}
        return {**item, "content": [new for part in content for new in self._part(part, text_type)]}

    def check_all_used(self) -> None:
        """Raises APIError, 400: a variable that the template does not have."""
        for name in self._variables:
            if name not in self._used:
                param = f"prompt.variables.{name[:80]}"
                raise invalid_request(f"Unknown prompt variable: '{name[:80]}'.", param, "unknown_prompt_variable")

    def _part(self, part: Mapping[str, Any], text_type: str) -> Sequence[dict[str, Any]]:
        if part["type"] == text_type:
            return self.parts(part["text"], text_type)
        return [dict(part)]

    def _pieces(self, template: str) -> list[Variable]:
        pieces: list[Variable] = []
        end = 0
        for found in _VARIABLE.finditer(template):
            pieces += [template[end : found.start()], self._value(found[1])]
            end = found.end()
        pieces.append(template[end:])
        return [piece for piece in pieces if piece != ""]

    def _value(self, name: str) -> Variable:
        if name not in self._variables:
            param = f"prompt.variables.{name}"
            raise invalid_request(f"Missing prompt variable: '{name}'.", param, "missing_required_parameter")
        self._used.add(name)
        value = self._variables[name]
        text = value if isinstance(value, str) else next((value[key] for key in _CONTENTS if value.get(key)), "")
        self._length += len(text)
        if self._length > _LONGEST:
            message = f"The prompt template with its variables is longer than {_LONGEST} characters."
            raise invalid_request(message, "prompt.variables", "string_above_max_length")
        return value

    def _text_of(self, piece: Variable) -> str:
        if isinstance(piece, str):
            return piece
        if piece["type"] == "input_text":
            text: str = piece["text"]
            return text
        name = next(name for name, value in self._variables.items() if value is piece)
        param = f"prompt.variables.{name[:80]}"
        raise invalid_request(f"Invalid '{param}': the template needs text in this place.", param, "invalid_type")


_CONTENTS = ("text", "image_url", "file_data")
