"""Files from a model hub: `ENDPOINT/REPOSITORY/resolve/REVISION/FILE`, with resume.

The format of the URLs, and the variables `HF_ENDPOINT` (another hub or a mirror), `HF_HUB_OFFLINE`, `HF_TOKEN` and
`HF_TOKEN_PATH` (a file; for models behind a licence), are those of Hugging Face's own client. Proxies are taken from
the usual variables.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from build.catalog import HubSource
from build.transfer import Report, SourceFailed

ENDPOINT = "https://huggingface.co"
CONNECT_TIMEOUT = 5.0  # seconds: where only a package index is reachable, the next source must not be late
READ_TIMEOUT = 30.0
ATTEMPTS = 5  # in a row without a new byte
ALL_ATTEMPTS = 100
_SHA256 = re.compile(r"[0-9a-f]{64}")
PAGES = 20  # of a repository's listing, a thousand files each


@dataclass(frozen=True)
class HubFile:
    """A file of a repository. `sha256` of large ones, `git_sha1` (of git's blob) of the others."""

    path: str
    size: int
    sha256: str = ""
    git_sha1: str = ""


def token() -> str:
    """The access token of the environment; empty if there is none."""
    named = os.environ.get("HF_TOKEN_PATH", "")
    if found := os.environ.get("HF_TOKEN", ""):
        return found.strip()
    try:
        return Path(named).read_text(encoding="utf-8").strip() if named else ""
    except OSError as error:
        raise SourceFailed(f"HF_TOKEN_PATH: {error}") from error


class Hub:
    """Downloads from one hub. Once it could not be reached, it is not asked again.

    Args:
        retry_delay: seconds before the first new attempt after a broken connection; doubles.
    """

    def __init__(self, endpoint: str | None = None, retry_delay: float = 0.5) -> None:
        self._endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        self._retry_delay = retry_delay
        self._unreachable = ""
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
            self._unreachable = "HF_HUB_OFFLINE is set"

    def download(self, source: HubSource, target: Path, size: int, report: Report) -> None:
        """Brings `target` to `size` bytes, going on from what it already holds.

        Raises:
            SourceFailed: not reachable, refused, or broken off for good; what has come is kept in `target`.
        """
        if self._unreachable:
            raise SourceFailed(self._unreachable)
        with self._reaching({"accept-encoding": "identity"}) as client:
            self._retry(client, self._url(source), target, size, report)

    def reach(self, source: HubSource) -> None:
        """Asks for a file without fetching it.

        Raises:
            SourceFailed: no answer within seconds, or another than that it is there.
        """
        if self._unreachable:
            raise SourceFailed(self._unreachable)
        with self._reaching({}) as client:
            status = client.head(self._url(source), timeout=CONNECT_TIMEOUT).status_code
        if status != 200:
            raise SourceFailed(f"status {status} for {self._url(source)}")

    def _url(self, source: HubSource) -> str:
        return f"{self._endpoint}/{quote(f'{source.hub}/resolve/{source.revision}/{source.file}')}"

    def listing(self, repository: str, revision: str) -> tuple[str, tuple[HubFile, ...]]:
        """The commit that a revision stands for, and all files of it.

        Raises:
            SourceFailed: not reachable, refused, no such thing, or not understood.
        """
        if self._unreachable:
            raise SourceFailed(self._unreachable)
        base = f"{self._endpoint}/api/models/{quote(repository)}"
        with self._reaching({}) as client:
            commit = _answer(client.get(f"{base}/revision/{quote(revision)}"), repository).get("sha")
            if not isinstance(commit, str) or not commit:
                raise SourceFailed(f"{repository}@{revision}: the hub names no commit")
            files: list[HubFile] = []
            url: str | None = f"{base}/tree/{commit}?recursive=true"
            for _ in range(PAGES):
                page = client.get(url) if url else None
                if page is None:
                    return commit, tuple(files)
                files += _files(_answer(page, repository, list), repository)
                url = page.links.get("next", {}).get("url")
                if url and not url.startswith(f"{self._endpoint}/"):  # the token is for this hub alone
                    raise SourceFailed(f"{repository}: its listing goes on at another place ({url})")
        raise SourceFailed(f"{repository}@{revision}: its listing has more than {PAGES} pages")

    @contextmanager
    def _reaching(self, headers: dict[str, str]) -> Iterator[httpx.Client]:
        """A client; what goes wrong with it becomes SourceFailed."""
        if found := token():
            headers = {**headers, "authorization": f"Bearer {found}"}
        timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
        try:
            with httpx.Client(timeout=timeout, follow_redirects=True, headers=headers) as client:
                yield client
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            self._unreachable = f"not reachable ({error})"
            raise SourceFailed(self._unreachable) from error
        # ImportError: a SOCKS proxy in the environment without the package for it.
        except (httpx.HTTPError, httpx.InvalidURL, ImportError) as error:
            raise SourceFailed(f"{type(error).__name__}: {error}") from error

    def _retry(self, client: httpx.Client, url: str, target: Path, size: int, report: Report) -> None:
        failures = 0
        for _ in range(ALL_ATTEMPTS):
            before = _length(target)
            try:
                self._append(client, url, target, size, report)
                return
            except (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError) as error:
                if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise
                failures = 1 if _length(target) > before else failures + 1
                if failures >= ATTEMPTS:
                    raise SourceFailed(f"broken off at {_length(target):,} bytes ({error})") from error
            time.sleep(self._retry_delay * 2 ** (failures - 1))
        raise SourceFailed(f"broken off {ALL_ATTEMPTS} times")

    @staticmethod
    def _append(client: httpx.Client, url: str, target: Path, size: int, report: Report) -> None:
        have = _length(target)
        if have > size:
            target.unlink()
            have = 0
        if have == size:
            return
        headers = {"range": f"bytes={have}-"} if have else {}
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code == 416 and have:
                # The server's file is shorter than what has come: it is another file, or the part is wrong.
                target.unlink()
                raise SourceFailed("its file ends before the part that has come; the part is dropped")
            if response.status_code >= 500:
                raise httpx.ReadError(f"status {response.status_code}")
            if response.status_code not in (200, 206):
                raise SourceFailed(f"status {response.status_code} for {url}")
            resumed = response.status_code == 206 and response.headers.get("content-range", "").startswith(
                f"bytes {have}-"
            )
            if response.status_code == 206 and not resumed:
                raise SourceFailed(f"asked for bytes from {have} on, got {response.headers.get('content-range')}")
            done = have if resumed else 0  # a server without ranges starts over
            with target.open("ab" if resumed else "wb") as file:
                # As they come: chunks of a fixed size would lose what has come when the connection breaks.
                for chunk in response.iter_raw():
                    done += len(chunk)
                    if done > size:
                        raise SourceFailed(f"its file is longer than {size:,} bytes")
                    file.write(chunk)
                    report(done)
        if done < size:
            raise httpx.ReadError(f"ended after {done:,} of {size:,} bytes")


def _answer(response: httpx.Response, repository: str, kind: type = dict) -> Any:
    if response.status_code in (401, 403):
        raise SourceFailed(
            f"status {response.status_code}: accept the licence of {repository} on the hub, and set HF_TOKEN or "
            "HF_TOKEN_PATH"
        )
    if response.status_code != 200:
        raise SourceFailed(f"status {response.status_code} for {response.url}")
    try:
        content = response.json()
    except ValueError as error:
        raise SourceFailed(f"{response.url}: {error}") from error
    if not isinstance(content, kind):
        raise SourceFailed(f"{response.url}: an answer of another form")
    return content


def _files(entries: list[Any], repository: str) -> Iterator[HubFile]:
    for entry in entries:
        try:
            if entry["type"] == "file":
                large = entry.get("lfs")
                if large and not _SHA256.fullmatch(large["oid"]):
                    raise ValueError(f"{large['oid']!r} is no SHA-256")
                yield HubFile(
                    entry["path"],
                    int(large["size"] if large else entry["size"]),
                    sha256=large["oid"] if large else "",
                    git_sha1="" if large else entry["oid"],
                )
        except (KeyError, TypeError, ValueError) as error:
            raise SourceFailed(f"{repository}: the hub's listing is not understood ({error!r})") from error


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
