"""Tokenizers made from GGUF metadata, held against llama.cpp's own on the same file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from build.gguf_tokenizer import TokenizerError, TokenizerFacts, TokenType, write_tokenizer
from build.pretokenizers import PRE_TOKENIZERS
from tests.unit.build.conftest import RealModel
from tests.unit.build.llama_tokenizer import llama_tokenizer
from tests.unit.build.texts import TRAPS, mixtures
from tests.unit.build.tiny_gguf import write_gguf
from tokentext.tokenizer import TextTokenizer

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def assert_agrees(gguf: Path, folder: Path, texts: list[str], *, round_trip: bool = True) -> None:
    """That the tokenizer in `folder` and llama.cpp's on `gguf` give the same ids."""
    ours = TextTokenizer(folder)
    with llama_tokenizer(gguf) as theirs:
        for text in texts:
            ids = ours.encode(text)
            assert ids == theirs.encode(text), repr(text)
            if round_trip:
                assert ours.decode(ids, skip_special_tokens=False) == text
        assert ours.encode("hello", add_special_tokens=True) == theirs.encode("hello", add_special=True)


def made(gguf: Path, folder: Path) -> Path:
    folder.mkdir()
    write_tokenizer(gguf, folder)
    return folder


@pytest.mark.timeout(900)  # the weights may have to come first
def test_the_default_model_tokenizes_as_llama_cpp_does(default_model: RealModel) -> None:
    assert_agrees(default_model.weights, default_model.parts.tokenizer, TRAPS + mixtures(300))


@pytest.mark.timeout(900)
def test_the_small_model_tokenizes_as_llama_cpp_does(small_model: RealModel) -> None:
    assert_agrees(small_model.weights, small_model.parts.tokenizer, TRAPS + mixtures(300))


@pytest.mark.timeout(900)
def test_companions_of_the_default_model(default_model: RealModel) -> None:
    facts, folder = default_model.parts.facts, default_model.parts.tokenizer
    assert facts == TokenizerFacts(151936, (151645, 151643), 151643, 32768)
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [151645, 151643]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "<|im_end|>" and config["model_max_length"] == 32768
    assert config["added_tokens_decoder"]["151657"]["content"] == "<tool_call>"
    assert config["added_tokens_decoder"]["151657"]["special"] is False
    tokenizer = TextTokenizer(folder)
    assert tokenizer.template is not None
    prompt = tokenizer.template.render([{"role": "user", "content": "hi"}])
    assert prompt.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.encode("<|im_end|>") == [151645]
    assert tokenizer.decode([9707, 151645]) == "Hello"
    # An unused place of the vocabulary, of which a sampled token may be one, is no text (in llama.cpp too).
    assert tokenizer.decode([9707, 151700], skip_special_tokens=False) == "Hello"


@cache
def trained_vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges of a small byte-level BPE."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=800, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TRAPS + mixtures(300, seed=1), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokens, [" ".join(pair) for pair in model["merges"]]


def byte_level_gguf(path: Path, **metadata: Any) -> Path:
    """SPECIAL comes last; the second of its tokens is one that users define."""
    tokens, merges = trained_vocabulary()
    types = [TokenType.NORMAL] * len(tokens)
    types += [TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.CONTROL]
    defaults = {"pre": "gpt-2", "merges": merges, "bos_token_id": len(tokens), "eos_token_id": len(tokens) + 2}
    return write_gguf(path, "gpt2", tokens + SPECIAL, types, **{**defaults, **metadata})


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_pre_tokenizer_cuts_as_llama_cpp_does(pre: str, tmp_path: Path) -> None:
    gguf = byte_level_gguf(tmp_path / "model.gguf", pre=pre)
    assert_agrees(gguf, made(gguf, tmp_path / "tokenizer"), TRAPS + mixtures(200))


