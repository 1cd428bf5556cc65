"""A real Triton with the real small models, adapters in front of it, and OpenAI clients.

Everything is started when a test first asks for it, once a session, and ended whatever happens. A test that kills
or reconfigures Triton starts its own `TritonServer` instead. Model ids are in `tests.support.models`.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import openai
import pytest

from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.adapter_process import AdapterProcess

CLIENT_TIMEOUT = 60.0  # seconds
REPOSITORY = pytest.StashKey[Path | Exception]()


def prepare_repository(config: pytest.Config) -> Path:
    """Fetches what is missing and assembles the repository: once a session, a failure too."""
    from build.assemble import prepare
    from tokentext.cache import cache_folder

    if REPOSITORY not in config.stash:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        say: Callable[[str], None] = reporter.write_line if reporter is not None else lambda line: None
        folder = config._tmp_path_factory.mktemp("models") / "repository"  # type: ignore[attr-defined]
        try:
            config.stash[REPOSITORY] = prepare(models.ALL, folder, cache_folder(), say)
        except Exception as error:
            config.stash[REPOSITORY] = error
    outcome = config.stash[REPOSITORY]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetches the weights (700 MB the first time) before the clock of the first test that needs them runs."""
    wanted = any("repository" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly:
        with suppress(Exception):  # raised again by the fixture, where it fails the tests that need it
            prepare_repository(session.config)


@pytest.fixture(scope="session")
def repository(request: pytest.FixtureRequest) -> Path:
    """A Triton model repository with every model of `tests.support.models.ALL`."""
    return prepare_repository(request.config)


@pytest.fixture(scope="session")
def triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A running Triton on `repository`; `grpc_url` and `http_url` say where."""
    with TritonServer([repository], tmp_path_factory.mktemp("triton"), ready_timeout=150.0) as server:
        yield server


@pytest.fixture(scope="session")
def adapter(triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdapterProcess]:
    """An adapter with default settings and no keys in front of `triton`."""
    with AdapterProcess(triton.grpc_url, tmp_path_factory.mktemp("adapter") / "adapter.log") as process:
        yield process


@pytest.fixture(scope="session")
def adapter_url(adapter: AdapterProcess) -> str:
    """`http://127.0.0.1:PORT` of `adapter`, without `/v1`."""
    return adapter.url


@pytest.fixture
def start_adapter(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., AdapterProcess]]:
    """Starts adapters with settings of the test's own: `start_adapter(max_body_bytes=1000)`.

    `triton_url` defaults to that of the `triton` fixture; the rest are the arguments of `AdapterProcess`.
    """
    numbers = itertools.count()
    with ExitStack() as running:

        def start(**settings: object) -> AdapterProcess:
            url = settings.pop("triton_url", None) or request.getfixturevalue("triton").grpc_url
            log = tmp_path / f"adapter-{next(numbers)}.log"
            return running.enter_context(AdapterProcess(str(url), log, **settings))  # type: ignore[arg-type]

        yield start


@pytest.fixture
def openai_client(adapter: AdapterProcess) -> Iterator[openai.OpenAI]:
    """The real client, pointed at `adapter`."""
    with openai.OpenAI(base_url=adapter.base_url, api_key="any", max_retries=0, timeout=CLIENT_TIMEOUT) as client:
        yield client


@pytest.fixture
async def async_openai_client(adapter: AdapterProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    """The real asynchronous client, pointed at `adapter`."""
    async with openai.AsyncOpenAI(
        base_url=adapter.base_url, api_key="any", max_retries=0, timeout=CLIENT_TIMEOUT
    ) as client:
        yield client
