"""Triton Python-backend model: a llama.cpp engine behind the tensors of TensorRT-LLM's `tensorrt_llm` model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .delivery import Delivery
from .engine import Engine
from .generation import Generation
from .guides import GuideCompiler, GuideError
from .llama import Context, Model
from .llama_library import LlamaError
from .lora import LoraAdapters, read_sources
from .media_files import read_media
from .media_reader import MediaReader, tokens_at_once
from .multimodal import Projector
from .open_requests import OpenRequests
from .request import Limits, QueueFull, read_request
from .threads import default_threads


class TritonPythonModel:
    """Takes requests off Triton's hands at once; `engine.Engine` computes, `delivery.Delivery` answers."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        settings = {key: entry["string_value"] for key, entry in config["parameters"].items()}
        slots = int(settings["slots"])
        context_length = int(settings["context_length"])
        set_threads = int(settings["threads"])
        threads = (set_threads, set_threads) if set_threads else default_threads()
        piece = int(settings["batch_size"])
        self._model = Model(settings["weights"])
        sources = read_sources(settings.get("lora_adapters", ""))
        adapters = LoraAdapters(self._model, sources) if sources else None
        self._projector = self._load_projector(settings, max(threads))
        vocabulary = self._model.vocabulary
        end_ids = tuple(int(token) for token in settings.get("end_ids", "").split(",") if token)
        end_ids = end_ids or tuple(vocabulary.end_ids())
        self._limits = Limits(
            context_length=context_length,
            vocab_size=vocabulary.size,
            end_ids=end_ids,
            exclude_input=settings.get("exclude_input_in_output", "true") == "true",
            media=self._projector is not None,
            lora_tasks=frozenset(sources),
        )
        batch = piece if self._projector is None else max(piece, tokens_at_once(self._projector))
        self._context = Context(self._model, sequences=slots, length=context_length, batch=batch, threads=threads)
        self._guides = GuideCompiler(*vocabulary.pieces(), end_ids)
        self._requests = OpenRequests(
            frozenset(output["name"] for output in config["output"]),
            read=self._read,
            reserve=lambda _: self._engine.reserve(),
            begin=self._begin,
            cancel=self._cancel,
            ended=self._ended,
        )
        self._delivery = Delivery(self._requests.died)
        self._engine = Engine(
            self._context,
            slots=slots,
            context_length=context_length,
            piece=piece,
            queue_size=int(settings["max_queue_size"]),
            receiver=self._delivery,
            died=self._requests.died,
            adapters=adapters,
        )
        self._media: MediaReader | None = None
        if self._projector is not None:
            self._media = MediaReader(
                self._projector,
                at_once=slots,
                context_length=context_length,
                piece=piece,
                batch=batch,
                ready=self._media_ready,
                refuse=self._media_refused,
                died=self._requests.died,
            )
        self._compilers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="guides")
        for part in (self._delivery, self._engine, self._media, self._requests):
            if part is not None:
                part.start()
        pb_utils.Logger.log_info(
            f"{args['model_name']}: {slots} slots of {context_length} tokens, {threads[0]}/{threads[1]} threads, "
            f"vocabulary of {vocabulary.size}, end tokens {list(end_ids)}, {len(sources)} LoRA adapters"
        )

    def _load_projector(self, settings: dict[str, str], threads: int) -> Projector | None:
        path = settings.get("mmproj")
        if not path:
            return None
        projector = Projector(path, self._model, threads)
        named = {name.strip() for name in settings.get("modalities", "text").split(",")}
        if missing := named - {"text"} - projector.modalities:
            raise LlamaError(f"{path} takes no {', '.join(sorted(missing))}")
        return projector

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._requests.accept(request)

    def _read(self, tensors: Mapping[str, np.ndarray]) -> Generation:
        request = read_request(tensors, self._limits)
        return Generation(request, self._limits.vocab_size, read_media(tensors, request.media_places))

    def _begin(self, generation: Generation) -> None:
        if not generation.media or self._media is None:
            self._prepare_guide(generation)
            return
        try:
            self._media.add(generation, generation.media)
        except QueueFull as error:
            self._engine.release()
            generation.reply.refuse(str(error), pb_utils.TritonError.UNAVAILABLE)

    def _prepare_guide(self, generation: Generation) -> None:
        guide = generation.request.guide
        if guide is None:
            self._engine.submit(generation)
        else:
            self._compilers.submit(self._submit_guided, generation, guide)

    def _media_ready(self, generation: Generation) -> None:
        if generation.cancelled:
            self._engine.submit(generation)  # which ends it
        else:
            self._prepare_guide(generation)

    def _media_refused(self, generation: Generation, message: str, internal: bool) -> None:
        self._engine.release()
        self._delivery.fail(generation, message, internal)

    def _cancel(self, generation: Generation) -> None:
        self._engine.cancel(generation)
        if self._media is not None:
            self._media.cancel(generation)

    def _submit_guided(self, generation: Generation, guide: tuple[str, str]) -> None:
        kind, text = guide
        try:
            generation.guide = self._guides.compile(kind, text)
        except BaseException as error:  # the compiler's Rust code may panic, which is no Exception
            self._engine.release()
            if isinstance(error, GuideError):
                self._delivery.fail(generation, f"{error.tensor}: {error}", internal=False)
            else:
                self._delivery.fail(generation, f"a guide could not be compiled: {error!r}", internal=True)
            return
        self._engine.submit(generation)

    def _ended(self, generation: Generation) -> None:
        if self._media is not None:
            self._media.ended(generation)

    def finalize(self) -> None:
        if self._media is not None:
            self._media.stop()
        self._compilers.shutdown()
        self._requests.stop()
        self._engine.stop()
        self._delivery.stop()
        self._context.close()
        if self._projector is not None:
            self._projector.close()
        self._model.close()
