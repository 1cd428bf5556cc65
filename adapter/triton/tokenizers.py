"""Finds the tokenizer of a model: on this machine's disk, or handed out by Triton."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import tempfile
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2 as pb

from adapter.triton.call import CallFailed
from adapter.triton.channel import TritonChannel
from adapter.triton.errors import from_triton
from adapter.triton.model import ModelDescription
from adapter.triton.subchannel import Subchannel
from tokentext import TOKENIZER_FILES, TextTokenizer, TokenizerFolderError, tokenizer_digest

_FETCH_TIMEOUT = 60.0  # seconds for one file
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_LARGEST_FILE = 256 << 20  # bytes


class TokenizerUnavailable(Exception):
    """No usable tokenizer for a model; the message says where was looked."""


class TokenizerSource:
    """Loads tokenizers, each content once.

    The places, in this order: `folder`/<Triton name of the model>; the `tokenizer_dir` that the model's configuration
    names, if it is here and has the digest that the configuration gives; `cache`/<digest>, filled from the model
    `tokenizer_model` of the configuration.

    Args:
        folder: given by the operator, for a Triton that hands no tokenizers out; or None.
        cache: for files that Triton has handed out.
    """

    def __init__(self, channel: TritonChannel, folder: Path | None, cache: Path) -> None:
        self._channel = channel
        self.folder = folder
        self._cache = cache
        self._loaded: dict[tuple[Path, str], TextTokenizer] = {}  # with the digest: a path may get other content

    async def load(self, model: ModelDescription) -> TextTokenizer:
        """Raises TokenizerUnavailable; CallFailed, it would come from a Triton that cannot be reached now."""
        try:
            folder = await self._find(model)
            place = (folder, await asyncio.to_thread(tokenizer_digest, folder))
            tokenizer = self._loaded.get(place)
            if tokenizer is None:
                tokenizer = await asyncio.to_thread(TextTokenizer, folder)
                self._loaded[place] = tokenizer
            return tokenizer
        except (TokenizerFolderError, OSError) as error:
            raise TokenizerUnavailable(str(error)) from error

    def keep_only(self, tokenizers: set[TextTokenizer]) -> None:
        """Forgets those that no model uses any more."""
        self._loaded = {place: tokenizer for place, tokenizer in self._loaded.items() if tokenizer in tokenizers}

    async def _find(self, model: ModelDescription) -> Path:
        if self.folder is not None and (self.folder / model.triton_name / TOKENIZER_FILES[0]).is_file():
            return self.folder / model.triton_name
        digest = model.tokenizer_sha256
        local = Path(model.tokenizer_dir) if model.tokenizer_dir else None
        if local is not None and await asyncio.to_thread(_matches, local, digest):
            return local
        if not digest or not model.tokenizer_model:
            raise TokenizerUnavailable(
                f"{model.tokenizer_dir or 'no tokenizer_dir'} is not on this machine, and the configuration of "
                f"{model.triton_name} names no tokenizer_model with a tokenizer_sha256 that would hand it out: "
                f"put it into a folder and set TRITONGATE_TOKENIZERS (there: {model.triton_name}/{TOKENIZER_FILES[0]})"
            )
        cached = self._cache / digest
        if not await asyncio.to_thread(_matches, cached, digest):
            await self._fetch_from_any(model, cached)
        return cached

    async def _fetch_from_any(self, model: ModelDescription, target: Path) -> None:
        """From the first Triton that has the model and hands out its tokenizer.

        Raises:
            TokenizerUnavailable: none does.
            CallFailed: none can be reached now.
        """
        failure: Exception = CallFailed(grpc.StatusCode.UNAVAILABLE, f"no Triton has {model.triton_name}")
        for subchannel in self._channel.serving(model.triton_name):
            try:
                await self._download(subchannel, model, target)
                return
            except (CallFailed, TokenizerUnavailable) as error:
                failure = error
        raise failure

    async def _download(self, subchannel: Subchannel, model: ModelDescription, target: Path) -> None:
        """Fetches into a scratch folder, checks the digest, then moves it into place."""
        self._cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="fetching-", dir=self._cache))
        try:
            for name in TOKENIZER_FILES:
                content = await self._fetch(subchannel, model.tokenizer_model, name)
                if content is not None:
                    await asyncio.to_thread((scratch / name).write_bytes, content)
            if not await asyncio.to_thread(_matches, scratch, model.tokenizer_sha256):
                raise TokenizerUnavailable(
                    f"what {model.tokenizer_model} hands out has another digest than {model.triton_name} says"
                )
            shutil.rmtree(target, ignore_errors=True)
            try:
                os.replace(scratch, target)
            except OSError:  # another process was faster
                if not _matches(target, model.tokenizer_sha256):
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    async def _fetch(self, subchannel: Subchannel, model: str, name: str) -> bytes | None:
        """One file's content, or None if the model has no such file."""
        try:
            config = (await subchannel.model_config(model, _FETCH_TIMEOUT)).config
        except CallFailed as failure:
            if failure.code in _AWAY:
                raise  # nothing is wrong with the model: Triton is away
            raise TokenizerUnavailable(f"{model}, which should hand out {name}, is not loaded") from failure
        request = pb.ModelInferRequest(model_name=model)
        encoded = name.encode()
        shape = [1, 1] if config.max_batch_size > 0 else [1]
        request.inputs.add(name="file_name", datatype="BYTES", shape=shape)
        request.raw_input_contents.append(struct.pack("<I", len(encoded)) + encoded)
        request.outputs.add(name="file_content")
        try:
            response = await subchannel.infer(request, _FETCH_TIMEOUT)
        except CallFailed as failure:
            if failure.code in _AWAY:
                raise
            error = from_triton(failure.code, failure.details)
            if error.status == 404 and name != TOKENIZER_FILES[0]:
                return None
            raise TokenizerUnavailable(f"{model} does not hand out {name}: {error.message}") from failure
        if len(response.raw_output_contents) != 1:
            raise TokenizerUnavailable(f"{model} answers without the content of {name}")
        content: bytes = response.raw_output_contents[0][4:]
        if len(content) > _LARGEST_FILE:
            raise TokenizerUnavailable(f"{name} of {model} is larger than {_LARGEST_FILE >> 20} MiB")
        return content


def _matches(folder: Path, digest: str) -> bool:
    """Whether `folder` holds the tokenizer with this digest; without a digest, whether it holds one at all."""
    try:
        return tokenizer_digest(folder) == digest if digest else (folder / TOKENIZER_FILES[0]).is_file()
    except OSError:
        return False
