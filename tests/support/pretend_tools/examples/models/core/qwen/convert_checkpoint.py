"""Pretends to be examples/models/core/qwen/convert_checkpoint.py of TensorRT-LLM 1.2.1."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[4]))

from recorder import begin, write_json

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--model_dir", type=Path, required=True)
parser.add_argument("--output_dir", type=Path, required=True)
parser.add_argument("--dtype", choices=["auto", "float16", "bfloat16", "float32"], default="auto")
for name in ("tp_size", "pp_size", "workers"):
    parser.add_argument(f"--{name}", type=int, default=1)
options = parser.parse_args()
begin("convert", options)

config = json.loads((options.model_dir / "config.json").read_text())
write_json(
    options.output_dir / "config.json",
    {
        "architecture": config["architectures"][0],
        "vocab_size": config["vocab_size"],
        "dtype": options.dtype,
        "mapping": {"tp_size": options.tp_size, "pp_size": options.pp_size},
    },
)
weights = (options.model_dir / "model.safetensors").read_bytes()
for rank in range(options.tp_size * options.pp_size):
    (options.output_dir / f"rank{rank}.safetensors").write_bytes(weights[:4096] + weights[-4096:] + bytes([rank]))
