"""One tokenizer folder: text to ids, ids to text.

Format of the folder: Hugging Face's `tokenizer.json` (the `tokenizers` library), and beside it, all optional,
`tokenizer_config.json`, `chat_template.jinja` and `generation_config.json` (the `transformers` library).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tokentext.pairs import TokenPair, encode_pairs
from tokentext.pieces import ID_LIMIT, PieceTable, piece_rules
from tokentext.template import ChatTemplate, TemplateError


class TokenizerFolderError(Exception):
    """The folder holds no tokenizer that can be used; the message says what is wrong with which file."""


class TextTokenizer:
    """A tokenizer and what belongs to it. Safe to use from several threads.

    Args:
        folder: holds `tokenizer.json` and its companions.

    Raises:
        TokenizerFolderError: a file is missing or broken.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerFolderError(f"{folder / 'tokenizer.json'}: {error}") from error
        # What a training script left switched on would cut and pad texts without a word.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._config = self._read_json("tokenizer_config.json")
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self.vocab_size = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.bos_token = self._named_token("bos_token")
        self.eos_token = self._named_token("eos_token")
        self.rules = piece_rules(json.loads(self._tokenizer.to_str()).get("decoder"))
        # By the tokens that a text does not show: none, all special ones, or those without a parser's markers.
        self._pieces: dict[frozenset[int], PieceTable] = {}
        self.template = self._load_template()

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of a text. Special tokens that are written out in the text become their ids.

        Raises:
            UnicodeEncodeError: the text holds half of a surrogate pair, so it has no UTF-8 form.
        """
        _require_utf8(text)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def encode_batch(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[list[int]]:
        """Token ids of each text, in order; neither cut nor padded. Uses several threads.

        Raises:
            UnicodeEncodeError: as `encode`.
        """
        for text in texts:
            _require_utf8(text)
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in encodings]

    def encode_starts(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids of a text, without special tokens around it, and where in the text each begins, in characters.

        A character that is several tokens is where each of them begins.

        Raises:
            UnicodeEncodeError: as `encode`.
        """
        _require_utf8(text)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def surroundings(self) -> tuple[list[int], list[int]]:
        """The special tokens that a text as a whole gets before and after it."""
        inner, whole = self.encode("a"), self.encode("a", add_special_tokens=True)
        for at in range(len(whole) - len(inner) + 1):
            if whole[at : at + len(inner)] == inner:
                return whole[:at], whole[at + len(inner) :]
        return [], []

    def encode_pairs(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        *,
        longest: int | None = None,
        longest_document: int | None = None,
    ) -> list[TokenPair]:
        """Each document with its query, for a cross-encoder; see `tokentext.pairs.encode_pairs`."""
        return encode_pairs(self._tokenizer, queries, documents, longest=longest, longest_document=longest_document)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of a whole sequence; ids outside the vocabulary add nothing."""
        known = [token_id for token_id in ids if 0 <= token_id < ID_LIMIT]
        return self._tokenizer.decode(known, skip_special_tokens=skip_special_tokens)

    def token_id(self, token: str) -> int | None:
        """The id of a token as it is written in the vocabulary, or None."""
        return self._tokenizer.token_to_id(token)

    def token_bytes(self, token_id: int) -> bytes:
        """What one token contributes to the text, special tokens included; b"" for an id outside the vocabulary."""
        if self.rules is not None:
            return self._table(frozenset())[token_id]
        # The second of two: as the first of a sequence it may look different (WordPiece: no space, `##` shown).
        once = self.decode([token_id], skip_special_tokens=False)
        return self.decode([token_id, token_id], skip_special_tokens=False)[len(once) :].encode()

    def pieces(self, hidden: frozenset[int]) -> PieceTable | None:
        """The table from id to bytes, in which `hidden` tokens have none; None where a text is not such a sum."""
        return None if self.rules is None else self._table(hidden)

    def _table(self, hidden: frozenset[int]) -> PieceTable:
        table = self._pieces.get(hidden)
        if table is None:
            assert self.rules is not None
            table = PieceTable(self._tokenizer.id_to_token, self.rules.to_bytes, hidden)
            self._pieces[hidden] = table
        return table

    def visible_token(self, token_id: int, hidden: frozenset[int]) -> str | None:
        """The token as the vocabulary writes it; None if it is `hidden`, or none at all."""
        if not 0 <= token_id < ID_LIMIT or token_id in hidden:
            return None
        return self._tokenizer.id_to_token(token_id)

    def _load_template(self) -> ChatTemplate | None:
        """The model's chat template: `chat_template.jinja`, else `chat_template` of tokenizer_config.json."""
        path = self.folder / "chat_template.jinja"
        source: Any = None
        if path.is_file():
            source = self._read_text(path)
        else:
            path = self.folder / "tokenizer_config.json"
            source = self._config.get("chat_template")
        if not source:
            return None
        named = _named_templates(source)
        if named is None:
            raise TokenizerFolderError(f"{path}: `chat_template` is a string or a list of {{name, template}} objects")
        if "default" not in named:
            raise TokenizerFolderError(f"{path}: no chat template is named `default`, only {sorted(named)}")
        names = {"bos_token", "eos_token", "unk_token", "pad_token"}
        names.update(name for name in self._config if name.endswith("_token"))
        tokens = {name: self._named_token(name) for name in names}
        try:
            return ChatTemplate(named["default"], tools_source=named.get("tool_use"), tokens=tokens)
        except TemplateError as error:
            raise TokenizerFolderError(f"{path}: {error}") from error

    def _named_token(self, name: str) -> str | None:
        token = self._config.get(name)
        if isinstance(token, dict):
            token = token.get("content")
        return token if isinstance(token, str) else None

    def _read_json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            content = json.loads(self._read_text(path))
        except (ValueError, RecursionError) as error:
            raise TokenizerFolderError(f"{path}: {error}") from error
        if not isinstance(content, dict):
            raise TokenizerFolderError(f"{path}: an object is expected")
        return content

    @staticmethod
    def _read_text(path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise TokenizerFolderError(f"{path}: {error}") from error


def _require_utf8(text: str) -> None:
    """The library says of half of a surrogate pair only that the text is no str; this names the place."""
    text.encode("utf-8")


def _named_templates(source: Any) -> dict[str, str] | None:
    """The templates of a `chat_template` entry by name, or None if it is none."""
    if isinstance(source, str):
        return {"default": source}
    if not isinstance(source, list):
        return None
    named = {}
    for item in source:
        name, template = (item.get("name"), item.get("template")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(template, str):
            return None
        named[name] = template
    return named
