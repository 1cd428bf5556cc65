"""A small server that speaks SearXNG's JSON, over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Results = list[dict[str, Any]]

PAGES: Results = [
    {
        "title": "Tide tables of the North Sea",
        "url": "https://tides.example/north-sea",
        "content": "High water at\n  Husum: 04:12 and 16:40.",
        "engine": "any",
        "score": 4.0,
    },
    {
        "title": "Husum harbour",
        "url": "https://www.harbour.example/husum",
        "content": "The harbour office.",
        "score": 2.0,
    },
    {"title": "", "url": "https://notes.example/1", "content": None},
]


@dataclass
class RunningSearch:
    """queries: parameters of each request. body: what is answered in place of results, if set. results: by query."""

    port: int = 0
    queries: list[dict[str, str]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    body: bytes | None = None
    results: Callable[[str], Results] = lambda query: PAGES
    wait: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/search"


@contextmanager
def search_server() -> Iterator[RunningSearch]:
    running = RunningSearch()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = urlsplit(self.path)
            assert target.path == "/search"
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            running.queries.append(query)
            running.heads.append({name.lower(): value for name, value in self.headers.items()})
            if running.wait is not None:
                running.wait.wait(20)
            found = {"query": query["q"], "number_of_results": 0, "results": running.results(query["q"]), "answers": []}
            body = running.body if running.body is not None else json.dumps(found).encode()
            self.send_response(running.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        if running.wait is not None:
            running.wait.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
