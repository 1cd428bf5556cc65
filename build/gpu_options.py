"""What a catalog entry says about its build for a GPU: which checkpoint, how it is quantized and compiled.

Names and defaults of the options are those of `trtllm-build` (TensorRT-LLM 1.2), as far as it has them.
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)
from pydantic.dataclasses import dataclass

from build.quantization import QUANTIZATIONS

DRAFT_LENGTH = 5
LONGEST_DRAFT = 64  # beyond what is ever accepted; each token of a draft takes a place in every batch

_STRICT = ConfigDict(extra="forbid")
_Count = Annotated[StrictInt, Field(gt=0)]
_Text = Annotated[StrictStr, StringConstraints(min_length=1)]


_SERVED = tuple(name for name, found in QUANTIZATIONS.items() if found.gpu)
_MADE = tuple(name for name in _SERVED if not QUANTIZATIONS[name].published)


def _made(name: str) -> str:
    if name not in _MADE:
        raise ValueError(f"known for a GPU are {', '.join(_MADE)}")
    return name


@dataclass(frozen=True, config=_STRICT)
class Checkpoint:
    """A Hugging Face checkpoint: `config.json`, safetensors and the tokenizer's files.

    It lies in a repository of a hub (`hub` at `revision`: a commit, a tag or a branch; digests are the hub's own, and
    the commit that a branch stood for is written into the build's manifest), or in a folder (`path`). The numbers are
    those of its `config.json`; they are what an estimate is made from before anything is fetched, and are checked.
    `quantization` is that of a checkpoint which is published quantized (its `hf_quant_config.json`, or
    `quantization_config` in its `config.json`), and the only one then; `parameters_of_16_bits` are those that such a
    checkpoint leaves as they were, besides embeddings and head.
    """

    architecture: _Text
    parameters: _Count
    num_hidden_layers: _Count
    hidden_size: _Count
    intermediate_size: _Count
    num_key_value_heads: _Count
    head_dim: _Count
    vocab_size: _Count
    torch_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    tie_word_embeddings: StrictBool = False
    hub: Annotated[StrictStr, StringConstraints(pattern=r"^([\w.-]+/[\w.-]+)?$")] = ""
    revision: Annotated[StrictStr, StringConstraints(pattern=r"^[\w.-]+$")] = "main"
    path: Path | None = None
    quantization: StrictStr = ""
    parameters_of_16_bits: Annotated[StrictInt, Field(ge=0)] = 0
    num_experts_per_tok: _Count = 1

    @model_validator(mode="after")
    def _one_place(self) -> Checkpoint:
        if bool(self.hub) == bool(self.path):
            raise ValueError("exactly one of `hub` and `path` says where the checkpoint is")
        if self.quantization:
            if self.quantization not in _SERVED:
                raise ValueError(f"quantization: known for a GPU are {', '.join(_SERVED)}")
        elif self.parameters_of_16_bits:
            raise ValueError("parameters_of_16_bits: only of a checkpoint that is published quantized")
        return self

    def __str__(self) -> str:
        return f"{self.hub}@{self.revision}" if self.hub else str(self.path)


GpuQuantization = Annotated[StrictStr, AfterValidator(_made)]

# Names of modules that trtllm-build applies LoRA to (LoraManager.LORA_MODULE_IDS), dense models' own.
LoraModule = Literal[
    "attn_qkv", "attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_4h_to_h", "mlp_gate", "mlp_gate_up"
]


@dataclass(frozen=True, config=_STRICT)
class BuildOptions:
    """How it is built.

    Args:
        engine: `tensorrt_llm` (compiled) or `tensorrt_llm_api` (the checkpoint is what is served).
        quantization: when the id names none.
        quantizations: those that may be asked for; empty: all that a GPU takes.
        tensor_parallel, pipeline_parallel: GPUs that share each layer, and groups of GPUs that share the layers.
        max_batch_size: answers in one step. max_num_tokens: tokens in one step, prompts' and answers' together.
        paged_kv_cache: needed for batching in flight, reuse and chunks; off only for experiments.
        chunked_context: long prompts are computed in pieces between other answers' steps; needs paged_kv_cache.
        kv_cache_dtype: "" (what the quantization brings), "auto" (the dtype's own), "fp8" or "int8".
        gather_generation_logits: `generation_logits` on request, the only way to alternatives' probabilities here.
        lora_modules, max_lora_rank: the engine takes LoRA weights for these modules; none: no LoRA.
        draft: `ID` or `ID:QUANTIZATION` of another entry with a checkpoint and the same vocabulary: a small model that
            writes drafts which this one only checks. max_draft_len: tokens of a draft; with `draft` alone, 5.
        workers: processes that compile; each needs a GPU.
        calib_dataset, calib_size: what a quantization is calibrated on: a data set's name or folder, and samples.
        awq_block_size: weights that share a scale.
    """

    engine: Literal["tensorrt_llm", "tensorrt_llm_api"] = "tensorrt_llm"
    quantization: GpuQuantization = "bf16"
    quantizations: tuple[GpuQuantization, ...] = ()
    tensor_parallel: _Count = 1
    pipeline_parallel: _Count = 1
    max_batch_size: _Count = 64
    max_num_tokens: _Count = 8192
    paged_kv_cache: StrictBool = True
    chunked_context: StrictBool = True
    kv_cache_dtype: Literal["", "auto", "fp8", "int8"] = ""
    gather_generation_logits: StrictBool = True
    lora_modules: Annotated[tuple[LoraModule, ...], Field(max_length=16)] = field(default_factory=tuple)
    max_lora_rank: _Count = 64
    draft: StrictStr = ""
    max_draft_len: Annotated[StrictInt, Field(ge=0, le=LONGEST_DRAFT)] = 0
    workers: _Count = 1
    calib_dataset: _Text = "cnn_dailymail"
    calib_size: _Count = 512
    awq_block_size: _Count = 128

    @model_validator(mode="after")
    def _consistent(self) -> BuildOptions:
        if self.quantizations and self.quantization not in self.quantizations:
            raise ValueError(f"quantization: {self.quantization} is not among `quantizations`")
        if self.chunked_context and not self.paged_kv_cache:
            raise ValueError("chunked_context: needs paged_kv_cache")
        if self.draft and not self.max_draft_len:
            object.__setattr__(self, "max_draft_len", DRAFT_LENGTH)
        if self.max_draft_len and not self.draft:
            raise ValueError("max_draft_len: `draft` names the model that writes the drafts")
        if self.draft and not self.paged_kv_cache:
            raise ValueError("draft: needs paged_kv_cache")
        return self

    @property
    def world_size(self) -> int:
        """GPUs that serve one copy of the model."""
        return self.tensor_parallel * self.pipeline_parallel

    def offers(self) -> tuple[str, ...]:
        """Names of the quantizations that may be asked for."""
        return self.quantizations or _MADE
