"""The bench itself: it measures the right process, counts every token, and fails when one is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench import __main__ as bench
from tests.bench.cpu import cpu_seconds
from tests.bench.embedding_load import check_vectors
from tests.bench.embeddings import Cell as EmbeddingsCell
from tests.bench.embeddings import embeddings_table, measure_embeddings
from tests.bench.engine_model import WORDS
from tests.bench.http_load import Load, checked_chat, dechunked
from tests.bench.measure import ADAPTER, BARE, PROXY, RESPONSES, Cell, Results
from tests.bench.report import first_token_line, table
from tests.bench.worker import Run, Worker, WorkerFailed

BUSY = "import time\nwhile time.process_time() < {0}: pass\nprint(time.process_time(), flush=True)\ninput()"


def test_the_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real Triton, the adapter, every subject; far too short to mean anything."""
    file = tmp_path / "figures.json"
    options = ["--rounds", "1", "--streams", "1,3", "--tokens", "40", "--total", "200", "--json", str(file), "--quiet"]
    options += ["--only", "tokens"]
    assert bench.main(options) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in shown if line.startswith("|")][2:] == ["1", "3"]
    assert any("adapter - bare client" in line for line in shown)
    assert "cores" in shown[-1] and "grpcio" in shown[-1]
    figures = json.loads(file.read_text())
    assert {(cell["subject"], cell["streams"]) for cell in figures["cells"]} == {
        (subject, streams) for subject in (BARE, PROXY, ADAPTER, RESPONSES) for streams in (1, 3)
    }
    for cell in figures["cells"]:
        assert len(cell["tokens_per_second"]) == len(cell["cpu_microseconds_per_token"]) == 1
        assert min(cell["tokens_per_second"] + cell["cpu_microseconds_per_token"]) > 0
    assert figures["options"]["tokens"] == 40


def test_the_embeddings_part(tmp_path: Path) -> None:
    """The real ensemble and the adapter in front of it; far too short to mean anything."""
    cells = measure_embeddings(tmp_path, 1, lambda line: None, shapes=[(1, 2), (70, 1)], texts=4)
    assert set(cells) == {(name, *shape) for name in ("direct", "adapter") for shape in ((1, 2), (70, 1))}
    for cell in cells.values():
        assert len(cell.texts_per_second) == len(cell.cpu_microseconds) == 1
        assert cell.texts_per_second[0] > 0 and cell.cpu_microseconds[0] > 0


def test_vectors_are_counted_and_measured() -> None:
    check_vectors(np.eye(3, dtype=np.float32), 3)
    for wrong in (np.eye(2, 3, dtype=np.float32), 2 * np.eye(3, dtype=np.float32)):
        with pytest.raises(WorkerFailed):
            check_vectors(wrong, 3)


def test_ratios_of_embeddings_are_of_the_same_round() -> None:
    cells = {
        ("direct", 1, 32): EmbeddingsCell([100.0, 10.0, 50.0], [180.0, 200.0, 190.0]),
        ("adapter", 1, 32): EmbeddingsCell([90.0, 10.0, 25.0], [400.0, 300.0, 350.0]),
    }
    assert embeddings_table(cells).splitlines()[2] == "| 1 | 32 | 50 | 25 | 0.90 | 190 | 350 |"


def test_a_failure_ends_the_bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: Any) -> Any:
        raise WorkerFailed("a stream brought 7 tokens, 8 were asked for")

    monkeypatch.setattr(bench, "running", broken)
    assert bench.main(["--rounds", "1"]) == 1
    assert "7 tokens" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--streams", "0"], ["--streams", "1,x"], ["--tokens", "-3"], ["--rounds", "0"]])
def test_bad_options_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        bench.main(options)
    assert caught.value.code == 2


