"""Pretends to be examples/quantization/quantize.py of TensorRT-LLM 1.2.1: its options, a small checkpoint."""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recorder import begin, digest_of, write_json

FORMATS = ["nvfp4", "fp8", "int8_sq", "int4_awq", "w4a8_awq", "int8_wo", "int4_wo", "full_prec"]
ALGORITHMS = {"fp8": "FP8", "nvfp4": "NVFP4", "int4_awq": "W4A16_AWQ", "int8_sq": "W8A8_SQ_PER_CHANNEL"}

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--model_dir", type=Path, required=True)
parser.add_argument("--output_dir", type=Path, required=True)
parser.add_argument("--qformat", choices=FORMATS, default="full_prec")
parser.add_argument("--dtype", choices=["auto", "float16", "bfloat16", "float32"], default="auto")
parser.add_argument("--kv_cache_dtype", choices=["int8", "fp8"])
parser.add_argument("--calib_dataset", default="cnn_dailymail")
parser.add_argument("--export_format", choices=["tensorrt_llm", "hf"], default="tensorrt_llm")
for name, default in (("calib_size", 512), ("awq_block_size", 128), ("tp_size", 1), ("pp_size", 1)):
    parser.add_argument(f"--{name}", type=int, default=default)
options = parser.parse_args()
begin("quantize", options)

config = json.loads((options.model_dir / "config.json").read_text())
options.output_dir.mkdir(parents=True, exist_ok=True)
quantization = {"quant_algo": ALGORITHMS.get(options.qformat), "kv_cache_quant_algo": options.kv_cache_dtype}
if options.export_format == "hf":
    write_json(options.output_dir / "hf_quant_config.json", {"quantization": quantization})
    write_json(options.output_dir / "config.json", config)
    shutil.copyfile(options.model_dir / "model.safetensors", options.output_dir / "model.safetensors")
else:
    write_json(
        options.output_dir / "config.json",
        {
            "architecture": config["architectures"][0],
            "vocab_size": config["vocab_size"],
            "quantization": quantization,
            "mapping": {"tp_size": options.tp_size, "pp_size": options.pp_size},
        },
    )
    for rank in range(options.tp_size * options.pp_size):
        given = f"{options.qformat} {digest_of(options.model_dir)} {rank}"
        (options.output_dir / f"rank{rank}.safetensors").write_text(given)
