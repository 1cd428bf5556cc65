"""The whole of `tritongate serve`, with real models and a real client, from the start to nothing left."""

from __future__ import annotations

import shlex
import signal
import subprocess
from pathlib import Path

import httpx
import openai
import pytest

from launcher.served_models import list_served
from launcher.triton_server import TritonServer
from tests.support import models
from tests.support.serve_process import READY, TRITONGATE, ServeProcess, remains


def talk(base_url: str, key: str = "any") -> None:
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60.0) as client:
        assert models.CHAT in [model.id for model in client.models.list()]
        question = [{"role": "user", "content": "Say hello."}]
        answer = client.chat.completions.create(model=models.CHAT, messages=question, max_tokens=12)  # type: ignore[call-overload]
        assert answer.choices[0].message.content
        stream = client.chat.completions.create(  # type: ignore[call-overload]
            model=models.CHAT, messages=question, max_tokens=12, stream=True, seed=1
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        vector = client.embeddings.create(model=models.EMBEDDING, input="hello").data[0].embedding
        assert len(vector) == 384


@pytest.mark.usefixtures("repository")  # the weights are there
def test_serve_from_start_to_end(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, f"--model={models.CHAT}", f"--model={models.EMBEDDING}") as served:
        served.wait_for(READY, 150.0)
        served.wait_for("Ctrl-C stops.")
        prefix = served.prefix
        assert f"{READY}: {served.base_url}" in served.out
        assert remains(prefix)
        talk(served.base_url)
        # The example that it prints works as it stands.
        _, url, _, header, _, body = shlex.split(
            served.out[served.out.index("curl ") :].partition("\n\n")[0].replace("\\\n", "")
        )
        answer = httpx.post(url, content=body, headers=dict([header.split(": ")]), timeout=60)
        assert answer.json()["choices"][0]["message"]["content"]
        served.send(signal.SIGINT)
        assert served.wait() == 0
        assert remains(prefix) == []
        assert "Traceback" not in served.err
    assert "successfully loaded" in (served.state_dir / "logs" / "triton.log").read_text()


def test_serve_in_front_of_a_triton_that_runs_elsewhere(tmp_path: Path, triton: TritonServer) -> None:
    with ServeProcess(tmp_path, f"--triton={triton.grpc_url}") as served:
        served.wait_for(READY)
        talk(served.base_url)
        served.send(signal.SIGTERM)
        assert served.wait() == 0
    assert not served.state_dir.exists()
    assert triton.ready


def test_serve_with_keys(tmp_path: Path, triton: TritonServer) -> None:
    made = subprocess.run(
        [TRITONGATE, "keys", "new", "--file", "keys.txt"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    with ServeProcess(tmp_path, f"--triton={triton.grpc_url}", "--api-keys-file=keys.txt") as served:
        served.wait_for("authorization: Bearer YOUR_KEY")
        talk(served.base_url, made.stdout.strip())
        with pytest.raises(openai.AuthenticationError):
            talk(served.base_url, "tg-wrong")


def test_what_a_triton_serves(triton: TritonServer) -> None:
    served = list_served(triton.grpc_url)
    assert sorted(model.id for model in served.models) == sorted(models.ALL)
    assert served.problems == []
    answer = subprocess.run(
        [TRITONGATE, "models", "--triton", triton.grpc_url], capture_output=True, text=True, timeout=60, check=True
    )
    assert all(model in answer.stdout for model in models.ALL)
    doctor = subprocess.run(
        [TRITONGATE, "doctor", "--port", "0", "--triton", triton.grpc_url], capture_output=True, text=True, timeout=60
    )
    assert doctor.returncode == 0, doctor.stdout
