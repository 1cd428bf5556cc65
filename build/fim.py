"""The tokens that mark prefix, suffix and middle for models that fill in the middle.

Sources: the tokenizers and model cards of the families; the order of the parts is prefix, suffix, middle for all.
"""

from __future__ import annotations

import json
from pathlib import Path

FimTokens = tuple[str, str, str]

# Families that want another order of the parts are not here: Codestral and CodeGeeX4, whose `<|code_prefix|>` all GLM
# tokenizers have, take the suffix first.
_KNOWN: tuple[FimTokens, ...] = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek: the hole stands before the suffix
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
)


def fim_tokens(tokenizer: Path) -> FimTokens | None:
    """The known triple that a tokenizer folder's vocabulary has, or None.

    tokenizer.json is searched as text: reading its JSON would take longer than all the rest of an assembly.
    """
    text = (tokenizer / "tokenizer.json").read_text(encoding="utf-8")
    return next((triple for triple in _KNOWN if all(_holds(text, token) for token in triple)), None)


def _holds(text: str, token: str) -> bool:
    return any(json.dumps(token, ensure_ascii=ascii_only) in text for ascii_only in (False, True))
