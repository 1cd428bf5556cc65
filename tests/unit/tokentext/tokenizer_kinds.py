"""One small tokenizer of every kind of decoder, built with the `tokenizers` library, and texts that are hard to cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SAMPLES = [
    "",
    "a",
    "Hello, world!  Two  spaces,\ttab\nand a line.",
    "naïve café Zürich – „quotes“",
    "日本語の文章。漢字かな交じり",
    "मानक हिन्दी",
    "emoji 😀😃 and 👩‍👩‍👧‍👦 family, flag 🇩🇪, skin 👍🏽",
    "e\u0301 combining, a\u030a\u0323 two marks, Z\u0351\u036b\u0343\u036a\u0302 zalgo",
    "\u200f\u202bمرحبا\u202c right to left",
    "literal \ufffd replacement character",
    "\ufffd",
    "\U00010000\U0010ffff edges \u007f\u0080\u07ff\u0800\uffff",
    " leading space",
    "   three leading spaces",
    "<|special|> inside",
    "\x00 control \x1b[0m",
]

CORPUS = [*SAMPLES * 3, "the quick brown fox jumps over the lazy dog", "Hello Hello Hello world world 日本 日本 日本"]

SPECIAL = ["<|start|>", "<|end|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = ["▁", "▁the", "▁Hello", "▁▁", "Hello", "日", "本", "é", *"abcdefghijklmnopqrstuvwxyz,.!H"]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_level_in_sequence() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel()])
    return tokenizer


def _spelled(decoder: Any) -> Tokenizer:
    """SentencePiece's vocabulary: a meta symbol for the space, a token for each byte."""
    vocabulary = ["<unk>", *BYTES, *WORDS]
    scores = [(token, -10.0 if token in BYTES else -1.0) for token in vocabulary]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoder
    return tokenizer


def llama_like() -> Tokenizer:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return _spelled(decoders.Sequence(steps))


def strip_three() -> Tokenizer:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 3, 0)]
    return _spelled(decoders.Sequence(steps))


def gemma_like() -> Tokenizer:
    return _spelled(decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))


def metaspace(scheme: str) -> Callable[[], Tokenizer]:
    return lambda: _spelled(decoders.Metaspace(prepend_scheme=scheme))


def byte_fallback_without_table() -> Tokenizer:
    """A pattern that is a regular expression is left to the library: the window decoder meets byte tokens."""
    return _spelled(decoders.Sequence([decoders.Replace(Regex("▁"), " "), decoders.ByteFallback(), decoders.Fuse()]))


def word_piece() -> Tokenizer:
    vocabulary = ["[UNK]", "[CLS]", "hello", "world", "##s", "##ing", "sing", ",", ".", "'", "é", "##é", "日", "##本"]
    tokenizer = Tokenizer(models.WordPiece({token: index for index, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    return tokenizer


def word_ends() -> Tokenizer:
    vocabulary = ["a", "b</w>", "hello</w>", "é", "日</w>", ",</w>"]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(vocabulary)}, []))
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


def no_decoder() -> Tokenizer:
    vocabulary = ["[UNK]", "one", "two", "日本", "é"]
    return Tokenizer(models.WordLevel({token: index for index, token in enumerate(vocabulary)}, unk_token="[UNK]"))


# Decoders whose text is the sum of the tokens' bytes, and those that need the library for every step.
TABLE_KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "byte_level_in_sequence": byte_level_in_sequence,
    "llama_like": llama_like,
    "strip_three": strip_three,
    "gemma_like": gemma_like,
    "metaspace_always": metaspace("always"),
    "metaspace_first": metaspace("first"),
    "metaspace_never": metaspace("never"),
}
WINDOW_KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_fallback_without_table": byte_fallback_without_table,
    "word_piece": word_piece,
    "word_ends": word_ends,
    "no_decoder": no_decoder,
}
KINDS = {**TABLE_KINDS, **WINDOW_KINDS}


def write_folder(folder: Path, tokenizer: Tokenizer, config: dict[str, Any] | None = None) -> Path:
    """A tokenizer folder: `tokenizer.json` with the special tokens and one plain added token, and a config if given."""
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken("<tool call>", normalized=False)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
