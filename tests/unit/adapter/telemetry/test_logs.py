"""Log lines: one JSON object each."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime

import pytest

from adapter.telemetry import logs


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("tritongate")
    before = (root.handlers[:], root.level, own.level)
    yield
    root.handlers[:], level, own_level = before
    root.setLevel(level)
    own.setLevel(own_level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    *found, rest = capsys.readouterr().err.split("\n")
    assert rest == ""
    return found


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    fields = {"model": 'a"b\n\u2028', "ms": 1.5, "none": None, "path": sys, "status": 200}
    logging.getLogger("tritongate.requests").info("two\nlines %s", 7, extra={"fields": fields})
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert entry["message"] == "two\nlines 7"
    assert (entry["level"], entry["logger"]) == ("info", "tritongate.requests")
    assert (entry["model"], entry["ms"], entry["none"], entry["status"]) == ('a"b\n\u2028', 1.5, None, 200)
    assert isinstance(entry["path"], str)  # whatever is no JSON
    assert datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).tzinfo is not None


def test_an_exception_is_within_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    try:
        raise KeyError("gone")
    except KeyError:
        logging.getLogger("tritongate.x").exception("failed")
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert entry["level"] == "error" and "KeyError" in entry["exception"] and "test_logs" in entry["exception"]


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    for level, seen in (("debug", 4), ("info", 3), ("warning", 2), ("ERROR", 1)):
        logs.configure(level, "json")
        for name in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger("tritongate.x"), name)(name)
        assert len(lines(capsys)) == seen


def test_libraries_speak_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")
    logging.getLogger("httpx").info("GET /")
    logging.getLogger("uvicorn.error").warning("careful")
    (line,) = lines(capsys)
    assert json.loads(line)["message"] == "careful"


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("tritongate.x").warning("slow", extra={"fields": {"ms": 5, "model": "m"}})
    logging.getLogger("tritongate.x").info("plain")
    first, second = lines(capsys)
    assert first.endswith("warning slow ms=5 model=m")
    assert second.endswith("info    plain")
