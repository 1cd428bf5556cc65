"""Stop strings in a text that arrives in pieces."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence


class StopMatcher:
    """Finds the stop string that begins first, wherever the pieces of the text are cut.

    Text that may turn out to be the beginning of a stop string is held back, so no part of a stop string is ever
    shown. The result does not depend on how the text was cut. When one stop string is the beginning of another, the
    shorter one decides. An Aho-Corasick automaton keeps the work linear in the length of the text.

    Raises ValueError for an empty stop string.
    """

    __slots__ = ("_children", "_depth", "_fail", "_first", "_held", "_hit_length", "_node", "_waiting", "hit")

    def __init__(self, stops: Sequence[str]):
        if any(not stop for stop in stops):
            raise ValueError("a stop string must not be empty")
        self.hit: str | None = None
        self._held = ""
        self._node = 0
        # The earliest complete stop string in the held text, (start, end), while an earlier one may still complete.
        self._waiting: tuple[int, int] | None = None
        self._build(sorted(set(stops), key=len))
        firsts = "".join(re.escape(character) for character in self._children[0])
        self._first = re.compile(f"[{firsts}]") if firsts else None

    def push(self, text: str) -> tuple[str, str | None]:
        """Text that is safe to show, and the stop string once it is certain. After a hit: ("", that string)."""
        if self._first is None:
            return text, None
        if self.hit is not None:
            return "", self.hit
        position = len(self._held)
        if not self._node and self._waiting is None:
            match = self._first.search(text)
            if match is None:
                return text, None
            position = match.start()
        return self._scan(self._held + text, position)

    def flush(self) -> str:
        """The text held back, at the natural end. `hit` is set if the end makes a complete stop string certain."""
        text, self._held, self._node = self._held, "", 0
        if self._waiting is None or self.hit is not None:
            return text
        start, end = self._waiting
        self.hit = text[start:end]
        return text[:start]

    def _scan(self, text: str, position: int) -> tuple[str, str | None]:
        children, fail, depth = self._children, self._fail, self._depth
        node, waiting = self._node, self._waiting
        for end in range(position + 1, len(text) + 1):
            character = text[end - 1]
            while node and character not in children[node]:
                node = fail[node]
            node = children[node].get(character, 0)
            found = self._hit_length[node]
            if found and (waiting is None or end - found < waiting[0]):
                waiting = (end - found, end)
            # `end - depth` is where the earliest stop string that could still complete begins.
            if waiting is not None and end - depth[node] >= waiting[0]:
                start, stop_end = waiting
                self.hit = text[start:stop_end]
                self._held = ""
                return text[:start], self.hit
        safe = len(text) - depth[node]
        self._node = node
        self._waiting = (waiting[0] - safe, waiting[1] - safe) if waiting else None
        self._held = text[safe:]
        return text[:safe], None

    def _build(self, stops: list[str]) -> None:
        """Per node: children, the node of its longest proper suffix, its depth, the longest stop that ends there."""
        self._children: list[dict[str, int]] = [{}]
        self._fail = [0]
        self._depth = [0]
        self._hit_length = [0]
        for stop in stops:
            node = 0
            for character in stop:
                if self._hit_length[node]:
                    break  # a shorter stop string begins this one
                child = self._children[node].get(character)
                if child is None:
                    child = len(self._children)
                    self._children[node][character] = child
                    self._children.append({})
                    self._fail.append(0)
                    self._depth.append(self._depth[node] + 1)
                    self._hit_length.append(0)
                node = child
            self._hit_length[node] = self._depth[node]
        self._link()

    def _link(self) -> None:
        queue = deque(self._children[0].values())
        while queue:
            node = queue.popleft()
            for character, child in self._children[node].items():
                suffix = self._fail[node]
                while suffix and character not in self._children[suffix]:
                    suffix = self._fail[suffix]
                self._fail[child] = self._children[suffix].get(character, 0)
                self._hit_length[child] = self._hit_length[child] or self._hit_length[self._fail[child]]
                queue.append(child)
