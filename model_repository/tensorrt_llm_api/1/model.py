"""Triton Python-backend model: TensorRT-LLM's LLM API behind the tensors of its own `tensorrt_llm` model."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from .extras import read_extras
from .generation import Generation
from .image_prompts import ImagePrompts
from .llm_args import Adapter, llm_args, read_adapters
from .llm_features import Features, first_import
from .media_files import MAX_WAITING_BYTES, read_media
from .metrics import Metrics
from .open_requests import OpenRequests
from .request import Limits, QueueFull, RequestError, read_request
from .runner import Runner
from .sampling_params import sampling_params


class TritonPythonModel:
    """Takes requests off Triton's hands at once; `runner.Runner` has the one LLM answer them."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        settings = {key: entry["string_value"] for key, entry in config["parameters"].items()}
        adapters = read_adapters(settings)
        arguments = llm_args(settings, adapters)
        self._features = Features(arguments.get("sampler_type", ""), arguments.get("guided_decoding_backend", ""))
        self._vocab_size = int(settings["vocab_size"])
        self._end_ids = tuple(int(token) for token in settings.get("end_ids", "").split(",") if token)
        self._limits = Limits(
            context_length=int(settings["context_length"]),
            vocab_size=self._vocab_size,
            end_ids=self._end_ids,
            exclude_input=settings.get("exclude_input_in_output", "true") == "true",
            media="image" in settings.get("modalities", ""),
            lora_tasks=frozenset(adapters),
        )
        self._adapters = self._lora_requests(adapters)
        # Minutes, with large weights: after everything that can be wrong with the settings.
        self._llm = self._features.llm(**arguments)
        self._tokenizer = getattr(self._llm, "tokenizer", None)
        self._images: ImagePrompts | None = None
        if self._limits.media:
            try:
                self._images = ImagePrompts(self._llm, arguments["model"], self._limits.context_length)
            except Exception:
                self._llm.shutdown()  # Triton does not finalize a model that does not load
                raise
        self._capacity = int(settings.get("max_batch_size") or 0) + int(settings["max_queue_size"])
        self._metrics = Metrics(args["model_name"], args["model_version"])
        self._requests = OpenRequests(
            frozenset(output["name"] for output in config["output"]),
            read=self._read,
            reserve=self._reserve,
            begin=lambda generation: self._runner.submit(generation),
            cancel=lambda generation: self._runner.cancel(generation),
            ended=self._ended,
            last_words=self._llm.shutdown,  # what is left of its processes would keep the GPUs' memory
        )
        self._runner = Runner(
            self._llm,
            self._submit,
            errors=(ValueError, self._features.request_error),
            died=self._requests.died,
            observe=lambda: self._metrics.watch(self._llm),
        )
        self._open = 0
        self._media_bytes = 0  # of files that are not yet read
        self._lock = threading.Lock()
        self._runner.start()
        self._requests.start()
        assembled_for = settings.get("engine", "").partition(" ")[2]
        if assembled_for and assembled_for != self._features.version:
            pb_utils.Logger.log_warn(
                f"{args['model_name']}: assembled for TensorRT-LLM {assembled_for}, here is {self._features.version}: "
                "until it is assembled again, system_fingerprint tells of the former"
            )
        pb_utils.Logger.log_info(
            f"{args['model_name']}: TensorRT-LLM {self._features.version}, {arguments['model']}, "
            f"{arguments['tensor_parallel_size']} x {arguments['pipeline_parallel_size']} GPUs, "
            f"end tokens {list(self._end_ids)}, {len(adapters)} LoRA adapters"
        )

    def _lora_requests(self, adapters: dict[int, Adapter]) -> dict[int, Any]:
        if not adapters:
            return {}
        kind = first_import("tensorrt_llm.llmapi:LoRARequest", "tensorrt_llm.executor:LoRARequest")
        return {task: kind(adapter.name, task, adapter.path) for task, adapter in adapters.items()}

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            self._requests.accept(request)

    def is_ready(self) -> bool:
        """Asked by Tritons that know of it (from 2026 on), for `/v2/models/NAME/ready`."""
        return self._runner.healthy

    def _read(self, tensors: Mapping[str, np.ndarray]) -> Generation:
        request = read_request(tensors, self._limits)
        if self._images is not None:
            self._images.check_tokens(request.prompt)
        return Generation(request, read_extras(tensors), read_media(tensors, request.media_places))

    def _reserve(self, generation: Generation) -> None:
        size = sum(map(len, generation.media))
        with self._lock:
            if self._open >= self._capacity:
                raise QueueFull(f"the queue is full: {self._capacity} requests are open")
            if self._media_bytes and self._media_bytes + size > MAX_WAITING_BYTES:
                raise QueueFull(f"the queue is full: media of {self._media_bytes} bytes wait to be read")
            self._open += 1
            self._media_bytes += size

    async def _submit(self, generation: Generation) -> Any:
        """Hands a generation to the LLM; in the runner's event loop, as the LLM API wants it."""
        request, extras = generation.request, generation.extras
        params = sampling_params(
            request,
            extras,
            self._features,
            end_ids=self._end_ids,
            vocab_size=self._vocab_size,
            tokenizer=self._tokenizer,
        )
        options: dict[str, Any] = {}
        if request.lora_task:
            options["lora_request"] = self._adapters[request.lora_task]
        if request.cache_scope:
            if "cache_salt" not in self._features.call:
                raise RequestError("cache_scope", "is not known to this TensorRT-LLM release")
            options["cache_salt"] = request.cache_scope.decode()
        # By name: releases differ in the order of what comes after the parameters.
        options["sampling_params"] = params
        options["streaming"] = request.streaming or generation.watched
        if self._images is None or not request.media_places:
            generation.result = self._llm.generate_async(request.prompt.tolist(), **options)
            return generation.result
        async with self._images.room:
            prompt, scope = await self._images.prepare(generation, params)
            self._forget_media(generation)
            if "cache_salt" in self._features.call:
                options["cache_salt"] = scope
            generation.result = self._llm.generate_async(prompt, **options)
        self._images.check_length(generation, generation.result.prompt_token_ids)
        return generation.result

    def _forget_media(self, generation: Generation) -> None:
        with self._lock:
            self._media_bytes -= sum(map(len, generation.media))
            generation.media = []

    def _ended(self, generation: Generation) -> None:
        self._forget_media(generation)
        with self._lock:
            self._open -= 1
        answer = sum(len(sequence.answer) for sequence in generation.sequences)
        self._metrics.count(generation.prompt_length, generation.cached_tokens or 0, answer)

    def finalize(self) -> None:
        self._requests.stop()
        self._runner.stop()
        if self._images is not None:
            self._images.close()
        self._llm.shutdown()
        self._metrics.close()
