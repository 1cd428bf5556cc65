"""`tensorrt_llm.llmapi`: the LLM, and the classes of its arguments."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .engine import Engine, read_conduct
from .executor import CompletionOutput, LoRARequest, RequestError, RequestOutput
from .inputs.processor import ImageProcessor, described
from .release import RELEASE
from .sampling_params import GuidedDecodingParams, SamplingParams

__all__ = [
    "LLM",
    "CompletionOutput",
    "DraftTargetDecodingConfig",
    "GuidedDecodingParams",
    "KvCacheConfig",
    "LoRARequest",
    "LoraConfig",
    "MTPDecodingConfig",
    "RequestError",
    "RequestOutput",
    "SamplingParams",
    "TorchLlmArgs",
]


@dataclass
class KvCacheConfig:
    free_gpu_memory_fraction: float | None = None
    enable_block_reuse: bool = True
    host_cache_size: int | None = None
    dtype: str = "auto"


@dataclass
class LoraConfig:
    lora_dir: list[str] = field(default_factory=list)
    max_lora_rank: int = 64
    max_loras: int | None = None
    max_cpu_loras: int | None = None


if RELEASE.startswith("1.2"):

    @dataclass
    class MTPDecodingConfig:
        num_nextn_predict_layers: int = 1

    @dataclass
    class DraftTargetDecodingConfig:
        max_draft_len: int | None = None
        speculative_model_dir: str | Path | None = None

else:

    @dataclass
    class MTPDecodingConfig:  # type: ignore[no-redef]
        num_nextn_predict_layers: int = 1
        enable_penalty: bool = False

    @dataclass
    class DraftTargetDecodingConfig:  # type: ignore[no-redef]
        max_draft_len: int | None = None
        speculative_model: str | Path | None = None


@dataclass
class TorchLlmArgs:
    """What LLM takes beside its named arguments."""

    backend: str | None = None
    pipeline_parallel_size: int = 1
    max_batch_size: int = 64
    max_num_tokens: int | None = None
    max_seq_len: int | None = None
    enable_chunked_prefill: bool = False
    guided_decoding_backend: str | None = None
    sampler_type: str = "auto"
    kv_cache_config: KvCacheConfig | None = None
    lora_config: LoraConfig | None = None
    speculative_config: DraftTargetDecodingConfig | None = None
    disable_overlap_scheduler: bool = False
    enable_iter_perf_stats: bool = False
    stream_interval: int = 1


class Tokenizer:
    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer as Reader

        self._reader = Reader.from_file(str(folder / "tokenizer.json"))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return list(self._reader.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self._reader.decode(ids, skip_special_tokens=False))


@dataclass
class PreprocessedInputs:
    """What `preprocess` makes of a prompt. `images` is the stand-in's own: the real one has `multimodal_params`."""

    prompt_token_ids: list[int]
    images: list[Any] = field(default_factory=list)


class _LLM:
    def __init__(
        self,
        model: str | Path,
        tokenizer: str | Path | None = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        for key in kwargs:
            if key not in TorchLlmArgs.__dataclass_fields__:
                raise ValueError(f"LLM got invalid argument: {key}")
        self.args = TorchLlmArgs(**kwargs)
        conduct = read_conduct(Path(model))
        if conduct.fail_to_load:
            raise RuntimeError(conduct.fail_to_load)
        config = json.loads((Path(model) / "config.json").read_text())
        self.tokenizer = Tokenizer(Path(tokenizer or model))
        self._images = ImageProcessor(config["model_type"], self.tokenizer) if "image_token_id" in config else None
        self._engine = Engine(conduct, config["vocab_size"], self.args.max_batch_size)
        self._ids = itertools.count(1)
        told = {"tensor_parallel_size": tensor_parallel_size, "dtype": dtype, "trust_remote_code": trust_remote_code}
        self._engine.log("load", model=str(model), **told, **asdict(self.args))

    def generate_async(
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: LoRARequest | None = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        if not self._engine.alive:
            raise RuntimeError("LLM is shutting down")
        params = sampling_params or SamplingParams()
        if params.end_id is None:
            raise AssertionError("the stand-in wants an end id: the real one goes to the tokenizer for it")
        if lora_request is not None and not isinstance(lora_request, LoRARequest):
            raise TypeError("lora_request")
        prepared = inputs if isinstance(inputs, PreprocessedInputs) else self._preprocess(inputs)
        ids = prepared.prompt_token_ids
        if not self.args.enable_chunked_prefill and len(ids) > (self.args.max_num_tokens or 1 << 30):
            raise ValueError(f"The sum of prompt length ({len(ids)}) should not exceed max_num_tokens")
        words = params._get_bad_words()
        result = RequestOutput(next(self._ids), list(ids), params, self._engine)
        self._engine.log(
            "request",
            id=result.request_id,
            streaming=streaming,
            prompt=len(ids),
            images=[described(image) for image in prepared.images],
            text=self._images.texts(ids) if self._images is not None else [],
            params={key: value for key, value in _plain(params).items() if value is not None},
            bad_words=words,
            lora=None if lora_request is None else asdict(lora_request),
            cache_salt=cache_salt,
        )
        if self.args.max_seq_len is not None:
            params.max_tokens = min(params.max_tokens, self.args.max_seq_len - len(ids))
        self._engine.add(result, streaming, cache_salt or "")
        return result

    def _preprocess(self, inputs: Any) -> PreprocessedInputs:
        if not isinstance(inputs, dict):
            return PreprocessedInputs(inputs)
        ids, images = inputs["prompt_token_ids"], inputs["multi_modal_data"]["image"]
        if self._images is None:
            raise TypeError("the stand-in has no images for this model")
        return PreprocessedInputs(
            self._images.ids(self.tokenizer.decode(ids), images, **inputs["mm_processor_kwargs"]), images
        )

    async def get_stats_async(self, timeout: float | None = 2) -> AsyncIterator[dict[str, Any]]:
        told = self._engine.iterations
        for _ in range(int((timeout or 2) / 0.05)):
            await asyncio.sleep(0.05)
            if self._engine.iterations != told:
                told = self._engine.iterations
                active, queued = self._engine.counts
                yield {
                    "iter": told,
                    "numActiveRequests": active,
                    "numQueuedRequests": queued,
                    "maxNumActiveRequests": self.args.max_batch_size,
                    "kvCacheStats": {"maxNumBlocks": 1000, "freeNumBlocks": 1000 - active, "usedNumBlocks": active},
                }

    def _check_health(self) -> bool:
        return self._engine.alive

    def shutdown(self) -> None:
        self._engine.stop()


if RELEASE.startswith("1.2"):

    class LLM(_LLM):
        pass

else:

    class LLM(_LLM):  # type: ignore[no-redef]
        def preprocess(
            self, inputs: Any, sampling_params: SamplingParams | None = None, disaggregated_params: Any = None
        ) -> PreprocessedInputs:
            return self._preprocess(inputs)


def _plain(params: SamplingParams) -> dict[str, Any]:
    values = {name: getattr(params, name) for name in _names(type(params))}
    guide, bias = values["guided_decoding"], values["embedding_bias"]
    values["guided_decoding"] = None if guide is None else {k: v for k, v in asdict(guide).items() if v}
    if bias is not None:
        nonzero = {int(index): float(bias.array[index]) for index in bias.array.nonzero()[0]}
        values["embedding_bias"] = {"length": bias.shape[0], "dtype": bias.dtype, "values": nonzero}
    return values


def _names(kind: Any) -> list[str]:
    return [name for name in kind.__dataclass_fields__ if not name.startswith("_")]
