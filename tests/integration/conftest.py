"""What tests of one engine in a Triton of their own share; the module's fixture `server` says which Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from launcher.triton_server import TritonServer
from tests.support.engine_client import EngineClient
from tests.support.engine_triton import ENGINE, grpc_address
from tokentext import TextTokenizer


@pytest.fixture(scope="module")
def tokenizer(server: TritonServer) -> TextTokenizer:
    """The tokenizer of the module's model."""
    (folder,) = server.repositories[0].glob("*/tokenizer")
    return TextTokenizer(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(server: TritonServer) -> AsyncIterator[EngineClient]:
    """A client of the module's engine; gRPC's channels belong to the module's event loop."""
    async with EngineClient(grpc_address(server), ENGINE) as client:
        yield client
