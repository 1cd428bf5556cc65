"""A Hugging Face tokenizer folder from the metadata of a GGUF file.

The keys are those of the GGUF specification (`tokenizer.ggml.*`, `tokenizer.chat_template`); the behaviour is that of
llama.cpp on the same file, so that ids made here are those its own tokenizer would make. Two kinds are known:
byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from build.pretokenizers import PRE_TOKENIZERS, PreTokenizer

_SPACE = "▁"  # SentencePiece's stand-in for a space

# Ends of a turn that files name only by their text; llama.cpp recognises them the same way.
_END_TOKENS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
)


class TokenizerError(ValueError):
    """The GGUF holds no tokenizer, or one of a kind that is not known; the message names the key."""


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class TokenizerFacts:
    """What the engine has to be told.

    vocab_size: length of the logits. end_ids: tokens that end an answer, the most usual first.
    trained_length: tokens that the model was made for; 0 if that is not said.
    """

    vocab_size: int
    end_ids: tuple[int, ...]
    pad_id: int
    trained_length: int = 0


class _Metadata:
    """The fields of a GGUF file."""

    def __init__(self, path: Path) -> None:
        try:
            self._fields = _reader(path).fields
        except (OSError, ValueError, IndexError) as error:
            raise TokenizerError(f"{path}: {error}") from error

    def get(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def need(self, key: str) -> Any:
        value = self.get(key)
        if value is None:
            raise TokenizerError(f"the GGUF has no {key}")
        return value


def _reader(path: Path) -> Any:
    from gguf import GGUFReader  # takes a tenth of a second, and is needed only where nothing is in the cache

    class Reader(GGUFReader):  # type: ignore[misc, unused-ignore]
        """Takes each value from the plain buffer: slices of numpy's memory map take six times as long."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            order = override_order or self.byte_order
            return np.frombuffer(self.data, np.dtype(dtype).newbyteorder(order), int(count), int(offset))

    return Reader(str(path))


def write_tokenizer(gguf: Path, folder: Path) -> TokenizerFacts:
    """Writes `tokenizer.json` and its companions into `folder`, which exists.

    Raises:
        TokenizerError: the metadata is missing, contradictory, or of an unknown kind.
    """
    metadata = _Metadata(gguf)
    vocabulary = _Vocabulary(metadata)
    kind = metadata.need("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer = _byte_level(metadata, vocabulary)
    elif kind == "llama":
        tokenizer = _sentencepiece(metadata, vocabulary)
    else:
        raise TokenizerError(f"tokenizer.ggml.model is {kind!r}; gpt2 and llama are known")
    _check(tokenizer)
    facts = _facts(metadata, vocabulary)
    _write(folder / "tokenizer.json", tokenizer)
    _write(folder / "tokenizer_config.json", _config(metadata, vocabulary, tokenizer))
    _write(
        folder / "generation_config.json",
        {
            "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
            "eos_token_id": list(facts.end_ids),
            "pad_token_id": facts.pad_id,
        },
    )
    template = metadata.get("tokenizer.chat_template")
    if template and not metadata.get("tokenizer.chat_templates"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return facts


class _Vocabulary:
    """Tokens and their types, by id."""

    def __init__(self, metadata: _Metadata) -> None:
        self.tokens: list[str] = metadata.need("tokenizer.ggml.tokens")
        types = metadata.get("tokenizer.ggml.token_type", [TokenType.NORMAL] * len(self.tokens))
        if len(types) != len(self.tokens):
            raise TokenizerError("tokenizer.ggml.token_type and tokenizer.ggml.tokens differ in length")
        self.types = [TokenType(value) for value in types]
        self.metadata = metadata

    def named(self, name: str) -> int | None:
        """The id of `tokenizer.ggml.NAME_token_id`, or None; ids outside the vocabulary do not count."""
        token_id = self.metadata.get(f"tokenizer.ggml.{name}_token_id")
        return int(token_id) if token_id is not None and 0 <= token_id < len(self.tokens) else None

    def ids(self) -> dict[str, int]:
        """Token -> id. Unused places are left out: they are no text, and no text is them."""
        found: dict[str, int] = {}
        for token_id, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True)):
            if kind is not TokenType.UNUSED:
                found.setdefault(token, token_id)
        return found

    def added(self) -> list[dict[str, Any]]:
        """The `added_tokens` of tokenizer.json: what is taken whole wherever a text holds it."""
        kinds = (TokenType.CONTROL, TokenType.USER_DEFINED)
        return [
            {
                "id": token_id,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind is TokenType.CONTROL,
            }
            for token_id, (token, kind) in enumerate(zip(self.tokens, self.types, strict=True))
            if kind in kinds and token
        ]


def _byte_level(metadata: _Metadata, vocabulary: _Vocabulary) -> dict[str, Any]:
    rule = _pre_tokenizer(metadata)
    merges = []
    for merge in metadata.need("tokenizer.ggml.merges"):
        cut = merge.find(" ", 1)
        if cut < 0:
            raise TokenizerError(f"tokenizer.ggml.merges: {merge!r} is no pair")
        merges.append([merge[:cut], merge[cut + 1 :]])
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        "normalizer": None,
        "pre_tokenizer": rule.as_json(),
        "post_processor": _post_processor(metadata, vocabulary, add_bos=rule.add_bos) or byte_level,
        "decoder": byte_level,
        "model": _bpe(vocabulary.ids(), merges, ignore_merges=rule.ignore_merges),
    }


