"""How much of a text that is still coming may be the beginning of a tag."""

from __future__ import annotations

from collections.abc import Sequence


def held_back(text: str, tags: Sequence[str]) -> int:
    """The length of the longest end of the text that is a proper beginning of one of the tags."""
    longest = max(map(len, tags)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(len(tag) > size and tag.startswith(text[-size:]) for tag in tags):
            return size
    return 0
