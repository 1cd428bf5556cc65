from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launcher.triton_health import LOADED, HealthClient, ModelState, log_tail

ANSWERS: dict[str, tuple[int, object]] = {}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (404, {}))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def client() -> Iterator[HealthClient]:
    ANSWERS.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = HealthClient(f"http://127.0.0.1:{server.server_port}")
    yield client
    client.close()
    server.shutdown()
    server.server_close()


def test_health(client: HealthClient) -> None:
    assert client.identity() == "" and not client.ready()
    ANSWERS["/v2"] = (200, {"name": "mine", "version": "2.51.0"})
    ANSWERS["/v2/health/ready"] = (200, b"")
    assert client.identity() == "mine" and client.ready()
    ANSWERS["/v2/health/ready"] = (400, b"")
    assert client.identity() == "mine" and not client.ready()
    ANSWERS["/v2"] = (200, b"no json")
    assert client.identity() == ""


def test_index(client: HealthClient) -> None:
    ANSWERS["/v2/repository/index"] = (200, [{"name": "a", "state": "READY"}, {"name": "b", "reason": "no"}])
    assert client.models() == [ModelState("a", "READY", ""), ModelState("b", "", "no")]


@pytest.mark.parametrize("answer", [(500, b""), (200, b"no json"), (200, {"error": "x"}), (200, [{"state": "READY"}])])
def test_index_that_makes_no_sense_is_no_answer(client: HealthClient, answer: tuple[int, object]) -> None:
    ANSWERS["/v2/repository/index"] = answer
    assert client.models() is None


def test_instances(client: HealthClient) -> None:
    groups = [{"count": 2, "kind": "KIND_CPU"}, {"kind": "KIND_CPU"}]
    ANSWERS["/v2/models/a/config"] = (200, {"instance_group": groups})
    assert client.instances("a") == 3
    assert client.instances("b") == 0


def test_nobody_there() -> None:
    client = HealthClient("http://127.0.0.1:1")
    assert client.identity() is None and not client.ready()
    assert client.models() is None
    client.close()


def test_log_tail_keeps_what_explains(tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    log.write_text("E 1 of an earlier run\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write("W CUDA driver is missing\n+-----+\n| x |\n\n" + "".join(f"I line {n}\n" for n in range(40)))
        file.write("E 2 the reason\n")
    lines = log_tail(log, since=since, lines=3).splitlines()
    assert lines == ["I line 38", "I line 39", "E 2 the reason"]
    everything = log_tail(log, since=since, lines=100)
    assert "earlier run" not in everything and "CUDA" not in everything and "|" not in everything
    assert "earlier run" in log_tail(log, lines=100)


def test_log_tail_of_a_log_that_was_cut_or_is_missing(tmp_path: Path) -> None:
    log = tmp_path / "triton.log"
    assert log_tail(log) == ""
    log.write_text("E short\n")
    assert log_tail(log, since=10**6) == ""


def test_loaded_models_are_recognised() -> None:
    line = "I1124 13:50:00.000000 1 model_lifecycle.cc:839] \"successfully loaded 'a.b-1_engine'\"\n"
    assert LOADED.findall(line) == ["a.b-1_engine"]
