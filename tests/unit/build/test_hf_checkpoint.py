"""A checkpoint's files: which belong to it, and where its numbers are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from build.gpu_options import Checkpoint
from build.hf_checkpoint import CheckpointError, check_config, is_wanted
from tests.unit.build.pretend_build import CONFIG, SHAPE

OUTER = ("architectures", "tie_word_embeddings")


def check(folder: Path, **changes: Any) -> None:
    """Checks the configuration of a model that takes images, whose language model has other numbers too."""
    text = {**{key: value for key, value in CONFIG.items() if key not in OUTER}, **changes}
    config = {**{key: CONFIG[key] for key in OUTER}, "model_type": "sees", "text_config": text}
    config["vision_config"] = {"hidden_size": 1, "num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config))
    numbers: dict[str, Any] = {"parameters": 300_000, "head_dim": 16, **SHAPE}
    check_config(folder, Checkpoint(architecture="Qwen2ForCausalLM", path=folder, **numbers))


def test_numbers_of_a_model_with_images_are_its_language_models(tmp_path: Path) -> None:
    check(tmp_path)
    with pytest.raises(CheckpointError, match="num_hidden_layers is 3; the catalog says 2"):
        check(tmp_path, num_hidden_layers=3)


def test_what_belongs_to_a_checkpoint() -> None:
    taken = ["config.json", "model-00001-of-00005.safetensors", "preprocessor_config.json", "processor_config.json"]
    assert all(map(is_wanted, taken))
    assert not any(map(is_wanted, ["README.md", "consolidated.safetensors", "pytorch_model.bin", "a/config.json"]))