def _pre_tokenizer(metadata: _Metadata) -> PreTokenizer:
    name = metadata.get("tokenizer.ggml.pre", "default")
    if name not in PRE_TOKENIZERS:
        raise TokenizerError(f"tokenizer.ggml.pre is {name!r}; known are {', '.join(PRE_TOKENIZERS)}")
    return PRE_TOKENIZERS[name]


def _sentencepiece(metadata: _Metadata, vocabulary: _Vocabulary) -> dict[str, Any]:
    scores = metadata.need("tokenizer.ggml.scores")
    if len(scores) != len(vocabulary.tokens):
        raise TokenizerError("tokenizer.ggml.scores and tokenizer.ggml.tokens differ in length")
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = vocabulary.named("unknown")
    model = _bpe(vocabulary.ids(), _merges_by_score(vocabulary, scores), ignore_merges=False)
    model.update(byte_fallback=True, fuse_unk=True, unk_token=None if unknown is None else vocabulary.tokens[unknown])
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*([{"type": "Prepend", "prepend": _SPACE}] if prefix else []), replace],
        },
        "pre_tokenizer": None,
        "post_processor": _post_processor(metadata, vocabulary, add_bos=True),
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }


def _merges_by_score(vocabulary: _Vocabulary, scores: list[float]) -> list[list[str]]:
    """SentencePiece joins the neighbours whose joined token has the highest score: that order, as merges."""
    ids = {
        token: token_id
        for token, token_id in vocabulary.ids().items()
        if vocabulary.types[token_id] in (TokenType.NORMAL, TokenType.USER_DEFINED)
    }
    ranked = []
    for token, token_id in ids.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ids and right in ids:
                ranked.append((-scores[token_id], token_id, ids[left], ids[right]))
    ranked.sort()
    tokens = vocabulary.tokens
    return [[tokens[left], tokens[right]] for _, _, left, right in ranked]


def _bpe(ids: dict[str, int], merges: list[list[str]], *, ignore_merges: bool) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": ids,
        "merges": merges,
    }


def _post_processor(metadata: _Metadata, vocabulary: _Vocabulary, *, add_bos: bool) -> dict[str, Any] | None:
    """BOS and EOS around a text that is encoded with special tokens; None if there are to be none."""
    wanted = {
        "bos": bool(metadata.get("tokenizer.ggml.add_bos_token", add_bos)),
        "eos": bool(metadata.get("tokenizer.ggml.add_eos_token", False)),
    }
    around = {name: vocabulary.named(name) for name in ("bos", "eos") if wanted[name]}
    special = {
        vocabulary.tokens[token_id]: {
            "id": vocabulary.tokens[token_id],
            "ids": [token_id],
            "tokens": [vocabulary.tokens[token_id]],
        }
        for token_id in around.values()
        if token_id is not None
    }
    if not special:
        return None

    def steps(sequences: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = []
        for type_id, sequence in enumerate(sequences):
            for name in ("bos", "text", "eos"):
                if name == "text":
                    result.append({"Sequence": {"id": sequence, "type_id": type_id}})
                elif (token_id := around.get(name)) is not None:
                    result.append({"SpecialToken": {"id": vocabulary.tokens[token_id], "type_id": type_id}})
        return result

    return {"type": "TemplateProcessing", "single": steps("A"), "pair": steps("AB"), "special_tokens": special}


def _facts(metadata: _Metadata, vocabulary: _Vocabulary) -> TokenizerFacts:
    ids = {token: i for i, token in enumerate(vocabulary.tokens) if vocabulary.types[i] is TokenType.CONTROL}
    candidates = [vocabulary.named(name) for name in ("eos", "eot", "eom")]
    candidates += [ids.get(token) for token in _END_TOKENS]
    end_ids = tuple(dict.fromkeys(token_id for token_id in candidates if token_id is not None))
    if not end_ids:
        raise TokenizerError("the GGUF names no token that ends an answer (tokenizer.ggml.eos_token_id)")
    pad = vocabulary.named("padding")
    return TokenizerFacts(
        len(vocabulary.tokens), end_ids, end_ids[0] if pad is None else pad, _trained_length(metadata) or 0
    )


def _trained_length(metadata: _Metadata) -> int | None:
    length = metadata.get(f"{metadata.get('general.architecture', '')}.context_length")
    return None if length is None else int(length)


def _config(metadata: _Metadata, vocabulary: _Vocabulary, tokenizer: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json, as `transformers` reads it."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": _trained_length(metadata),
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"}
            for token in tokenizer["added_tokens"]
        },
    }
    for key, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        token_id = vocabulary.named(name)
        if token_id is not None:
            config[f"{key}_token"] = vocabulary.tokens[token_id]
    names = metadata.get("tokenizer.chat_templates")
    if names:  # several templates: transformers' form for them
        default = metadata.get("tokenizer.chat_template")
        templates = {name: metadata.need(f"tokenizer.chat_template.{name}") for name in names}
        config["chat_template"] = [
            {"name": name, "template": template}
            for name, template in {**({"default": default} if default else {}), **templates}.items()
        ]
    return config


def _check(tokenizer: dict[str, Any]) -> None:
    """That the library which will read the file can."""
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_str(json.dumps(tokenizer, ensure_ascii=False))
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(f"the GGUF's tokenizer is not consistent: {error}") from error


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
