"""API keys: made here, kept as hashes, compared in constant time.

A key is 32 random bytes, so a plain SHA-256 of it cannot be reversed by guessing, and is cheap enough for each request.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger("tritongate.keys")

_LINE = re.compile(r"sha256:([0-9a-f]{64})(?:\s+(\S.*))?\Z")
_RELOAD_AFTER = 1.0  # seconds between two looks at the keys file
_LARGEST_FILE = 1 << 20  # bytes
_LONGEST_NAME = 64  # characters; of a longer one the beginning


class KeysFileError(Exception):
    """The keys file is missing, too large, or has a line that is no hashed key."""


@dataclass(frozen=True)
class APIKey:
    """A known key.

    id: names its owner in logs and stores without giving anything of the key away. name: the operator's own, from the
    keys file, for logs; "" if it has none. It may be given to several keys, and taken away.
    """

    digest: bytes
    id: str
    name: str = ""


def generate_key() -> str:
    """A new key: `tg-` and 43 characters."""
    return "tg-" + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """The line of the keys file that stands for a key: `sha256:<64 hexadecimal digits>`; a name may follow."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


class KeyRing:
    """The keys that open this server. A changed keys file is read again without a restart.

    Args:
        keys: keys in plain text.
        file: hashed keys, one a line; lines that are empty or begin with # are passed over.

    Raises:
        KeysFileError: the file cannot be used.
    """

    def __init__(self, keys: Iterable[str], file: Path | None) -> None:
        self._given = [_api_key(hashlib.sha256(key.encode()).hexdigest()) for key in keys]
        self.file = file
        self._from_file: list[APIKey] = []
        self._stamp: tuple[int, ...] | None = None
        self._looked = 0.0
        if file is not None:
            self._stamp = _stamp(file)
            self._from_file = _read(file)

    @classmethod
    def load(cls, listed: str, file: Path | None) -> KeyRing:
        """The keys of `TRITONGATE_API_KEYS`, as it lists them, and of the keys file. Raises KeysFileError."""
        given = [key.strip() for key in listed.split(",")]
        return cls([key for key in given if key], file)

    @property
    def required(self) -> bool:
        """Whether a key is needed. A keys file that has become empty locks the door; it does not open it."""
        return bool(self._given) or self.file is not None

    @property
    def count(self) -> int:
        return len(self._given) + len(self._from_file)

    def identify(self, key: str) -> APIKey | None:
        """The known key that equals `key`, or None. Takes as long for a wrong key as for any other."""
        self._reload()
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known in (*self._given, *self._from_file):
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found

    def _reload(self) -> None:
        now = time.monotonic()
        if self.file is None or now - self._looked < _RELOAD_AFTER:
            return
        self._looked = now
        try:
            stamp = _stamp(self.file)
            if stamp != self._stamp:
                self._from_file = _read(self.file)
                self._stamp = stamp
                logger.info("keys file read again", extra={"fields": {"keys": len(self._from_file)}})
        except KeysFileError as error:
            logger.error("keys file not read again, the earlier keys stay", extra={"fields": {"reason": str(error)}})


def _stamp(file: Path) -> tuple[int, ...]:
    """What changes when the file does, also when another one of the same size and age takes its place."""
    try:
        status = file.stat()
    except OSError as error:
        raise KeysFileError(f"{file}: {error.strerror}") from error
    if status.st_size > _LARGEST_FILE:
        raise KeysFileError(f"{file}: larger than {_LARGEST_FILE >> 20} MiB")
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size


def _read(file: Path) -> list[APIKey]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysFileError(f"{file}: {error}") from error
    keys = []
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise KeysFileError(
                f"{file}, line {number}: not of the form sha256:<64 hexadecimal digits> [name]; "
                "`tritongate keys new` writes such lines"
            )
        keys.append(_api_key(match[1], match[2] or ""))
    return keys


def _api_key(digest: str, name: str = "") -> APIKey:
    # It stands in every line of the log.
    printable = "".join(character if character.isprintable() else " " for character in name[:_LONGEST_NAME])
    return APIKey(bytes.fromhex(digest), digest[:12], printable)
