"""Triton Python-backend model: TensorRT-LLM's LLM API behind the tensors of its own `tensorrt_llm` model."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import triton_python_backend_utils as pb_utils

from .cancellation import CancellationWatch
from .extras import read_extras
from .generation import Generation
from .llm_args import Adapter, llm_args, read_adapters
from .llm_features import Features, first_import
from .metrics import Metrics
from .reply import Reply
from .request import Limits, RequestError, read_request
from .runner import Runner
from .sampling_params import sampling_params

LAST_WORDS = 5.0  # seconds to tell those who wait that the model has died, and to end what is left of it


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
            lora_tasks=frozenset(adapters),
        )
        self._adapters = self._lora_requests(adapters)
        # Minutes, with large weights: after everything that can be wrong with the settings.
        self._llm = self._features.llm(**arguments)
        self._tokenizer = getattr(self._llm, "tokenizer", None)
        self._outputs = frozenset(output["name"] for output in config["output"])
        self._capacity = int(settings.get("max_batch_size") or 0) + int(settings["max_queue_size"])
        self._metrics = Metrics(args["model_name"], args["model_version"])
        self._runner = Runner(
            self._llm,
            self._submit,
            errors=(ValueError, self._features.request_error),
            died=self._died,
            observe=lambda: self._metrics.watch(self._llm),
        )
        self._watch = CancellationWatch(self._runner.cancel, self._died)
        self._by_id: dict[str, Generation] = {}
        self._open = 0
        self._lock = threading.Lock()
        self._runner.start()
        self._watch.start()
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
            self._accept(request)

    def is_ready(self) -> bool:
        """Asked by Tritons that know of it (from 2026 on), for `/v2/models/NAME/ready`."""
        return self._runner.healthy

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
            generation = Generation(read_request(tensors, self._limits), read_extras(tensors))
        except RequestError as error:
            Reply(sender).refuse(str(error), pb_utils.TritonError.INVALID_ARG)
            return
        with self._lock:
            full = self._open >= self._capacity
            if not full:
                self._open += 1
                if request_id:
                    self._by_id[request_id] = generation
        if full:
            message = f"the queue is full: {self._capacity} requests are open"
            Reply(sender).refuse(message, pb_utils.TritonError.UNAVAILABLE)
            return
        generation.reply = Reply(sender, outputs, lambda: self._closed(generation, request_id))
        self._watch.add(generation)
        self._runner.submit(generation)

    def _submit(self, generation: Generation) -> Any:
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
        return self._llm.generate_async(
            request.prompt.tolist(),
            sampling_params=params,
            streaming=request.streaming or generation.watched,
            **options,
        )

    def _closed(self, generation: Generation, request_id: str) -> None:
        """After the last response; may come a second time."""
        self._watch.remove(generation)
        with self._lock:
            if generation.closed:
                return
            generation.closed = True
            self._open -= 1
            if self._by_id.get(request_id) is generation:
                del self._by_id[request_id]
        answer = sum(len(sequence.answer) for sequence in generation.sequences)
        self._metrics.count(generation.prompt_length, generation.cached_tokens or 0, answer)

    def _stop(self, request_id: str, reply: Reply) -> None:
        """TensorRT-LLM's `stop`: ends the running request of the same id; answers with an empty last response."""
        if not request_id:
            reply.refuse("stop: a request id is needed", pb_utils.TritonError.INVALID_ARG)
            return
        with self._lock:
            generation = self._by_id.get(request_id)
        if generation is not None:
            self._runner.cancel(generation)
        reply.send_last()

    def _died(self, what: str) -> None:
        """Ends the process, after an error to everyone who waits: its supervisor then starts Triton again."""
        deadline = threading.Timer(LAST_WORDS, os._exit, [1])
        deadline.daemon = True
        deadline.start()
        try:
            pb_utils.Logger.log_error(f"the model ends: {what}")
            for generation in self._watch.open():
                generation.reply.refuse(f"the engine has died: {what}", pb_utils.TritonError.INTERNAL)
            self._llm.shutdown()  # what is left of its processes would keep the GPUs' memory
        finally:
            os._exit(1)

    def finalize(self) -> None:
        self._watch.stop()
        self._runner.stop()
        self._llm.shutdown()
        self._metrics.close()
