"""A small HTTP server on loopback that gives out files the way a hub does, and misbehaves on request."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """
    files: path -> content. ranges: whether Range is understood. break_after: for each request in turn, after how many
    bytes of the body the connection breaks (nothing left: never). status: answer everything with it.
    stall_after: path -> bytes of the body after which nothing comes any more, once.
    requests: path and Range header of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    status: int = 200
    redirects: dict[str, str] = field(default_factory=dict)
    stall_after: dict[str, int] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def file_server() -> Iterator[FileServer]:
    state = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append((self.path, self.headers.get("range")))
            if self.path in state.redirects:
                self.send_response(302)
                self.send_header("location", state.redirects[self.path])
                self.send_header("content-length", "0")
                self.end_headers()
                return
            content = state.files.get(self.path)
            if content is None or state.status != 200:
                self.send_error(404 if state.status == 200 else state.status)
                return
            start, status = 0, 200
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or "")
            if wanted and state.ranges:
                start, status = int(wanted[1]), 206
                if start >= len(content):
                    self.send_error(416)
                    return
            self.send_response(status)
            self.send_header("content-length", str(len(content) - start))
            if status == 206:
                self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:]
            if self.path in state.stall_after:
                self.wfile.write(body[: state.stall_after.pop(self.path)])
                state.over.wait()
                self.close_connection = True
                return
            limit = state.break_after.pop(0) if state.break_after else len(body)
            self.wfile.write(body[:limit])
            if limit < len(body):
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
