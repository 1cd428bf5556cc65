"""Shows a person how a download goes: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from build.transfer import Notify, Report

LINE_EVERY = 10.0  # seconds between two lines where there is no terminal


@contextmanager
def download_progress(name: str, size: int, notify: Notify) -> Iterator[Report]:
    """Yields the function that takes the bytes that are there so far."""
    if not sys.stderr.isatty():
        yield _Lines(name, size, notify)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=size)
        yield lambda done: bars.update(task, completed=done)


class _Lines:
    def __init__(self, name: str, size: int, notify: Notify) -> None:
        self._name, self._size, self._notify = name, size, notify
        self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_EVERY:
            self._last = now
            self._notify(f"{self._name}: {done / 1e6:,.0f} of {self._size / 1e6:,.0f} MB")