def test_processor_time_is_that_of_the_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY.format(0.3)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        own = float(process.stdout.readline())
        seen = cpu_seconds(process.pid)
        assert own <= seen < own + 0.1
        time.sleep(0.2)
        assert cpu_seconds(process.pid) < own + 0.1  # waiting costs nothing
        process.communicate("\n")
    with pytest.raises(OSError):
        cpu_seconds(process.pid)


def test_a_worker_that_cannot_start_is_an_error() -> None:
    with pytest.raises(WorkerFailed, match="ended"):
        Worker("tests.bench.no_such_module")


def test_a_worker_passes_its_error_on() -> None:
    with (
        Worker("tests.bench.http_load", "1", "chat") as worker,
        pytest.raises(WorkerFailed, match="ConnectionRefusedError"),
    ):
        worker.run(Run(streams=1, requests=1, tokens=1))


def event(content: str | None, reason: str | None = None, completion_tokens: int = 0) -> bytes:
    delta = {} if content is None else {"content": content}
    chunk = {
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        "usage": {"completion_tokens": completion_tokens},
    }
    return b"data: " + json.dumps(chunk).encode()


def words(count: int) -> list[str]:
    cycle = WORDS.split()
    return [f" {cycle[place % len(cycle)]}" for place in range(count)]


def good(count: int) -> list[bytes]:
    texts = [event(word, None, place + 1) for place, word in enumerate(words(count))]
    return [event(""), *texts, event(None, "length", count)]


def test_a_chat_answer_is_checked_token_by_token() -> None:
    assert checked_chat(good(40), 40) == 40
    for broken in (
        good(40)[:5] + good(40)[6:],  # a token is missing
        [*good(40)[:5], good(40)[4], *good(40)[5:]],  # one came twice
        good(39),
        [*good(40)[:-1], event(None, "stop", 40)],
        good(40)[:-1],
        [*good(40)[:7], b'data: {"error": {"message": "gone"}}'],
    ):
        with pytest.raises(WorkerFailed):
            checked_chat(broken, 40)


def answer(events: list[bytes]) -> bytes:
    body = b"".join([b"%x\r\n%b\n\n\r\n" % (len(item) + 2, item) for item in events]) + b"0\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body


def test_a_wrong_count_is_a_failure() -> None:
    load = Load(1, "proxy")
    load._check(answer([b"data: 5", b"data: 6,7", b"data: [DONE]"]), 3)
    for events in ([b"data: 5", b"data: [DONE]"], [b"data: 5,6,7,8", b"data: [DONE]"], [b"data: 5,6,7"]):
        with pytest.raises(WorkerFailed):
            load._check(answer(events), 3)
    chat = Load(1, "chat")
    chat._check(answer([*good(3), b"data: [DONE]"]), 3)
    wrong_usage = [*good(3)[:-1], event(None, "length", 2), b"data: [DONE]"]
    with pytest.raises(WorkerFailed, match="2 tokens, 3 were asked for"):
        chat._check(answer(wrong_usage), 3)


def test_dechunked() -> None:
    assert dechunked(b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n") == b"abc0123456789"


def test_ratios_are_of_the_same_round() -> None:
    """A slow round slows every subject; the medians of the figures would mix rounds."""
    results = Results(
        cells={
            (BARE, 8): Cell([100.0, 50.0, 10.0], [10.0, 20.0, 40.0]),
            (PROXY, 8): Cell([100.0, 50.0, 10.0], [20.0, 40.0, 80.0]),
            (ADAPTER, 8): Cell([50.0, 25.0, 10.0], [15.0, 30.0, 80.0]),
        },
        first_token={BARE: [1.0, 2.0, 3.0], PROXY: [1.0, 1.0, 1.0], ADAPTER: [2.0, 3.5, 9.0]},
    )
    row = [cell.strip() for cell in table(results).splitlines()[2].split("|")[1:-1]]
    assert row == ["8", "50", "50", "25", "20.0", "40.0", "30.0", "1.50", "0.75", "0.50", "0.50"]
    assert first_token_line(results).endswith("adapter - bare client +1.50 ms")
