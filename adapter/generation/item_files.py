"""Files in items of the Responses API: read before the prompt is made, as a model is shown their text."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapter.errors import invalid_request
from adapter.generation.item_messages import Item, Places, item_place, part_place
from adapter.media.budget import MediaBudget
from adapter.media.file_source import FileContent, FileSource, file_source, kept_file
from adapter.media.loader import MediaLoader
from adapter.media.sniff import sniff_image

Part = Mapping[str, Any]

_PARTS_OF = {"message": "content", "function_call_output": "output", "custom_tool_call_output": "output"}


async def read_item_files(
    items: Sequence[Item],
    loader: MediaLoader,
    budget: MediaBudget,
    file_content: FileContent | None = None,
    places: Places | None = None,
) -> list[Item]:
    """The items with `input_text` in place of each `input_file`, and the image itself in place of its `file_id`.

    Args:
        budget: of the request; its images and audio are loaded with the same one.
        file_content: where a `file_id` leads; None: nowhere.
        places: as of `item_messages`.

    Raises:
        APIError: 400, naming the part whose file cannot be used.
    """
    sources: list[FileSource] = []
    images: dict[int, tuple[str, str]] = {}  # by the part's id(): the file's id and its place

    def look(part: Part, place: str | None) -> Part:
        if part["type"] == "input_file":
            sources.append(file_source(part, place))
        elif part["type"] == "input_image" and (file_id := _image_file(part, place)):
            images[id(part)] = file_id, part_place(place, "file_id")
        return part

    _each_part(items, places, look)
    if not sources and not images:
        return list(items)
    loaded: dict[int, str] = {}
    urls: dict[str, str] = {}
    for key, (file_id, place) in images.items():
        budget.foresee(len(loaded) + 1, sum(map(len, urls.values())) * 3 // 4, place)
        if file_id not in urls:
            urls[file_id] = await _image_url(file_id, place, file_content)
        loaded[key] = urls[file_id]
    texts = iter(await loader.files(sources, budget, file_content))

    def put(part: Part, place: str | None) -> Part:
        if part["type"] == "input_file":
            return {"type": "input_text", "text": next(texts)}
        if id(part) in loaded:
            return {**part, "file_id": None, "image_url": loaded[id(part)]}
        return part

    return _each_part(items, places, put)


def _each_part(items: Sequence[Item], places: Places | None, change: Callable[[Part, str | None], Part]) -> list[Item]:
    """The items with each of their parts changed, in order."""
    changed: list[Item] = []
    for index, item in enumerate(items):
        name = _PARTS_OF.get(item["type"])
        if name is not None and not isinstance(item[name], str):
            place = item_place(item, index, places)
            parts = [
                change(part, None if place is None else f"{place}.{name}[{at}]") for at, part in enumerate(item[name])
            ]
            item = {**item, name: parts}
        changed.append(item)
    return changed


def _image_file(part: Part, place: str | None) -> str | None:
    """The id of the file that is the image."""
    file_id: str | None = part.get("file_id")
    if file_id and part.get("image_url"):
        message = "'image_url' and 'file_id' cannot be given together: a part is one image."
        raise invalid_request(message, part_place(place, "file_id"), "invalid_parameter_combination")
    if not file_id and not part.get("image_url"):
        param = part_place(place, "image_url")
        raise invalid_request(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    return file_id


async def _image_url(file_id: str, place: str, file_content: FileContent | None) -> str:
    """A data URL. What the image holds is looked at where images are loaded."""
    _, content = await kept_file(file_id, place, file_content)
    found = sniff_image(content)
    if found is None:
        raise invalid_request(f"The file of '{place}' is no image.", place, "invalid_image_format")
    return f"data:{found};base64,{base64.b64encode(content).decode()}"
