"""LoRA adapters on the llama.cpp engine: models of their own over one model's weights."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tritonclient.utils import InferenceServerException

from build.assemble import prepare
from build.catalog import CATALOG
from launcher.triton_server import TritonFailed, TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import ENGINE, grpc_address
from tests.support.own_adapter import client_of
from tests.support.tiny_lora import write_lora
from tokentext.cache import cache_folder

BASE, ONE, TWO, NONE = models.CHAT, f"{models.CHAT}:one", f"{models.CHAT}:two", f"{models.CHAT}:none"
PROMPT = list(range(3000, 3100))


def lora_repository(folder: Path, **adapters: tuple[Path, float]) -> Path:
    """A repository with `models.CHAT` and these adapters: file and scale, by name."""
    entries = CATALOG.read_text(encoding="utf-8").split("[[models]]")[1:]
    (entry,) = [entry for entry in entries if f'\nid = "{models.CHAT}"' in entry]
    entry = re.sub(r"\ncontext_length = \d+", "\ncontext_length = 1024", entry, count=1)
    parts = [f"[[models]]{entry}"]
    for name, (file, scale) in adapters.items():
        content = file.read_bytes()
        parts.append(f'[[models.loras]]\nname = "{name}"\nfile = "{name}.gguf"\nscale = {scale}\n')
        parts.append(
            f'[[models.files]]\nname = "{name}.gguf"\nrole = "lora"\nsize = {len(content)}\n'
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsources = [ {{ path = "{file.name}" }} ]\n'
        )
    catalog = folder / "catalog.toml"
    catalog.write_text("\n".join(parts) + "\n[models.settings]\nslots = 3\nbatch_size = 64\n", encoding="utf-8")
    return prepare([models.CHAT], folder / "repository", cache_folder(), catalog=catalog)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("lora")
    one, two = write_lora(folder / "one.gguf"), write_lora(folder / "two.gguf", seed=2)
    repository = lora_repository(folder, one=(one, 1.0), two=(two, 1.0), none=(one, 0.0))
    with TritonServer([repository], folder / "state") as server:
        yield server


@pytest.fixture
def adapter(server: TritonServer, start_adapter: Callable[..., AdapterProcess]) -> AdapterProcess:
    return start_adapter(triton_url=server.grpc_url)


def ask(client: openai.OpenAI, model: str, **more: object) -> openai.types.chat.ChatCompletion:
    messages = [{"role": "user", "content": "Name three colours."}]
    return client.chat.completions.create(model=model, messages=messages, max_tokens=12, temperature=0, **more)  # type: ignore[call-overload, no-any-return]


def test_adapters_are_models(adapter: AdapterProcess) -> None:
    with client_of(adapter) as client:
        listed = {model.id: model for model in client.models.list()}
        assert set(listed) == {BASE, ONE, TWO, NONE}
        assert [getattr(listed[name], "parent", None) for name in (BASE, ONE)] == [None, BASE]
        assert client.models.retrieve(ONE).id == ONE
        answers = {name: ask(client, name) for name in listed}
        texts = {name: answer.choices[0].message.content for name, answer in answers.items()}
        assert all(answer.model == name for name, answer in answers.items())
        assert texts[NONE] == texts[BASE]  # a factor of 0 leaves the model as it is
        assert len({texts[BASE], texts[ONE], texts[TWO]}) == 3
        # Again, when each has been computed: nothing of another's cache is used.
        assert {name: ask(client, name).choices[0].message.content for name in reversed(listed)} == texts
        prints = {answer.system_fingerprint for answer in answers.values()}
        assert len(prints) == 4
        with pytest.raises(openai.NotFoundError):
            ask(client, f"{BASE}:three")


@pytest.mark.parametrize("drawn", [{"temperature": 1.0, "seed": 7}, {"temperature": 1.0, "runtime_top_k": 1}])
@pytest.mark.asyncio(loop_scope="function")
async def test_side_by_side_as_alone(server: TritonServer, drawn: dict[str, Any]) -> None:
    """Answers of several adapters that are computed at the same time are those of each alone, token by token."""
    async with EngineClient(grpc_address(server), ENGINE) as engine:
        alone = [(await engine.generate(PROMPT, 24, lora_task_id=task, **drawn)).ids for task in (None, 1, 2)]
        assert len(set(map(tuple, alone))) == 3
        together = await asyncio.gather(
            *(engine.generate(PROMPT, 24, lora_task_id=task, **drawn) for task in (None, 1, 2))
        )
        assert [answer.ids for answer in together] == alone


@pytest.mark.asyncio(loop_scope="function")
async def test_prompts_are_cached_for_each(server: TritonServer) -> None:
    async with EngineClient(grpc_address(server), ENGINE) as engine:

        async def cached(task: int | None) -> int:
            answer = await engine.generate([5, *PROMPT], 2, lora_task_id=task)
            return int(answer.responses[0]["cached_tokens"][0, 0])

        assert [await cached(task) for task in (None, 1, 2)] == [0, 0, 0]
        assert [await cached(task) for task in (None, 1, 2)] == [len(PROMPT)] * 3


@pytest.mark.asyncio(loop_scope="function")
async def test_a_task_that_there_is_not(server: TritonServer) -> None:
    async with EngineClient(grpc_address(server), ENGINE) as engine:
        for task in (0, 4):
            with pytest.raises(InferenceServerException, match=rf"lora_task_id: no adapter {task} is loaded"):
                await engine.generate(PROMPT, 2, lora_task_id=task)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    foreign = write_lora(tmp_path / "foreign.gguf", width=512)
    repository = lora_repository(tmp_path, foreign=(foreign, 1.0))
    with pytest.raises(TritonFailed, match="LoRA adapter"), TritonServer([repository], tmp_path / "state"):
        pass


def test_the_text_ensemble_takes_them_too(server: TritonServer) -> None:
    """Triton's own HTTP passes over what a model does not declare."""
    url = f"{server.http_url}/v2/models/{ENGINE.removesuffix('_engine')}/generate"
    body = {"text_input": "Name three colours.", "max_tokens": 12, "temperature": 0.0}
    with httpx.Client(trust_env=False, timeout=60.0) as client:
        answers = [client.post(url, json={**body, **more}) for more in ({}, {"lora_task_id": 1}, {"lora_task_id": 2})]
        assert [answer.status_code for answer in answers] == [200] * 3
        assert len({answer.json()["text_output"] for answer in answers}) == 3
        assert client.post(url, json={**body, "lora_task_id": 9}).status_code == 400
