"""Pretends to be examples/generate_xgrammar_tokenizer_info.py of TensorRT-LLM 1.2.1."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from recorder import begin, write_json

parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--model_dir", type=Path, required=True)
parser.add_argument("--output_dir", type=Path, required=True)
options = parser.parse_args()
begin("tokenizer_info", options)

vocabulary = json.loads((options.model_dir / "tokenizer.json").read_text())["model"]["vocab"]
write_json(
    options.output_dir / "xgrammar_tokenizer_info.json",
    {"encoded_vocab": sorted(vocabulary, key=vocabulary.get), "tokenizer_str": "{}", "stop_token_ids": [1]},
)
