"""Files from a model hub: `ENDPOINT/REPOSITORY/resolve/REVISION/FILE`, with resume.

The format of the URL, and the variables `HF_ENDPOINT` (another hub or a mirror) and `HF_HUB_OFFLINE`, are those of
Hugging Face's own client. Proxies are taken from the usual variables.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import quote

import httpx

from build.catalog import HubSource
from build.transfer import Report, SourceFailed

ENDPOINT = "https://huggingface.co"
CONNECT_TIMEOUT = 5.0  # seconds: where only a package index is reachable, the next source must not be late
READ_TIMEOUT = 30.0
ATTEMPTS = 5  # in a row without a new byte
ALL_ATTEMPTS = 100


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
        path = f"{source.hub}/resolve/{source.revision}/{source.file}"
        url = f"{self._endpoint}/{quote(path)}"
        timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
        headers = {"accept-encoding": "identity"}
        try:
            with httpx.Client(timeout=timeout, follow_redirects=True, headers=headers) as client:
                self._retry(client, url, target, size, report)
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


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
