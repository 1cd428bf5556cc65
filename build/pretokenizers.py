"""How a byte-level BPE splits text into words before merging, by the name a GGUF gives it (`tokenizer.ggml.pre`).

A GGUF holds only the name; the rules live in llama.cpp (src/llama-vocab.cpp). Each rule is a list of patterns: every
pattern cuts the pieces that the ones before have left into matches and what lies between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_LLAMA3_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3_WORD = _CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+"


@dataclass(frozen=True)
class PreTokenizer:
    """Patterns in order; whether a word that is a token is taken whole; whether texts begin with BOS by default."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False

    def as_json(self) -> dict[str, Any]:
        """The `pre_tokenizer` object of tokenizer.json."""
        splits = [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            for pattern in self.patterns
        ]
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        return {"type": "Sequence", "pretokenizers": [*splits, byte_level]}


_DEFAULT = PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"))
_GPT = PreTokenizer((_GPT2,))
_DIGITS_APART = PreTokenizer((r"\p{N}", _GPT2))
_LLAMA3 = PreTokenizer((_LLAMA3_WORD + r"|\p{N}{1,3}" + _LLAMA3_TAIL,), ignore_merges=True, add_bos=True)
_QWEN2 = PreTokenizer((_LLAMA3_WORD + r"|\p{N}" + _LLAMA3_TAIL,))
_QWEN35 = PreTokenizer(
    (_CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",)
)

PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "default": _DEFAULT,
    "gpt-2": _GPT,
    "phi-2": _GPT,
    "smollm": _DIGITS_APART,
    "starcoder": _DIGITS_APART,
    "refact": _DIGITS_APART,
    "command-r": _DIGITS_APART,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "qwen35": _QWEN35,
}
