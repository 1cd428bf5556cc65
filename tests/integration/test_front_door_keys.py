"""API keys: who comes in, who does not, and when the server does not open at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from launcher.ports import free_ports
from tests.support import models
from tests.support.adapter_process import ROOT, AdapterProcess
from tests.support.answers import user

UNREACHABLE = "grpc://127.0.0.1:1"


@contextmanager
def client_of(adapter: AdapterProcess, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=adapter.base_url, api_key=key, max_retries=0, timeout=60.0) as client:
        yield client


def hashed(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def refused(adapter: AdapterProcess, key: str) -> openai.AuthenticationError:
    with client_of(adapter, key) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    error = caught.value
    assert error.status_code == 401
    assert (error.type, error.code) == ("invalid_request_error", "invalid_api_key")
    assert error.response.headers["www-authenticate"] == "Bearer"
    assert error.request_id
    assert key not in error.message
    return error


def test_keys_of_the_environment(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(api_keys="tg-first, tg-second")
    for key in ("tg-first", "tg-second"):
        with client_of(adapter, key) as client:
            assert [model.id for model in client.models.list()] == sorted(models.ALL)
            assert client.chat.completions.create(model=models.CHAT, messages=user("Hi"), max_tokens=1).choices
            assert client.embeddings.create(model=models.EMBEDDING, input="x").data
    for key in ("wrong", "tg-firs", "tg-first-and-more", "TG-FIRST", "tg-first,"):
        refused(adapter, key)
    with client_of(adapter, "wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=models.CHAT, messages=user("Hi"), stream=True)
        with pytest.raises(openai.AuthenticationError):
            client.embeddings.create(model=models.EMBEDDING, input="x")

    with httpx.Client(base_url=adapter.url, trust_env=False, timeout=30.0) as http:
        for value in (None, "", "Bearer", "Basic tg-first", "tg-first"):
            headers = {} if value is None else {"authorization": value}
            for method, path in (("GET", "/v1/models"), ("POST", "/v1/chat/completions"), ("GET", "/metrics")):
                response = http.request(method, path, headers=headers)
                assert response.status_code == 401, (value, path)
                error = response.json()["error"]
                assert error["code"] is None and error["type"] == "invalid_request_error"
                assert "API key" in error["message"]
        assert http.get("/nowhere").status_code == 401, "without a key nothing is to be learned"
        assert http.get("/v1/models", headers={"authorization": "bearer tg-first"}).status_code == 200
        assert http.get("/metrics", headers={"authorization": "Bearer tg-second"}).status_code == 200
        for path in ("/health/live", "/health/ready"):
            assert http.get(path).status_code == 200, "load balancers have no key"
        # With keys the name by which the server is called does not matter.
        named = {"host": "api.example", "authorization": "Bearer tg-first"}
        assert http.get("/v1/models", headers=named).status_code == 200
    assert "tg-first" not in adapter.output()


def test_keys_file(start_adapter: Callable[..., AdapterProcess], tmp_path: Path) -> None:
    """Hashed keys; one that is taken out, or put in, counts without a restart."""
    file = tmp_path / "keys.txt"
    file.write_text(f"# the keys\n\n{hashed('tg-a')}  Alice\n{hashed('tg-b')}\n")
    adapter = start_adapter(api_keys_file=file, api_keys="tg-environment")
    for key in ("tg-a", "tg-b", "tg-environment"):
        with client_of(adapter, key) as client:
            assert client.models.list().data
    refused(adapter, "tg-c")
    refused(adapter, hashed("tg-a"))

    file.write_text(f"{hashed('tg-b')}\n{hashed('tg-c')}\n")
    deadline = time.monotonic() + 10
    while True:
        with client_of(adapter, "tg-a") as client:
            try:
                client.models.list()
            except openai.AuthenticationError:
                break
        assert time.monotonic() < deadline, "the revoked key still opens"
        time.sleep(0.1)
    for key in ("tg-b", "tg-c", "tg-environment"):
        with client_of(adapter, key) as client:
            assert client.models.list().data

    # A file that is broken while the server runs changes nothing; one that is empty opens nothing.
    file.write_text("tg-plain\n")
    time.sleep(1.2)
    with client_of(adapter, "tg-b") as client:
        assert client.models.list().data
    refused(adapter, "tg-plain")
    file.write_text("")
    time.sleep(1.2)
    refused(adapter, "tg-b")
    assert "tg-plain" not in adapter.output()


def run(**settings: object) -> tuple[int, str]:
    """Starts an adapter that is expected to refuse; its exit code and what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRITONGATE_")}
    told = {"port": free_ports(1)[0], "triton_url": UNREACHABLE, **settings}
    environment |= {f"TRITONGATE_{name.upper()}": str(value) for name, value in told.items()}
    done = subprocess.run(
        [sys.executable, "-m", "adapter"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "some.name.example"])
def test_no_key_on_an_open_address(host: str) -> None:
    code, said = run(host=host)
    assert code not in (0, None)
    assert host in said
    assert "tritongate keys new" in said and "TRITONGATE_API_KEYS" in said
    assert "--host 127.0.0.1" in said
    assert "Traceback" not in said


def test_an_open_address_with_a_key(start_adapter: Callable[..., AdapterProcess]) -> None:
    adapter = start_adapter(host="0.0.0.0", api_keys="tg-open")
    with client_of(adapter, "tg-open") as client:
        assert client.models.list().data
    refused(adapter, "tg-closed")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("tg-plain-key\n", "line 1"),
        ("# fine\nsha256:abc\n", "line 2"),
        ("", "holds no key"),
    ],
)
def test_a_keys_file_that_cannot_be_used(tmp_path: Path, content: str | None, reason: str) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_text(content)
    code, said = run(host="0.0.0.0", api_keys_file=file)
    assert code not in (0, None)
    assert reason in said and str(file) in said
    assert "tg-plain-key" not in said
    assert "Traceback" not in said
