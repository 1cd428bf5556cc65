"""What marks a medium in a model's prompt, as `tensorrt_llm.inputs.utils` tells it."""

from __future__ import annotations

_IMAGES = {
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "llava_next": "<image>",
    "phi4mm": "<|image_{0}|>",
}


def retrieve_multimodal_placeholder(model_type: str, modality: str, current_count: int) -> str | None:
    if modality == "image" and model_type in _IMAGES:
        return _IMAGES[model_type].format(current_count)
    raise TypeError(f"Unknown modality: {modality}")
