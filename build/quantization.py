"""The quantizations that a model can be asked for by name: what its weights weigh, which engine and GPU take it.

Names are those of TensorRT-LLM's `examples/quantization/quantize.py --qformat`, of the floating-point types, and
llama.cpp's. GPUs by CUDA compute capability: FP8 arithmetic came with Ada (8.9), NVFP4 with Blackwell (10.0), BF16 and
the INT8 and INT4 kernels of TensorRT-LLM with Ampere (8.0); TensorRT 10.5 and later begin with Turing (7.5).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantization:
    """One of them.

    Args:
        dtype: of what is not quantized: embeddings, norms, the head (`bfloat16`, `float16`; "": the checkpoint's own).
        qformat: TensorRT-LLM's name; "" where nothing is quantized.
        bytes_per_weight: of a quantized matrix, scales included (AWQ: FP16 per 128, NVFP4: FP8 per 16).
        kv_cache_dtype: what the cache of keys and values becomes with it: "fp8", "int8", or "" for the dtype's own.
        gemm_plugin: for `trtllm-build --gemm_plugin`; NVIDIA's guide recommends none for FP8 beyond batches of 4.
        least_capability: of the GPU, (major, minor).
        not_on_sm100: `trtllm-build` refuses it from compute capability 10.0 up to 12.0 (`tensorrt_llm/builder.py`).
        gpu: whether a GPU engine takes it; else llama.cpp.
        published: checkpoints come in it; nothing here makes it.
        algorithms: names for it in a quantized checkpoint's own files, in small letters: ModelOpt's `quant_algo`,
            `quant_method` of transformers.
    """

    name: str
    dtype: str
    qformat: str
    bytes_per_weight: float
    kv_cache_dtype: str = ""
    gemm_plugin: str = "auto"
    least_capability: tuple[int, int] = (7, 5)
    not_on_sm100: bool = False
    gpu: bool = True
    published: bool = False
    algorithms: tuple[str, ...] = ()


_ALL = (
    Quantization("fp16", "float16", "", 2.0),
    Quantization("bf16", "bfloat16", "", 2.0, least_capability=(8, 0)),
    Quantization(
        "fp8",
        "",
        "fp8",
        1.0,
        kv_cache_dtype="fp8",
        gemm_plugin="disable",
        least_capability=(8, 9),
        algorithms=("fp8", "fp8_block_scales", "fp8_per_channel_per_token"),
    ),
    Quantization(
        "int8_sq",
        "float16",
        "int8_sq",
        1.0,
        least_capability=(8, 0),
        not_on_sm100=True,
        algorithms=("w8a8_sq_per_channel",),
    ),
    Quantization(
        "int4_awq",
        "",
        "int4_awq",
        0.5 + 2 / 128,
        least_capability=(8, 0),
        not_on_sm100=True,
        algorithms=("w4a16_awq", "awq"),
    ),
    Quantization(
        "nvfp4",
        "",
        "nvfp4",
        0.5 + 1 / 16,
        kv_cache_dtype="fp8",
        gemm_plugin="nvfp4",
        least_capability=(10, 0),
        algorithms=("nvfp4",),
    ),
    # gpt-oss: FP4 with a scale of 8 bits per 32. TensorRT-LLM computes it on Hopper and Blackwell.
    Quantization("mxfp4", "", "", 0.5 + 1 / 32, least_capability=(9, 0), published=True, algorithms=("mxfp4",)),
    Quantization("q4_k_m", "", "", 4.85 / 8, gpu=False),  # llama.cpp's own figure for 8 billion parameters
)

QUANTIZATIONS: dict[str, Quantization] = {quantization.name: quantization for quantization in _ALL}


def split_id(model_id: str) -> tuple[str, str]:
    """`ID:QUANTIZATION` in its parts; the second is empty where what follows the last colon is no quantization."""
    base, colon, last = model_id.rpartition(":")
    return (base, last) if colon and last in QUANTIZATIONS else (model_id, "")
