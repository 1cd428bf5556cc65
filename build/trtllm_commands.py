"""The command lines of TensorRT-LLM's tools, release 1.2.1, the last with `trtllm-build`.

Options as in `tensorrt_llm/commands/build.py`, `examples/quantization/quantize.py`, `examples/models/core/*/
convert_checkpoint.py` and `examples/generate_xgrammar_tokenizer_info.py`. They are in NVIDIA's Triton images, the
examples under /app.
"""

from __future__ import annotations

from pathlib import Path

from build.catalog import ModelEntry
from build.estimate import kv_cache_dtype
from build.quantization import QUANTIZATIONS
from build.stages import OUTPUT

EXAMPLES = Path("/app/examples")  # in NVIDIA's image
PYTHON = "python3"
TOKENS_PER_BLOCK = 32  # of the paged cache, trtllm-build's default
_FP8_ATTENTION = ("fp8", "nvfp4")  # weights with which attention over an FP8 cache is possible
TOKENIZER_INFO = "xgrammar_tokenizer_info.json"  # the name that NVIDIA's script gives it

# Architecture -> folder of its convert_checkpoint.py under examples/models/core.
CONVERTERS = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "MixtralForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen",
    "Qwen3ForCausalLM": "qwen",
    "Phi3ForCausalLM": "phi",
}


class UnknownArchitectureError(ValueError):
    """There is no way known here from this architecture to an engine; the message lists those that are known."""


def is_quantized(entry: ModelEntry) -> bool:
    """Whether weights or cache of keys and values need a quantization; else the weights are only converted."""
    if entry.checkpoint is not None and entry.checkpoint.quantization:
        return False
    return bool(QUANTIZATIONS[entry.quantization].qformat or kv_cache_dtype(entry))


def convert_command(entry: ModelEntry, examples: Path, checkpoint: Path) -> tuple[str, ...]:
    """Weights as they are, in 16 bits, cut for the GPUs."""
    assert entry.checkpoint is not None
    folder = CONVERTERS.get(entry.checkpoint.architecture)
    if folder is None:
        raise UnknownArchitectureError(
            f"{entry.id}: no converter is known for {entry.checkpoint.architecture}; known: {', '.join(CONVERTERS)}. "
            "engine = tensorrt_llm_api needs none"
        )
    command = [PYTHON, str(examples / "models" / "core" / folder / "convert_checkpoint.py")]
    command += [
        "--model_dir",
        str(checkpoint),
        "--output_dir",
        OUTPUT,
        "--dtype",
        QUANTIZATIONS[entry.quantization].dtype,
    ]
    return (*command, *_parallel(entry), "--workers", str(entry.build.workers))


def quantize_command(entry: ModelEntry, examples: Path, checkpoint: Path) -> tuple[str, ...]:
    """Post-training quantization over ModelOpt; for `tensorrt_llm_api` as a Hugging Face checkpoint."""
    quantization, build = QUANTIZATIONS[entry.quantization], entry.build
    command = [PYTHON, str(examples / "quantization" / "quantize.py")]
    command += ["--model_dir", str(checkpoint), "--output_dir", OUTPUT]
    command += ["--qformat", quantization.qformat or "full_prec", "--dtype", quantization.dtype or "auto"]
    if kv_cache := kv_cache_dtype(entry):
        command += ["--kv_cache_dtype", kv_cache]
    command += ["--calib_dataset", build.calib_dataset, "--calib_size", str(build.calib_size)]
    if "awq" in quantization.qformat:
        command += ["--awq_block_size", str(build.awq_block_size)]
    if entry.engine == "tensorrt_llm_api":
        return (*command, "--export_format", "hf")
    return (*command, *_parallel(entry))


def build_command(entry: ModelEntry, converted: Path) -> tuple[str, ...]:
    """The compiler. `--max_input_len` would be 1024 by default; what a prompt may be is for the served limit to say."""
    build, quantization = entry.build, QUANTIZATIONS[entry.quantization]
    command = ["trtllm-build", "--checkpoint_dir", str(converted), "--output_dir", OUTPUT]
    limits = {
        "max_batch_size": build.max_batch_size,
        "max_input_len": entry.context_length,
        "max_seq_len": entry.context_length,
        "max_num_tokens": max_num_tokens(entry),
        "max_beam_width": 1,
    }
    for name, value in limits.items():
        command += [f"--{name}", str(value)]
    command += ["--gemm_plugin", quantization.gemm_plugin, "--gpt_attention_plugin", "auto"]
    command += ["--remove_input_padding", "enable", "--context_fmha", "enable"]
    command += ["--kv_cache_type", "paged" if build.paged_kv_cache else "continuous"]
    command += ["--use_paged_context_fmha", "enable" if paged_context_fmha(entry) else "disable"]
    if kv_cache_dtype(entry) == "fp8" and quantization.qformat in _FP8_ATTENTION:
        command += ["--use_fp8_context_fmha", "enable"]
    if build.gather_generation_logits:
        command += ["--gather_generation_logits"]
    if build.lora_modules:
        command += ["--lora_plugin", "auto", "--lora_target_modules", *build.lora_modules]
        command += ["--max_lora_rank", str(build.max_lora_rank)]
    if build.max_draft_len:
        command += ["--speculative_decoding_mode", "draft_tokens_external", "--max_draft_len", str(build.max_draft_len)]
    return (*command, "--workers", str(build.workers))


def built_seq_len(entry: ModelEntry) -> int:
    """`max_seq_len` of the engine: `trtllm-build` adds the tokens of a draft, which it sets aside for every request."""
    return entry.context_length + entry.build.max_draft_len


def max_num_tokens(entry: ModelEntry) -> int:
    """What `trtllm-build` would make of the entry's `max_num_tokens` by itself, with no more than a warning.

    `tensorrt_llm/_common.py` (check_max_num_tokens) and `builder.py`: not more than all sequences have, not less than a
    block of the cache, nor than one step of drafts.
    """
    build = entry.build
    tokens = max(min(build.max_num_tokens, entry.context_length * build.max_batch_size), TOKENS_PER_BLOCK)
    return max(tokens, build.max_batch_size * (build.max_draft_len + 1)) if build.max_draft_len else tokens


def paged_context_fmha(entry: ModelEntry) -> bool:
    """Whether prompts can be computed over the paged cache: in pieces, or after what is in it already.

    `trtllm-build` takes it back, with no more than a warning, for a cache of INT8, and for one of FP8 beside weights
    that are not in FP8 or NVFP4 (`tensorrt_llm/builder.py`); the backend then refuses to load the engine.
    """
    kv_cache, qformat = kv_cache_dtype(entry), QUANTIZATIONS[entry.quantization].qformat
    possible = kv_cache == "" or (kv_cache == "fp8" and qformat in _FP8_ATTENTION)
    return entry.build.paged_kv_cache and possible


def tokenizer_info_command(examples: Path, tokenizer: Path) -> tuple[str, ...]:
    """What the C++ backend's guided decoding needs to know of the tokenizer."""
    script = str(examples / "generate_xgrammar_tokenizer_info.py")
    return (PYTHON, script, "--model_dir", str(tokenizer), "--output_dir", OUTPUT)


def _parallel(entry: ModelEntry) -> tuple[str, ...]:
    build = entry.build
    return ("--tp_size", str(build.tensor_parallel), "--pp_size", str(build.pipeline_parallel))
