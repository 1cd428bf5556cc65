"""A repository's listing: pages, the token, and answers that are not understood."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from build.hub import Hub, HubFile
from build.transfer import SourceFailed

COMMIT = "c0ffee"
Answers = dict[str, tuple[object, str]]


class ListingHub:
    """answers: path -> content (JSON) and Link header. tokens: authorization of each request."""

    def __init__(self) -> None:
        self.answers: Answers = {"/api/models/me/tiny/revision/main": ({"sha": COMMIT}, "")}
        self.tokens: list[str | None] = []
        self.url = ""


@pytest.fixture
def hub() -> Iterator[ListingHub]:
    state = ListingHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.tokens.append(self.headers.get("authorization"))
            content, link = state.answers.get(self.path, (None, ""))
            body = json.dumps(content).encode()
            self.send_response(200 if content is not None else 404)
            self.send_header("content-length", str(len(body)))
            if link:
                self.send_header("link", link)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


SHA256 = "ef" * 32
TREE = f"/api/models/me/tiny/tree/{COMMIT}?recursive=true"
FIRST = [
    {"type": "file", "path": "config.json", "size": 2, "oid": "ab"},
    {"type": "directory", "path": "x", "oid": "d"},
]
SECOND = [{"type": "file", "path": "w.safetensors", "size": 130, "oid": "cd", "lfs": {"oid": SHA256, "size": 9}}]
BAD_DIGEST = [{"type": "file", "path": "w", "size": 1, "oid": "cd", "lfs": {"oid": "../x", "size": 9}}]


def test_all_pages_and_both_digests(hub: ListingHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_x\n")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    hub.answers[TREE] = (FIRST, f'<{hub.url}/page2>; rel="next"')
    hub.answers["/page2"] = (SECOND, "")
    commit, files = Hub(hub.url).listing("me/tiny", "main")
    assert commit == COMMIT
    assert files == (HubFile("config.json", 2, git_sha1="ab"), HubFile("w.safetensors", 9, sha256=SHA256))
    assert hub.tokens == ["Bearer hf_x"] * 3


def test_the_token_stays_with_the_hub(hub: ListingHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    hub.answers[TREE] = (FIRST, '<http://127.0.0.1:1/page2>; rel="next"')
    with pytest.raises(SourceFailed, match="goes on at another place"):
        Hub(hub.url).listing("me/tiny", "main")


def test_a_listing_without_an_end(hub: ListingHub) -> None:
    hub.answers[TREE] = (FIRST, f'<{hub.url}{TREE}>; rel="next"')
    with pytest.raises(SourceFailed, match="more than 20 pages"):
        Hub(hub.url).listing("me/tiny", "main")


@pytest.mark.parametrize("content", [{"no": "list"}, [{"type": "file", "path": "a"}], ["text"], BAD_DIGEST])
def test_answers_of_another_form(hub: ListingHub, content: object) -> None:
    hub.answers[TREE] = (content, "")
    with pytest.raises(SourceFailed, match=r"another form|not understood"):
        Hub(hub.url).listing("me/tiny", "main")


def test_no_such_repository(hub: ListingHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceFailed, match="status 404"):
        Hub(hub.url).listing("me/other", "main")
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(SourceFailed, match="HF_TOKEN_PATH"):
        Hub(hub.url).listing("me/tiny", "main")
