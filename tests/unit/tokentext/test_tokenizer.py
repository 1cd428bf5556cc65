"""A tokenizer folder: what it must hold, what is wrong with it, and what is made of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from tests.unit.tokentext.tokenizer_kinds import SAMPLES, byte_level, word_piece, write_folder
from tokentext import TOKENIZER_FILES, IncrementalDetokenizer, TextTokenizer, TokenizerFolderError, tokenizer_digest

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "tokenizer", byte_level())


def write_config(folder: Path, config: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


# --- files -----------------------------------------------------------------------------------------------------


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(TokenizerFolderError, match=r"tokenizer\.json: "):
            TextTokenizer(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"model": {"type": "Nonsense"}}'])
def test_a_broken_tokenizer_is_named(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenizerFolderError, match=r"tokenizer\.json: "):
        TextTokenizer(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_config_is_named(folder: Path, content: bytes) -> None:
    (folder / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(TokenizerFolderError, match=r"tokenizer_config\.json: "):
        TextTokenizer(folder)


@pytest.mark.parametrize("content", [b"{% if %}", b"\xff\xfe", b"{{ x | no_such_filter }}"])
def test_a_broken_template_file_is_named(folder: Path, content: bytes) -> None:
    (folder / "chat_template.jinja").write_bytes(content)
    with pytest.raises(TokenizerFolderError, match=r"chat_template\.jinja: "):
        TextTokenizer(folder)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (5, "string or a list"),
        ({"default": "x"}, "string or a list"),
        (["x"], "string or a list"),
        ([{"name": "default"}], "string or a list"),
        ([{"name": "default", "template": 5}], "string or a list"),
        ([{"name": "tool_use", "template": "x"}, {"name": "rag", "template": "y"}], r"\['rag', 'tool_use'\]"),
        ("{% if %}", "not valid"),
        ([{"name": "default", "template": "x"}, {"name": "tool_use", "template": "{% if %}"}], "not valid"),
    ],
)
def test_a_broken_template_entry_is_named(folder: Path, template: Any, reason: str) -> None:
    write_config(folder, {"chat_template": template})
    with pytest.raises(TokenizerFolderError, match=rf"tokenizer_config\.json: .*{reason}"):
        TextTokenizer(folder)


# --- templates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, {}, {"chat_template": None}, {"chat_template": ""}, {"chat_template": []}])
def test_without_a_template(folder: Path, config: Any) -> None:
    if config is not None:
        write_config(folder, config)
    assert TextTokenizer(folder).template is None


def test_the_template_file_comes_before_the_config(folder: Path) -> None:
    write_config(folder, {"chat_template": "config"})
    template = TextTokenizer(folder).template
    assert template is not None and template.render(MESSAGES) == "config"
    (folder / "chat_template.jinja").write_text("file é", encoding="utf-8")
    template = TextTokenizer(folder).template
    assert template is not None and template.render(MESSAGES) == "file é"


def test_named_templates(folder: Path) -> None:
    entries = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    write_config(folder, {"chat_template": entries})
    template = TextTokenizer(folder).template
    assert template is not None
    assert template.render(MESSAGES) == "plain"
    assert template.render(MESSAGES, tools=[{"type": "function"}]) == "tools"


def test_templates_see_the_special_tokens(folder: Path) -> None:
    write_config(
        folder,
        {
            "chat_template": "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ image_token }}",
            "bos_token": {"content": "<s>", "special": True},
            "eos_token": "</s>",
            "pad_token": None,
            "image_token": "<image>",
            "add_bos_token": True,
        },
    )
    tokenizer = TextTokenizer(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")
    assert tokenizer.template is not None
    assert tokenizer.template.render(MESSAGES) == "<s>|</s>|||<image>"


# --- text to ids and back --------------------------------------------------------------------------------------


def test_what_training_left_switched_on_is_switched_off(tmp_path: Path) -> None:
    trained = byte_level()
    trained.enable_truncation(4)
    trained.enable_padding(length=16)
    folder = write_folder(tmp_path, trained)
    kept = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert kept.truncation is not None and kept.padding is not None
    tokenizer = TextTokenizer(folder)
    text = "the quick brown fox jumps over the lazy dog"
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert [len(tokenizer.encode("a")), len(tokenizer.encode_batch(["a"])[0])] == [1, 1]
    assert tokenizer.encode_batch([text, "a"]) == [ids, tokenizer.encode("a")]


@pytest.mark.parametrize("text", SAMPLES)
def test_there_and_back(byte_level: TextTokenizer, text: str) -> None:
    assert byte_level.decode(byte_level.encode(text)) == text


def test_a_batch_keeps_its_order(byte_level: TextTokenizer) -> None:
    assert byte_level.encode_batch(SAMPLES * 20) == [byte_level.encode(text) for text in SAMPLES * 20]
    assert byte_level.encode_batch([]) == []


def test_special_tokens_in_a_text(byte_level: TextTokenizer) -> None:
    start, end = byte_level.token_id("<|start|>"), byte_level.token_id("<|end|>")
    assert byte_level.special_ids == {start, end}
    assert byte_level.encode("<|start|>a<|end|>") == [start, *byte_level.encode("a"), end]
    assert byte_level.decode([start, end]) == ""  # type: ignore[list-item]
    assert byte_level.decode([start, end], skip_special_tokens=False) == "<|start|><|end|>"  # type: ignore[list-item]
    assert byte_level.token_id("no such token") is None


def test_half_of_a_surrogate_pair_is_named(byte_level: TextTokenizer) -> None:
    with pytest.raises(UnicodeEncodeError, match="position 3"):
        byte_level.encode("abc\ud83d")
    with pytest.raises(UnicodeEncodeError, match="position 0"):
        byte_level.encode_batch(["fine", "\udc00"])


def test_the_bytes_of_one_token(byte_level: TextTokenizer, tmp_path: Path) -> None:
    ids = byte_level.encode("日本 Hello")
    assert b"".join(byte_level.token_bytes(i) for i in ids).decode() == "日本 Hello"
    assert byte_level.token_bytes(byte_level.token_id("<|end|>") or 0) == b"<|end|>"
    pieces = TextTokenizer(write_folder(tmp_path, word_piece()))
    assert pieces.token_bytes(pieces.token_id("world") or 0) == b" world"
    assert pieces.token_bytes(pieces.token_id("##ing") or 0) == b"ing"


def test_vocab_size_counts_added_tokens(byte_level: TextTokenizer) -> None:
    assert byte_level.vocab_size == 403
    assert byte_level.visible_token(402, byte_level.special_ids) == "<tool call>"
    assert byte_level.visible_token(403, byte_level.special_ids) is None


def test_one_tokenizer_in_many_threads(folder: Path) -> None:
    """The table fills while several threads read it."""
    tokenizer = TextTokenizer(folder)
    wanted = [(text, tokenizer.encode(text)) for text in SAMPLES]
    failures: list[str] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(30):
            for text, ids in wanted:
                detokenizer = IncrementalDetokenizer(tokenizer)
                shown = "".join([detokenizer.push([i]) for i in ids]) + detokenizer.flush()
                if shown != text or tokenizer.encode(text) != ids:
                    failures.append(text)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


# --- the digest ------------------------------------------------------------------------------------------------


def test_the_digest_is_the_documented_one(folder: Path) -> None:
    write_config(folder, {})
    (folder / "generation_config.json").write_text("{}", encoding="utf-8")
    total = hashlib.sha256()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        total.update(name.encode())
        total.update(b"\0")
        total.update(hashlib.sha256((folder / name).read_bytes()).digest())
    assert tokenizer_digest(folder) == total.hexdigest()


def test_the_digest_tells_every_difference_and_nothing_else(folder: Path) -> None:
    seen = {tokenizer_digest(folder)}
    for name in TOKENIZER_FILES[1:]:
        for content in ("{}", "{ }"):
            (folder / name).write_text(content, encoding="utf-8")
            seen.add(tokenizer_digest(folder))
    assert len(seen) == 7
    (folder / "README.md").write_text("x", encoding="utf-8")
    assert tokenizer_digest(folder) in seen
    # The same content under another name is another tokenizer.
    shutil.move(folder / "tokenizer_config.json", folder / "aside")
    assert tokenizer_digest(folder) not in seen


def test_no_digest_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.json"):
        tokenizer_digest(tmp_path)
