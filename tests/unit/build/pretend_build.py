"""A tiny Hugging Face checkpoint, a catalog that names it, and `build/llm_engine.py` with pretend tools on PATH."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / "tests" / "support" / "pretend_tools"
SUDDEN_END = ROOT / "tests" / "support" / "sudden_end"
SHAPE = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "tie_word_embeddings": True,
}
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_attention_heads": 4,
    **SHAPE,
}
ID = "me/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
STAGES = ["checkpoint", "weights", "engine", "tokenizer", "tokenizer_info"]


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """All files of a checkpoint that the catalog below describes."""
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).standard_normal((300, 64 * 16), dtype=np.float32)
    save_file({"model.embed_tokens.weight": values}, folder / "model.safetensors")
    vocabulary = {"a": 0, "</s>": 1, **{f"t{number}": number for number in range(2, 300)}}
    Tokenizer(models.WordLevel(vocabulary, unk_token="a")).save(str(folder / "tokenizer.json"))
    contents = {
        "config.json": CONFIG,
        "generation_config.json": {"eos_token_id": [1]},
        "tokenizer_config.json": {"chat_template": "{{ messages[0].content }}"},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def put_on_hub(folder: Path, files: dict[str, bytes], repository: str = "me/tiny") -> None:
    """Adds the checkpoint to what a FileServer has, with the hub's listing of it."""
    base = f"/api/models/{repository}"
    listing = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        files[f"/{repository}/resolve/{COMMIT}/{path.name}"] = content
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry: dict[str, Any] = {"type": "file", "path": path.name, "size": len(content), "oid": git}
        if path.suffix == ".safetensors":
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        listing.append(entry)
    listing.append({"type": "directory", "path": "original", "size": 0, "oid": "0" * 40})
    files[f"{base}/revision/main"] = json.dumps({"sha": COMMIT}).encode()
    files[f"{base}/tree/{COMMIT}?recursive=true"] = json.dumps(listing).encode()


def catalog_text(place: str, build: str = "", **changes: object) -> str:
    """A catalog of one model whose checkpoint is at `place` (TOML). `changes`: other numbers of the checkpoint."""
    numbers = {"parameters": 300_000, "head_dim": 16, **SHAPE, **changes}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in numbers.items())
    return f"""
[[models]]
id = "{ID}"
kind = "chat"
engine = "{"tensorrt_llm_api" if "tensorrt_llm_api" in build else "tensorrt_llm"}"
family = "tiny"
context_length = 256
owned_by = "me"
license = "mit"
created = 2024-01-02
[models.checkpoint]
architecture = "Qwen2ForCausalLM"
{lines}
{place}
[models.build]
max_num_tokens = 512
{build}
"""


@dataclass
class Bench:
    """A folder with a catalog, a cache and what the pretend tools recorded."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.toml"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def command(self, *arguments: str) -> list[str]:
        script = str(ROOT / "build" / "llm_engine.py")
        given = ["--catalog", str(self.catalog), "--work", str(self.folder / "work")]
        return [sys.executable, script, *(arguments or (ID,)), *given, "--output", str(self.repository)]

    def variables(self, fault: str = "", path: Path | None = None) -> dict[str, str]:
        tools = [str(path or TOOLS / "bin"), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
        return {
            **os.environ,
            "PATH": os.pathsep.join(tools),
            "TRTLLM_EXAMPLES": str(TOOLS / "examples"),
            "TRITONGATE_CACHE": str(self.folder / "cache"),
            "PRETEND_RECORD": str(self.folder / "record"),
            "PRETEND_FAULT": fault,
            "PRETEND_GPUS": "NVIDIA L4, 23034, 22500, 8.9",
            **self.environment,
        }

    def start(self, *arguments: str, fault: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env=self.variables(fault),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            preexec_fn=_interruptible,
        )

    def run(self, *arguments: str, fault: str = "", path: Path | None = None) -> subprocess.CompletedProcess[str]:
        answer = subprocess.run(
            self.command(*arguments),
            env=self.variables(fault, path),
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=120,
        )
        assert not answer.stderr.startswith("Traceback") and "\nTraceback" not in answer.stderr, answer.stderr
        return answer

    def built(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        answer = self.run(*arguments)
        assert answer.returncode == 0, answer.stderr
        return answer

    def calls(self) -> Counter[str]:
        """How often each tool was called since the last look."""
        record = self.folder / "record"
        lines = record.read_text().splitlines() if record.exists() else []
        record.unlink(missing_ok=True)
        return Counter(json.loads(line)["tool"] for line in lines)

    def manifest(self, name: str = "tiny") -> dict[str, Any]:
        return json.loads((self.folder / "work" / name / "manifest.json").read_text())


def bench_of(tmp_path: Path, build: str = "", **changes: object) -> Bench:
    """A bench whose checkpoint is in a folder."""
    write_checkpoint(tmp_path / "hf")
    bench = Bench(tmp_path)
    bench.catalog.write_text(catalog_text('path = "hf"', build, **changes))
    return bench


def end_suddenly(bench: Bench, moment: str, *arguments: str) -> None:
    """A call that dies by SIGKILL at a moment: `tests/support/sudden_end`."""
    path = os.pathsep.join([str(SUDDEN_END), bench.environment.get("PYTHONPATH", "")])
    dying = replace(bench, environment={**bench.environment, "SUDDEN_END": moment, "PYTHONPATH": path})
    answer = dying.run(*arguments)
    assert answer.returncode == -signal.SIGKILL, f"{moment} did not come: {answer.stderr}"


def _interruptible() -> None:
    """As from a terminal: tests in the background have the interrupt ignored, and a child inherits that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
