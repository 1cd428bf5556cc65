"""Writes `<name>.json` for each `<name>.jinja` of this folder; see README.md. Needs `transformers` (not `torch`)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

TOKENS = {
    "qwen2.5": {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None},
    "smollm2": {
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
    },
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Das Wetter für einen <Ort>, z. B. 'Zürich' & \"東京\"",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}


def call(number: int, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def answer(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


USER = {"role": "user", "content": "Hi"}
CASES: dict[str, dict[str, Any]] = {
    "one user message": {"messages": [USER]},
    "no generation prompt": {"messages": [USER], "add_generation_prompt": False},
    "system message": {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    "several turns, non-ASCII text": {
        "messages": [
            {"role": "user", "content": "Grüezi 👩‍👩‍👧 日本\n\n  indented\n"},
            {"role": "assistant", "content": "e\u0301 <b>&amp;</b> {{ braces }} {% tag %}"},
            {"role": "user", "content": ""},
        ]
    },
    "system message in the middle": {"messages": [USER, {"role": "system", "content": "Now German."}, USER]},
    "tools": {"messages": [USER], "tools": [WEATHER, CLOCK]},
    "tools and system message": {"messages": [{"role": "system", "content": "S"}, USER], "tools": [CLOCK]},
    "tool call and its answer": {
        "messages": [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [call(1, "get_weather", {"city": "Zürich", "days": 2})]},
            answer(1, '{"sky": "klar", "t": 21.5}'),
        ],
        "tools": [WEATHER],
    },
    "two tool calls at once, with text": {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [call(1, "get_weather", {"city": "東京"}), call(2, "get_time", {})],
            },
            answer(1, "rain"),
            answer(2, "12:00"),
            {"role": "assistant", "content": "Rain at noon."},
            {"role": "user", "content": "Thanks"},
        ],
        "tools": [WEATHER, CLOCK],
    },
}


def main() -> None:
    folder = Path(__file__).parent
    for path in sorted(folder.glob("*.jinja")):
        tokens = TOKENS[path.stem]
        known = {name: token for name, token in tokens.items() if token}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **known)
        tokenizer.chat_template = path.read_text(encoding="utf-8")
        cases = []
        for name, case in CASES.items():
            if path.stem == "smollm2" and "tool" in name:
                continue  # its template knows no tools
            rendered = tokenizer.apply_chat_template(
                copy.deepcopy(case["messages"]),
                tools=case.get("tools"),
                add_generation_prompt=case.get("add_generation_prompt", True),
                tokenize=False,
            )
            cases.append({"name": name, **case, "rendered": rendered})
        text = json.dumps({"tokens": tokens, "cases": cases}, ensure_ascii=False, indent=1)
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
