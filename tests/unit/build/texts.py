"""Texts that tokenizers trip over."""

from __future__ import annotations

import random

TRAPS = [
    "Hello world",
    "  two  spaces\n\n\ttabs\r\nCRLF  ",
    "I'm you're WE'LL it'S don't",
    "123 4567 ٣٤٥ ½ Ⅷ 12,345.678",
    "def f(x):\n    return x**2  # comment\n",
    "日本語のテキスト、中文。한국어",
    "Привет, как дела?",
    "🙂👨‍👩‍👧‍👦🇩🇪 emoji",
    "e\u0301 decomposed, é composed",
    "<|im_start|>user\nhi<|im_end|>\n",
    '<tool_call>\n{"name": "f"}\n</tool_call>',
    "<|endoftext|>",
    "\u00a0nbsp\u2003emspace\u200bzwsp",
    "a" * 200,
    " ",
    "\n",
    "\n \n  x",
    "   x",
    "$100 + €5 = ?",
    "[PAD151700] <|fim_prefix|>x",
    "\x00\x01\x7f control",
    "ﷺ ﬁ Ａ",
    "مرحبا بالعالم",
    "हिन्दी में",
    "ไทย",
    "\ufffd\ufeffbom",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙",
    "",
]

_RANGES = (
    *((0x20, 0x7F), (0xA0, 0x180), (0x370, 0x3FF), (0x400, 0x460), (0x5D0, 0x5EA), (0x600, 0x66F), (0x900, 0x970)),
    *((0x3040, 0x30FF), (0x4E00, 0x4E80), (0x1F600, 0x1F640), (0x2000, 0x2070), (0x300, 0x330)),
)
_POOL = [chr(code) for start, end in _RANGES for code in range(start, end)]
_POOL += [" "] * 80 + ["\n", "\t", "\r\n", "  ", "'s"] * 10


def mixtures(count: int, seed: int = 5) -> list[str]:
    """Random texts over many scripts, the same ones for the same seed."""
    source = random.Random(seed)
    return ["".join(source.choices(_POOL, k=source.randint(1, 60))) for _ in range(count)]
