"""Items of the Responses API as the messages that chat templates take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapter.errors import APIError, invalid_request
from adapter.generation.media_parts import MediaPart, MediaParts
from adapter.parsing.custom_input import INPUT_KEY

Item = Mapping[str, Any]
Places = Mapping[str, str]

_OUTPUT_OF = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}
_CLIENT_CALLS = frozenset(_OUTPUT_OF.values())
_SEARCHES = {"file_search_call": "file_search", "web_search_call": "web_search"}
_SERVER_CALLS = frozenset({"mcp_call", *_SEARCHES})
# The server's own book-keeping; what comes of it is in the calls.
_UNSEEN = frozenset({"mcp_list_tools", "mcp_approval_request", "mcp_approval_response"})
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "reasoning_text": "text", "refusal": "refusal"}
_NOT_RUN = "The call was not completed."
_CALL_ID = 9  # characters: templates of Mistral models refuse ids of another length


def item_messages(
    items: Sequence[Item], instructions: str | None, media: MediaParts, places: Places | None = None
) -> list[dict[str, Any]]:
    """The messages of a prompt.

    What the assistant did in one go (reasoning, text, calls) is one message, and the outputs of its calls come right
    after it, wherever they stand in `items`: templates want it so. System messages at the beginning are one, as many
    templates take no other.

    Args:
        items: in wire form, oldest first. References are resolved, sealed content is opened and files are read.
        instructions: come first, as a system message.
        media: where images and audio go; their markers are in the text.
        places: where in the request's body an item of that id stands, such as `input[2]`, for errors; an item without
            a place came from elsewhere. None: `items` are the request's `input`.

    Raises:
        APIError: 400. A call has no output or an output no call, or the model does not take a part of this kind.
    """
    outputs = _outputs(items)
    conversation = _Conversation(media)
    if instructions:
        conversation.message("system", instructions, None)
    for index, item in enumerate(items):
        kind = item["type"]
        place = item_place(item, index, places)
        if kind == "message":
            conversation.message(item["role"], item["content"], place)
        elif kind == "reasoning":
            conversation.reasoned(_reasoning(item))
        elif kind in _CLIENT_CALLS:
            at = outputs[index]
            output = _Output(items[at]["output"], item_place(items[at], at, places))
            conversation.called(_client_call(item), output)
        elif kind in _SERVER_CALLS:
            output_text = _server_output(item)
            if output_text is not None:
                conversation.called(_server_call(item), _Output(output_text, place, by_server=True))
        elif kind in _OUTPUT_OF:
            conversation.close_calls()
        elif kind not in _UNSEEN:
            raise _unreadable(f"items of type '{kind}'", place, "")
    conversation.close()
    return conversation.messages


def item_place(item: Item, index: int, places: Places | None) -> str | None:
    """Where in the request's body the item stands; None: elsewhere."""
    return f"input[{index}]" if places is None else places.get(item.get("id") or "")


def part_place(place: str | None, *path: str) -> str:
    """The place of something in an item. What the client did not send now is just `input`."""
    return ".".join([place, *path]) if place is not None else "input"


@dataclass(frozen=True)
class _Output:
    """content: text, or parts. by_server: the model saw it before it went on, and not when it made further calls."""

    content: str | Sequence[Item]
    place: str | None
    by_server: bool = False


@dataclass
class _Conversation:
    """Messages up to here; what the assistant did last may still be open.

    Texts are made in the order of the messages: so are the markers of media.
    """

    media: MediaParts
    messages: list[dict[str, Any]] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _calls: list[dict[str, Any]] = field(default_factory=list)
    _outputs: list[_Output] = field(default_factory=list)

    def message(self, role: str, content: str | Sequence[Item], place: str | None) -> None:
        if role != "assistant" or any(output.by_server for output in self._outputs):
            self.close()
        text = _text(content, place, "content", self.media)
        if role == "assistant":
            self._texts.append(text)
        elif role not in ("system", "developer"):
            self.messages.append({"role": role, "content": text})
        elif len(self.messages) == 1 and self.messages[0]["role"] == "system":
            self.messages[0]["content"] = "\n\n".join(piece for piece in (self.messages[0]["content"], text) if piece)
        else:
            self.messages.append({"role": "system", "content": text})

    def reasoned(self, text: str) -> None:
        if self._calls:  # their outputs are known by now
            self.close()
        self._reasoning.append(text)

    def called(self, call: dict[str, Any], output: _Output) -> None:
        self._calls.append(call)
        self._outputs.append(output)

    def close_calls(self) -> None:
        """An output: the assistant has gone on only after it."""
        if self._calls:
            self.close()

    def close(self) -> None:
        """What comes now is not the assistant's, or of another turn."""
        if not (self._texts or self._reasoning or self._calls):
            return
        message: dict[str, Any] = {"role": "assistant", "content": "\n".join(self._texts)}
        if reasoning := "\n".join(text for text in self._reasoning if text):
            message["reasoning_content"] = reasoning
        if self._calls:
            message["tool_calls"] = self._calls
        self.messages.append(message)
        for call, output in zip(self._calls, self._outputs, strict=True):
            content = output.content
            text = content if isinstance(content, str) else _text(content, output.place, "output", self.media)
            self.messages.append({"role": "tool", "content": text, "tool_call_id": call["id"]})
        self._texts, self._reasoning, self._calls, self._outputs = [], [], [], []


