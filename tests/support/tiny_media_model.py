"""A tiny projector (mmproj GGUF) for images and audio: the real file format over seeded random weights.

Vision: SigLIP with the projector of Gemma 3, whose image tokens all see each other. Audio: Whisper's encoder with the
projector of Ultravox. Keys and tensor names: `tools/mtmd/clip-impl.h` of llama.cpp. What the weights make of a medium
means nothing, but it differs between media and reaches the text model at a scale that its logits show.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

WIDTH, INNER, HEADS = 32, 64, 2
IMAGE, PATCH, MERGE = 64, 8, 2  # 16 tokens an image
# Frames have to divide by the stack: llama.cpp counts the tokens rounded down and computes them rounded up, and ends
# the process where the two differ.
MELS, FRAMES, STACK = 80, 1500, 10
# Of a text model's token embeddings, about: far below, a medium is not seen; far above, nothing else is.
SCALE = 0.5


def write_projector(path: Path, text_width: int, *, vision: bool = True, audio: bool = True, seed: int = 1) -> Path:
    """Writes a projector for a text model whose embeddings have `text_width` values."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_bool("clip.has_vision_encoder", vision)
    writer.add_bool("clip.has_audio_encoder", audio)
    writer.add_bool("clip.use_gelu", True)
    if vision:
        _encoder_keys(writer, "vision", "gemma3", text_width)
        writer.add_uint32("clip.vision.image_size", IMAGE)
        writer.add_uint32("clip.vision.patch_size", PATCH)
        writer.add_uint32("clip.vision.projector.scale_factor", MERGE)
        writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
        writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    if audio:
        _encoder_keys(writer, "audio", "ultravox", text_width)
        writer.add_uint32("clip.audio.num_mel_bins", MELS)
        writer.add_uint32("clip.audio.projector.stack_factor", STACK)
    for name, shape in _tensors(vision, audio, text_width):
        writer.add_tensor(name, _values(random, name, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _encoder_keys(writer: gguf.GGUFWriter, modality: str, projector: str, text_width: int) -> None:
    writer.add_string(f"clip.{modality}.projector_type", projector)
    writer.add_uint32(f"clip.{modality}.embedding_length", WIDTH)
    writer.add_uint32(f"clip.{modality}.feed_forward_length", INNER)
    writer.add_uint32(f"clip.{modality}.block_count", 1)
    writer.add_uint32(f"clip.{modality}.projection_dim", text_width)
    writer.add_uint32(f"clip.{modality}.attention.head_count", HEADS)
    writer.add_float32(f"clip.{modality}.attention.layer_norm_epsilon", 1e-6)


def _tensors(vision: bool, audio: bool, text_width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    if vision:
        yield "v.patch_embd.weight", (WIDTH, 3, PATCH, PATCH)
        yield "v.patch_embd.bias", (WIDTH,)
        yield "v.position_embd.weight", ((IMAGE // PATCH) ** 2, WIDTH)
        yield from _block("v", key_bias=True)
        yield "mm.soft_emb_norm.weight", (WIDTH,)
        yield "mm.input_projection.weight", (WIDTH, text_width)
    if audio:
        yield "a.conv1d.1.weight", (WIDTH, MELS, 3)
        yield "a.conv1d.1.bias", (WIDTH, 1)
        yield "a.conv1d.2.weight", (WIDTH, WIDTH, 3)
        yield "a.conv1d.2.bias", (WIDTH, 1)
        yield "a.position_embd.weight", (FRAMES, WIDTH)
        yield from _block("a", key_bias=False)
        yield "mm.a.norm_pre.weight", (WIDTH * STACK,)
        yield "mm.a.mlp.1.weight", (2 * INNER, WIDTH * STACK)
        yield "mm.a.norm_mid.weight", (INNER,)
        yield "mm.a.mlp.2.weight", (text_width, INNER)


def _block(side: str, key_bias: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
        yield f"{side}.blk.0.{name}.weight", (WIDTH, WIDTH)
        if name != "attn_k" or key_bias:
            yield f"{side}.blk.0.{name}.bias", (WIDTH,)
    for name, outputs, inputs in (("ffn_up", INNER, WIDTH), ("ffn_down", WIDTH, INNER)):
        yield f"{side}.blk.0.{name}.weight", (outputs, inputs)
        yield f"{side}.blk.0.{name}.bias", (outputs,)
    for name in (f"{side}.blk.0.ln1", f"{side}.blk.0.ln2", f"{side}.post_ln"):
        yield f"{name}.weight", (WIDTH,)
        yield f"{name}.bias", (WIDTH,)


def _values(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:  # a norm
        return np.ones(shape, np.float32)
    # The image's projection is stored the other way round: inputs first.
    fan_in = shape[0] if name == "mm.input_projection.weight" else int(np.prod(shape[1:]))
    scale = SCALE if name in ("mm.input_projection.weight", "mm.a.mlp.2.weight") else 1.0
    values = (random.standard_normal(shape) * scale / np.sqrt(fan_in)).astype(np.float32)
    return values.astype(np.float16) if "conv1d" in name else values  # what ggml's convolution takes