def test_bos_and_eos_are_added_when_the_file_says_so(tmp_path: Path) -> None:
    gguf = byte_level_gguf(tmp_path / "model.gguf", add_bos_token=True, add_eos_token=True)
    assert_agrees(gguf, made(gguf, tmp_path / "tokenizer"), TRAPS)
    tokenizer = TextTokenizer(tmp_path / "tokenizer")
    bos, eos = tokenizer.token_id("<|endoftext|>"), tokenizer.token_id("<|im_end|>")
    ids = tokenizer.encode("hello", add_special_tokens=True)
    assert ids[0] == bos and ids[-1] == eos and tokenizer.encode("hello") == ids[1:-1]


def sentencepiece_gguf(path: Path, **metadata: Any) -> Path:
    """Pieces by falling score, as SentencePiece writes them."""
    words = ["▁", "e", "t", "o", "h", "l", "w", "r", "d", "a", "n", "i", "s", "c"]
    pieces = ["▁t", "he", "ll", "▁the", "or", "llo", "hello", "▁hello", "▁w", "▁wor", "ld", "▁world", "an", "▁an", "in"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, *words]
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
    types += [TokenType.NORMAL] * (len(pieces) + len(words))
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(pieces) + len(words))]
    defaults = {"scores": scores, "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    return write_gguf(path, "llama", tokens, types, **{**defaults, **metadata})


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_tokenizes_as_llama_cpp_does(prefix: bool, tmp_path: Path) -> None:
    gguf = sentencepiece_gguf(tmp_path / "model.gguf", add_space_prefix=prefix)
    texts = ["hello world", "the world and the an in", " the  hello", "hello</s>hello", "wörld 日本 🙂", *mixtures(100)]
    assert_agrees(gguf, made(gguf, tmp_path / "tokenizer"), texts, round_trip=False)
    tokenizer = TextTokenizer(tmp_path / "tokenizer")
    for text in ("hello world", "  wörld 日本 🙂\n"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_templates_with_names_are_kept(tmp_path: Path) -> None:
    gguf = byte_level_gguf(
        tmp_path / "model.gguf",
        tokenizer__chat_template="plain",
        tokenizer__chat_templates=["tool_use"],
        tokenizer__chat_template__tool_use="with tools",
    )
    template = TextTokenizer(made(gguf, tmp_path / "out")).template
    assert template is not None
    assert template.render([]) == "plain"
    assert template.render([], tools=[{"type": "function"}]) == "with tools"


@pytest.mark.parametrize(
    ("kind", "metadata", "message"),
    [
        ("gpt2", {"pre": "jabberwocky"}, "tokenizer.ggml.pre is 'jabberwocky'"),
        ("bert", {}, "tokenizer.ggml.model is 'bert'"),
        ("gpt2", {"merges": ["nospace"]}, "'nospace' is no pair"),
        ("gpt2", {"merges": ["zz qq"]}, "not consistent"),
        ("gpt2", {"token_type": [1]}, "differ in length"),
        ("llama", {"scores": [0.0]}, "differ in length"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(
    kind: str, metadata: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tokens = ["a", "b", "<|im_end|>"]
    kinds = metadata.pop("token_type", [1, 1, 3])
    gguf = write_gguf(tmp_path / "model.gguf", kind, tokens, kinds, **{"merges": ["a b"], **metadata})
    with pytest.raises(TokenizerError, match=message):
        write_tokenizer(gguf, tmp_path)


def test_no_end_token_and_no_gguf_are_refused(tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "model.gguf", "gpt2", ["a", "b", "ab"], [1, 1, 1], merges=["a b"], pre="gpt-2")
    with pytest.raises(TokenizerError, match="eos_token_id"):
        write_tokenizer(gguf, tmp_path)
    (tmp_path / "other.gguf").write_bytes(b"not a model at all, but long enough to be read as one")
    with pytest.raises(TokenizerError, match=r"other\.gguf"):
        write_tokenizer(tmp_path / "other.gguf", tmp_path)
