"""Triton Python-backend model: a llama.cpp engine behind the tensors of TensorRT-LLM's `tensorrt_llm` model."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import triton_python_backend_utils as pb_utils

from .cancellation import CancellationWatch
from .delivery import Delivery
from .engine import Engine, QueueFull
from .generation import Generation
from .guides import GuideCompiler, GuideError
from .llama import Context, LlamaError, Model
from .lora import LoraAdapters, read_sources
from .media_prompt import read_media
from .media_reader import MediaReader, tokens_at_once
from .multimodal import Projector
from .reply import Reply
from .request import Limits, RequestError, read_request
from .threads import default_threads

LAST_WORDS = 5.0  # seconds to tell those who wait that the model has died


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
        self._outputs = frozenset(output["name"] for output in config["output"])
        self._delivery = Delivery(self._died)
        self._engine = Engine(
            self._context,
            slots=slots,
            context_length=context_length,
            piece=piece,
            queue_size=int(settings["max_queue_size"]),
            receiver=self._delivery,
            died=self._died,
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
                died=self._died,
            )
        self._watch = CancellationWatch(self._cancel, self._died)
        self._compilers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="guides")
        self._by_id: dict[str, Generation] = {}
        self._lock = threading.Lock()
        for part in (self._delivery, self._engine, self._media, self._watch):
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
            self._accept(request)

    def _accept(self, triton_request: Any) -> None:
        sender = triton_request.get_response_sender()
        tensors = {tensor.name(): tensor.as_numpy() for tensor in triton_request.inputs()}
        request_id = triton_request.request_id()
        if "stop" in tensors and tensors["stop"].any():
            self._stop(request_id, Reply(sender))
            return
        outputs = frozenset(triton_request.requested_output_names())
        if outputs == self._outputs:  # nothing was named: Triton lists everything
            outputs -= {"context_ids"}
        try:
            request = read_request(tensors, self._limits)
            media = read_media(tensors, request.media_places)
            generation = Generation(request, self._limits.vocab_size)
            generation.reply = Reply(sender, outputs, lambda: self._closed(generation, request_id))
            self._engine.reserve()
        except RequestError as error:
            Reply(sender).refuse(str(error), pb_utils.TritonError.INVALID_ARG)
            return
        except QueueFull as error:
            Reply(sender).refuse(str(error), pb_utils.TritonError.UNAVAILABLE)
            return
        if request_id:
            with self._lock:
                self._by_id[request_id] = generation
        self._watch.add(generation)
        if not media or self._media is None:
            self._prepare_guide(generation)
            return
        try:
            self._media.add(generation, media)
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

    def _closed(self, generation: Generation, request_id: str) -> None:
        self._watch.remove(generation)
        if self._media is not None:
            self._media.ended(generation)
        with self._lock:
            if self._by_id.get(request_id) is generation:
                del self._by_id[request_id]

    def _stop(self, request_id: str, reply: Reply) -> None:
        """TensorRT-LLM's `stop`: ends the running request of the same id; answers with an empty last response."""
        if not request_id:
            reply.refuse("stop: a request id is needed", pb_utils.TritonError.INVALID_ARG)
            return
        with self._lock:
            generation = self._by_id.get(request_id)
        if generation is not None:
            self._cancel(generation)
        reply.send_last()

    def _died(self, what: str) -> None:
        """Ends the process, after an error to everyone who waits.

        Nothing of Triton notices a thread that ended. A process that ended, its supervisor sees, and starts Triton
        again; Triton itself starts no other and goes on calling the model ready.
        """
        deadline = threading.Timer(LAST_WORDS, os._exit, [1])
        deadline.daemon = True
        deadline.start()
        try:
            pb_utils.Logger.log_error(f"the model ends: {what}")
            for generation in self._watch.open():
                generation.reply.refuse(f"the engine has died: {what}", pb_utils.TritonError.INTERNAL)
        finally:
            os._exit(1)

    def finalize(self) -> None:
        if self._media is not None:
            self._media.stop()
        self._compilers.shutdown()
        self._watch.stop()
        self._engine.stop()
        self._delivery.stop()
        self._context.close()
        if self._projector is not None:
            self._projector.close()
        self._model.close()
