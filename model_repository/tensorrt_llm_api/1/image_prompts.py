"""Prompts with images, as the LLM API takes them: token ids with the model's own mark in the place of each, and images.

Sources: `tensorrt_llm/inputs/data.py` (TokensPrompt), `inputs/utils.py` (retrieve_multimodal_placeholder),
`llmapi/llm.py` (generate_async, preprocess). In every release from 1.2 on the LLM takes token ids beside images: most
models' processors have it decode them, and encode the text anew with as many tokens as each image takes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .generation import Generation
from .images import decoded
from .llm_args import SettingError
from .llm_features import first_import
from .media_files import MAX_MEDIA
from .request import RequestError

AT_ONCE = 2  # requests whose images are decoded, or are so and have not yet been taken by the LLM
# Keys of a checkpoint's config.json that name tokens which stand for media, or go around them.
_MEDIA_TOKENS = re.compile(r"(image|video|audio|vision|boi|eoi|boa|eoa)(_\w+)?_token_(id|index)")


class ImagePrompts:
    """Makes prompts, on threads of its own: decoding and preparing an image takes up to seconds.

    Args:
        llm: the loaded LLM: its classes have told TensorRT-LLM what their models take.
        checkpoint: folder of the model.
        context_length: tokens of prompt and answer together.
    Raises:
        SettingError: this TensorRT-LLM takes no images for the model.
    """

    def __init__(self, llm: Any, checkpoint: str, context_length: int) -> None:
        config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
        self._llm = llm
        self._context_length = context_length
        self._reserved = np.array(
            [value for key, value in config.items() if _MEDIA_TOKENS.fullmatch(key) and isinstance(value, int)],
            np.int32,
        )
        self._marks = _marks(str(config.get("model_type", "")), llm.tokenizer)
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="images")
        # To be held until the LLM has the images: release 1.2 prepares them in the event loop, one request after the
        # other, and the threads would be far ahead of it.
        self.room = asyncio.Semaphore(AT_ONCE)
        self._preparing = threading.Lock()

    def check_tokens(self, prompt: np.ndarray) -> None:
        """Of every prompt, with images or without.

        Raises:
            RequestError: it holds a token that stands for media itself. The LLM would look for an image that is not
                there, and fail with whatever else is in its batch.
        """
        found = prompt[np.isin(prompt, self._reserved)]
        if len(found):
            raise RequestError(
                "input_ids",
                f"token {found[0]} stands for media in this model; an image is a -1, with its file in media",
            )

    def token_ids(self, prompt: np.ndarray, places: Sequence[int]) -> list[int]:
        """The prompt with the model's mark of an image at each of the places."""
        ids: list[int] = []
        done = 0
        for mark, place in zip(self._marks, places, strict=False):
            ids += prompt[done:place].tolist() + mark
            done = place
        return ids + prompt[done:].tolist()

    async def prepare(self, generation: Generation, params: Any) -> tuple[Any, str]:
        """What `generate_async` is to be given, prepared as far as this release does that by itself; and its `salt`.

        Args:
            params: the request's SamplingParams.
        Raises:
            RequestError: a file that cannot be read, or a prompt that leaves no room for an answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._prepare, generation, params)

    def _prepare(self, generation: Generation, params: Any) -> tuple[Any, str]:
        if generation.cancelled:
            raise RequestError("media", "the request was cancelled")  # nobody reads it
        request = generation.request
        inputs = {
            "prompt_token_ids": self.token_ids(request.prompt, request.media_places),
            "multi_modal_data": {"image": decoded(generation.media)},
            "mm_processor_kwargs": {},  # release 1.2 does not do without
        }
        scope = salt(request.cache_scope, generation.media)
        if not hasattr(self._llm, "preprocess"):
            return inputs, scope  # generate_async will, before it returns
        with self._preparing:  # tokenizers refuse to be used by two threads at the same time
            prepared = self._llm.preprocess(inputs, sampling_params=params)
        self.check_length(generation, prepared.prompt_token_ids)
        return prepared, scope

    def check_length(self, generation: Generation, prompt: Sequence[int]) -> None:
        """Notes how long the prompt has become.

        Raises:
            RequestError: it leaves no room for an answer.
        """
        generation.prompt_length = len(prompt)
        if len(prompt) >= self._context_length:
            raise RequestError(
                "input_ids",
                f"the prompt has {len(prompt)} tokens, {len(prompt) - len(generation.request.prompt)} of them media; "
                f"the context holds {self._context_length} with the answer",
            )

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def _marks(model_type: str, tokenizer: Any) -> list[list[int]]:
    """Tokens that stand for the first image of a prompt, for the second, and so on: some models number them."""
    try:
        mark = first_import("tensorrt_llm.inputs.utils:retrieve_multimodal_placeholder")
        texts = [mark(model_type, "image", number) for number in range(1, MAX_MEDIA + 1)]
    except (ImportError, TypeError, LookupError, ValueError):  # TypeError: it does not know the model
        texts = []
    if not texts or not all(texts):
        raise SettingError(f"modalities: this TensorRT-LLM takes no images for models of type {model_type!r}")
    return [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def salt(scope: bytes, files: Sequence[bytes]) -> str:
    """Scope of the KV cache for a prompt with these files: with others the same token ids mean something else, and not
    every model's processor lets TensorRT-LLM see that."""
    digest = hashlib.sha256(hashlib.sha256(scope).digest())
    for data in files:
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()
