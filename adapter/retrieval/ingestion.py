"""Processes the files of vector stores in the background: text, chunks, vectors. Any number of processes may do it."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from adapter.errors import APIError
from adapter.media.documents import DocumentReader
from adapter.media.medium import MediaError
from adapter.retrieval.chunking import Span, chunks, tokenized
from adapter.retrieval.embedder import Embedder
from adapter.store.errors import StoreError, StoreFull
from adapter.store.store import Store
from adapter.store.vector_claims import Chunk, Claim
from adapter.telemetry.logs import describe_exception

logger = logging.getLogger("tritongate.files")

_LEASE = 15.0  # seconds after which a file whose process is gone is taken up again
_RENEW_EVERY = 3.0
_LOOK_EVERY = 1.0  # seconds; files that come in here are taken up at once
_AT_ONCE = 2  # files, in this process
_MOST_ATTEMPTS = 8
_AGAIN_AFTER, _LONGEST_WAIT = 5.0, 60.0  # seconds, where Triton or the store could not be had
_CHUNKS_AT_A_TIME = 32
_STOP_WITHIN = 5.0
_UNSUPPORTED = frozenset({"unsupported_file"})  # the other errors of documents are of files that should be readable


class _Lost(Exception):
    """The file was taken out, or is another process's."""


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Ingestion:
    def __init__(self, store: Store, documents: DocumentReader, embedder: Embedder) -> None:
        self._store = store
        self._documents = documents
        self._embedder = embedder
        self._claims: dict[asyncio.Future[None], Claim] = {}
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Future[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.ensure_future(self._keep_looking()), asyncio.ensure_future(self._keep_renewing())]

    async def stop(self) -> None:
        """What is not complete is left to another process, or to the next start."""
        # What looks for files ends first, so that none is begun any more.
        for task in [*self._tasks, *self._claims]:
            task.cancel()
        running = [*self._tasks, *self._claims]
        if running:
            await asyncio.wait(running, timeout=_STOP_WITHIN)

    def wake(self) -> None:
        """There are new files."""
        self._wanted.set()

    async def _keep_looking(self) -> None:
        while True:
            self._wanted.clear()
            try:
                await self._take()
            except StoreError as error:
                logger.warning("the store cannot be reached", extra={"fields": {"error": str(error)}})
            except Exception as error:
                logger.error("the store failed", extra={"fields": describe_exception(error)})
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), _LOOK_EVERY)

    async def _take(self) -> None:
        room = _AT_ONCE - len(self._claims)
        if room <= 0:
            return
        for claim in await self._store.vector_claims.take(room, _LEASE):
            task = asyncio.ensure_future(self._run(claim))
            self._claims[task] = claim
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        del self._claims[task]
        self._wanted.set()

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            claims = dict(self._claims)
            try:
                held = await self._store.vector_claims.renew(list(claims.values()), _LEASE)
            except StoreError:
                continue  # said by whoever looks for files
            for task, claim in claims.items():
                if claim.key not in held:  # deleted or cancelled
                    task.cancel()

    async def _run(self, claim: Claim) -> None:
        claims = self._store.vector_claims
        fields = {"vector_store": claim.vector_store_id, "file": claim.file_id}
        try:
            if claim.attempt > _MOST_ATTEMPTS:
                message = f"The file could not be processed in {_MOST_ATTEMPTS} attempts."
                await claims.fail(claim, "server_error", message)
                return
            try:
                await self._ingest(claim)
            except _Refused as refused:
                await claims.fail(claim, refused.code, str(refused))
                logger.info("a file was not taken", extra={"fields": {**fields, "error": str(refused)}})
            except (APIError, StoreError) as error:
                logger.warning("a file waits", extra={"fields": {**fields, "error": str(error)}})
                await claims.release(claim, min(_AGAIN_AFTER * 2 ** (claim.attempt - 1), _LONGEST_WAIT))
        except _Lost:
            pass
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError):
                await claims.release(claim, 0.0, counted=False)
            raise
        except StoreError as error:  # the lease ends by itself
            logger.warning("a file waits", extra={"fields": {**fields, "error": str(error)}})
        except Exception as error:
            logger.error("a file could not be processed", extra={"fields": {**fields, **describe_exception(error)}})
            with contextlib.suppress(StoreError):
                await claims.fail(claim, "server_error", "This server failed to process the file.")

    async def _ingest(self, claim: Claim) -> None:
        """Raises _Refused, _Lost, APIError, StoreError."""
        content = await self._store.files.content(claim.owner, claim.file_id)
        if content is None:
            raise _Lost
        try:
            text = await self._documents.text(content)
        except MediaError as error:
            code = "unsupported_file" if error.code in _UNSUPPORTED else "invalid_file"
            raise _Refused(code, f"The file {error.message}.") from error
        del content
        model = await self._embedder.model(claim.model, claim.dimensions)
        tokens = await asyncio.to_thread(tokenized, model.tokenizer, text)
        spans = chunks(len(tokens.ids), claim.chunk_tokens, claim.overlap_tokens)
        if not spans:
            raise _Refused("invalid_file", "The file holds no text that the embedding model can read.")
        for begin in range(0, len(spans), _CHUNKS_AT_A_TIME):
            some = spans[begin : begin + _CHUNKS_AT_A_TIME]
            vectors = await self._embedder.embed_chunks(model, tokens, some)
            made = [
                Chunk(begin + index, _start(tokens.starts, span), tokens.part(span.first, span.end), held.tobytes())
                for index, (span, held) in enumerate(zip(some, vectors, strict=True))
            ]
            try:
                kept = await self._store.vector_claims.add_chunks(claim, made)
            except StoreFull as error:
                raise _Refused("server_error", str(error)) from error
            if not kept:
                raise _Lost
        if not await self._store.vector_claims.complete(claim):
            raise _Lost


def _start(starts: list[int], span: Span) -> int:
    return starts[span.first] if span.first else 0
