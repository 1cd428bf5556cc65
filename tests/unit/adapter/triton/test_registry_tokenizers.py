"""The tokenizers of discovered models: of a folder, of Triton, damaged, missing."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from tests.unit.adapter.served import tokenizer_folder
from tests.unit.adapter.triton.discovered import CHAT, ids, local, refusal, registry_of, remote
from tests.unit.adapter.triton.kserve import KServe
from tokentext import tokenizer_digest

pytestmark = pytest.mark.usefixtures("always_look")


async def test_no_tokenizer_anywhere(
    triton: KServe, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    triton.add(local(folder, "lost_engine", "maker/lost", tokenizer_dir="/nowhere"))
    async with registry_of(triton, tmp_path) as registry:
        with caplog.at_level(logging.ERROR, "tritongate.models"):
            assert await ids(registry) == [CHAT]
            assert await ids(registry) == [CHAT]
        assert len(caplog.records) == 1
        error = await refusal(registry.get("maker/lost"))
    assert (error.status, error.type) == (503, "server_error")
    assert "TRITONGATE_TOKENIZERS" in caplog.records[0].fields["reason"]  # type: ignore[attr-defined]
    assert "/nowhere" not in error.message and "log" in error.message


async def test_the_operators_folder_comes_first(triton: KServe, folder: Path, tmp_path: Path) -> None:
    triton.add(local(folder, "lost_engine", "maker/lost", tokenizer_dir="/nowhere"))
    shutil.copytree(folder, tmp_path / "given" / "lost_engine")
    async with registry_of(triton, tmp_path / "cache", tmp_path / "given") as registry:
        model = await registry.get("maker/lost")
        assert model.tokenizer.folder == tmp_path / "given" / "lost_engine"
        assert (await registry.get(CHAT)).tokenizer.folder == folder


async def test_a_tokenizer_of_triton(folder: Path, tmp_path: Path) -> None:
    triton = KServe()
    triton.add(remote(folder))
    triton.hand_out("small_preprocessing", folder)
    async with registry_of(triton, tmp_path / "cache") as registry:
        model = await registry.get(CHAT)
        assert model.tokenizer.folder == tmp_path / "cache" / tokenizer_digest(folder)
        assert tokenizer_digest(model.tokenizer.folder) == tokenizer_digest(folder)
        assert [path.name for path in (tmp_path / "cache").iterdir()] == [tokenizer_digest(folder)]
    triton.asked.clear()
    async with registry_of(triton, tmp_path / "cache") as registry:  # another process: from the cache
        assert await ids(registry) == [CHAT]
    assert not [question for question in triton.asked if question.startswith("file")]


async def test_a_damaged_cache_is_filled_anew(folder: Path, tmp_path: Path) -> None:
    triton = KServe()
    triton.add(remote(folder))
    triton.hand_out("small_preprocessing", folder)
    cached = tmp_path / tokenizer_digest(folder)
    cached.mkdir()
    (cached / "tokenizer.json").write_text("{")
    async with registry_of(triton, tmp_path) as registry:
        assert await ids(registry) == [CHAT]
    assert tokenizer_digest(cached) == tokenizer_digest(folder)


async def test_files_with_another_digest(
    triton: KServe, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was changed on the way is not used, and not kept."""
    other = tokenizer_folder(tmp_path / "other", template="{{ other }}")
    triton.add(local(folder, "far_engine", "maker/far", **FAR))
    triton.hand_out("small_preprocessing", other)
    async with registry_of(triton, tmp_path / "cache") as registry:
        assert await ids(registry) == [CHAT]
        error = await refusal(registry.get("maker/far"))
    assert error.status == 503
    assert "digest" in caplog.records[-1].fields["reason"]  # type: ignore[attr-defined]
    assert list((tmp_path / "cache").iterdir()) == []


FAR = {"tokenizer_dir": "/nowhere", "tokenizer_model": "small_preprocessing"}


async def test_a_local_tokenizer_with_another_digest_is_not_used(folder: Path, tmp_path: Path) -> None:
    """The path of the configuration may mean something else on this machine."""
    other = tokenizer_folder(tmp_path / "other", template="{{ other }}")
    triton = KServe()
    triton.add(remote(folder, tokenizer_dir=str(other)))
    triton.hand_out("small_preprocessing", folder)
    async with registry_of(triton, tmp_path / "cache") as registry:
        (model,) = await registry.models()
        assert model.tokenizer.folder.parent == tmp_path / "cache"


async def test_a_tokenizer_that_cannot_be_read(triton: KServe, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "tokenizer.json").write_text("{}")
    triton.add(local(tmp_path / "bad", "bad_engine", "maker/bad"))
    async with registry_of(triton, tmp_path / "cache") as registry:
        assert await ids(registry) == [CHAT]
        assert (await refusal(registry.get("maker/bad"))).status == 503


async def test_a_tokenizer_model_that_there_is_not(triton: KServe, folder: Path, tmp_path: Path) -> None:
    """One model's trouble: Triton is there, and the other models are served."""
    triton.add(local(folder, "far_engine", "maker/far", **FAR))
    async with registry_of(triton, tmp_path) as registry:
        assert await ids(registry) == [CHAT]
        assert (await refusal(registry.get("maker/far"))).status == 503


async def test_a_tokenizer_model_that_answers_nothing(triton: KServe, folder: Path, tmp_path: Path) -> None:
    triton.add(local(folder, "far_engine", "maker/far", **FAR))
    triton.hand_out("small_preprocessing", folder)
    triton.empty.add("small_preprocessing")
    async with registry_of(triton, tmp_path) as registry:
        assert await ids(registry) == [CHAT]
        assert (await refusal(registry.get("maker/far"))).status == 503
