"""Media become embeddings on a thread of their own, before a request enters a slot."""

from __future__ import annotations

import hashlib
import struct
import threading
from collections import deque
from collections.abc import Callable

from .generation import Generation
from .media_cache import Key, MediaCache
from .media_files import MAX_WAITING_BYTES
from .media_prompt import pieces_of
from .multimodal import MediaError, Part, Projector, TokenPart
from .request import QueueFull, RequestError
from .vital_thread import VitalThread

_PROBE_SIZE = 4096  # pixels; larger than any model takes an image without making it smaller


class MediaReader:
    """Encodes the media of one request after the other.

    Not more requests than `at_once` have their embeddings in memory; the others wait with their files.

    Args:
        context_length: tokens of prompt and answer together.
        piece: most prompt tokens computed in one go.
        batch: most that the context can compute in one go.
        ready: called, from the reader's thread, with a generation whose prompt is ready, or that has been cancelled.
        refuse: called, from the same thread, with a generation that cannot be served: (generation, message, whether the
            fault is the engine's).
        died: called, from the same thread, when it cannot go on; says why.
    """

    def __init__(
        self,
        projector: Projector,
        *,
        at_once: int,
        context_length: int,
        piece: int,
        batch: int,
        ready: Callable[[Generation], None],
        refuse: Callable[[Generation, str, bool], None],
        died: Callable[[str], None],
    ) -> None:
        self._projector = projector
        self._cache = MediaCache()
        self._at_once = at_once
        self._context_length = context_length
        self._piece = piece
        self._batch = batch
        self._ready, self._refuse = ready, refuse
        self._waiting: deque[tuple[Generation, list[bytes]]] = deque()
        self._waiting_bytes = 0
        self._held: set[Generation] = set()
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = VitalThread(self._run, "media", died)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; those who wait are passed on as cancelled."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    def add(self, generation: Generation, media: list[bytes]) -> None:
        """Queues a generation with its encoded files. One that has been cancelled goes on at once.

        Raises:
            QueueFull: too much waits already.
        """
        size = sum(map(len, media))
        with self._changed:
            if self._waiting and self._waiting_bytes + size > MAX_WAITING_BYTES:
                raise QueueFull(f"the queue is full: media of {self._waiting_bytes} bytes wait to be encoded")
            cancelled = generation.cancelled  # before `cancel` could find it
            if not cancelled:
                self._waiting_bytes += size
                self._waiting.append((generation, media))
                self._changed.notify_all()
        if cancelled:
            self._ready(generation)

    def cancel(self, generation: Generation) -> None:
        """Has a generation that waits here go on at once; `generation.cancelled` is set."""
        with self._changed:
            waited = [entry for entry in self._waiting if entry[0] is generation]
            for entry in waited:
                self._waiting.remove(entry)
                self._waiting_bytes -= sum(map(len, entry[1]))
        if waited:
            self._ready(generation)

    def ended(self, generation: Generation) -> None:
        """The generation has had its last response."""
        with self._changed:
            self._held.discard(generation)
            self._changed.notify_all()

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            generation, media = entry
            del entry
            try:
                self._read(generation, media)
            except (MediaError, RequestError) as error:
                self._refuse(generation, str(error), False)
            except Exception as error:  # whatever a hostile file brings about costs its own request alone
                self._refuse(generation, f"media could not be encoded: {error!r}", True)
            else:
                self._ready(generation)
            del generation, media
        for generation, _ in self._waiting:
            generation.cancelled = True
            self._ready(generation)

    def _next(self) -> tuple[Generation, list[bytes]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or (self._waiting and len(self._held) < self._at_once))
            if self._stopping:
                return None
            generation, media = self._waiting.popleft()
            self._waiting_bytes -= sum(map(len, media))
            self._held.add(generation)
            return generation, media

    def _read(self, generation: Generation, media: list[bytes]) -> None:
        """Counts first: a prompt that does not fit is refused before the long work begins."""
        scope = generation.request.cache_scope
        keys = [(scope, hashlib.sha256(data).digest()) for data in media]
        counted = [part for number in range(len(media)) for part in self._parts(media, keys, number, encode=False)]
        taken = sum(part.count for part in counted)
        total = taken + len(generation.request.prompt)
        if total >= self._context_length:
            raise RequestError(
                "input_ids",
                f"the prompt has {total} tokens, {taken} of them media; "
                f"the context holds {self._context_length} with the answer",
            )
        for part in counted:
            if not isinstance(part, TokenPart) and part.non_causal and part.count > self._batch:
                raise RequestError(
                    "media", f"an image of {part.count} tokens; at most {self._batch} are computed at once"
                )
        encoded: list[list[Part]] = []
        for number in range(len(media)):
            if self._stopping:
                generation.cancelled = True
            if generation.cancelled:
                return
            encoded.append(self._parts(media, keys, number, encode=True))
            media[number] = b""
        request = generation.request
        pieces = pieces_of(request.prompt, request.media_places, encoded, self._piece)
        generation.set_media(pieces, most_output=self._context_length - total)

    def _parts(self, media: list[bytes], keys: list[Key], number: int, encode: bool) -> list[Part]:
        parts = self._cache.get(keys[number])
        if parts is not None:
            return parts
        try:
            parts = self._projector.parts(media[number], encode=encode)
        except MediaError as error:
            raise MediaError(f"media: file {number + 1} of {len(media)}: {error}") from None
        if encode:
            self._cache.put(keys[number], parts)
        return parts


def tokens_at_once(projector: Projector) -> int:
    """The most tokens that have to be computed in one go for an image; 0 where images may be cut into pieces."""
    if not projector.non_causal or "image" not in projector.modalities:
        return 0
    # Only its header is looked at.
    probe = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    probe += struct.pack("<IiiHHIIiiII", 40, _PROBE_SIZE, _PROBE_SIZE, 1, 24, 0, 0, 0, 0, 0, 0)
    return max(part.count for part in projector.parts(probe, encode=False))