def _outputs(items: Sequence[Item]) -> dict[int, int]:
    """For each call that the client ran, where its output is. Ids may come again in a later turn."""
    waiting: dict[tuple[str, str], list[int]] = {}
    found: dict[int, int] = {}
    for index, item in enumerate(items):
        kind = item["type"]
        if kind in _CLIENT_CALLS:
            waiting.setdefault((kind, item["call_id"]), []).append(index)
        elif kind in _OUTPUT_OF:
            calls = waiting.get((_OUTPUT_OF[kind], item["call_id"]))
            if not calls:
                raise _unpaired(f"No tool call found for {_spoken(kind)} with call_id {item['call_id']}.")
            found[calls.pop()] = index
    for calls in waiting.values():
        for index in calls:
            raise _unpaired(f"No tool output found for {_spoken(items[index]['type'])} {items[index]['call_id']}.")
    return found


def _spoken(kind: str) -> str:
    return kind.replace("_", " ")


def _unpaired(message: str) -> APIError:
    return invalid_request(message, "input")


def _reasoning(item: Item) -> str:
    """The reasoning itself; a summary only where there is no more."""
    parts = item.get("content") or item.get("summary") or ()
    return "\n".join(part["text"] for part in parts)


def _client_call(item: Item) -> dict[str, Any]:
    custom = item["type"] == "custom_tool_call"
    arguments = json.dumps({INPUT_KEY: item["input"]}, ensure_ascii=False) if custom else item["arguments"]
    return _call(item["call_id"], item["name"], arguments)


def _server_call(item: Item) -> dict[str, Any]:
    call_id = item["id"][-_CALL_ID:]
    if item["type"] == "mcp_call":
        return _call(call_id, item["name"], item["arguments"] or "{}")
    if item["type"] == "file_search_call":
        arguments: dict[str, Any] = {"queries": item["queries"]}
    else:
        action = item.get("action") or {}
        hidden = ("type", "sources", *(("queries",) if action.get("query") else ()))  # one query is told twice
        arguments = {key: value for key, value in action.items() if key not in hidden}
    return _call(call_id, _SEARCHES[item["type"]], json.dumps(arguments, ensure_ascii=False))


def _call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _server_output(item: Item) -> str | None:
    """What a tool of this server gave; None: a search whose results were not kept, of which the answer has the gist."""
    if item.get("error"):
        return item["error"] if isinstance(item["error"], str) else json.dumps(item["error"], ensure_ascii=False)
    if item.get("output") is not None:
        return str(item["output"])
    if item["type"] == "mcp_call":
        return _NOT_RUN
    if item.get("results") is None:
        return None
    lines = [_result(result.get("number", place), result) for place, result in enumerate(item["results"], 1)]
    return "\n\n".join(lines) or "Nothing was found."


def _result(number: int, result: Item) -> str:
    """`[1] source: text`: a file's chunk, or a page. A number of its own is one that the whole response knows."""
    source = result.get("filename") or " ".join(result[key] for key in ("title", "url") if result.get(key))
    return f"[{number}] {source}: {result.get('text') or ''}".rstrip()


def _text(content: str | Sequence[Item], place: str | None, name: str, media: MediaParts) -> str:
    """Parts become lines: they are separate pieces of text, and none may grow together with the next."""
    if isinstance(content, str):
        return content
    return "\n".join(_part(part, place, f"{name}[{index}]", media) for index, part in enumerate(content))


def _part(part: Item, place: str | None, name: str, media: MediaParts) -> str:
    kind = part["type"]
    if kind in _TEXTS:
        text: str = part[_TEXTS[kind]]
        return text
    if kind == "input_image" and "image" in media.kinds and part.get("image_url"):
        # "original" is for models that see more than their usual size; here "high" is all there is.
        detail = {"original": "high"}.get(part.get("detail") or "auto", part.get("detail") or "auto")
        return media.add(MediaPart("image", part["image_url"], detail, part_place(place, name, "image_url")))
    if kind == "input_audio" and "audio" in media.kinds:
        clip = part["input_audio"]
        return media.add(MediaPart("audio", clip["data"], clip["format"], part_place(place, name, "input_audio.data")))
    taken = " and ".join(["text", *sorted(media.kinds)])
    raise _unreadable(f"parts of type '{kind}'", place, name, f"this model takes {taken} only, not ")


def _unreadable(what: str, place: str | None, name: str, reason: str = "the model can be shown no ") -> APIError:
    param = part_place(place, *([name] if name else []))
    return invalid_request(f"Invalid '{param}': {reason}{what}.", param, "unsupported_content_type")
