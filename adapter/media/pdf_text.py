"""The text of a PDF file, in a process of its own: `python -m adapter.media.pdf_text PAGES CHARACTERS BYTES SECONDS`.

A PDF file is a program of sorts: a few bytes can unfold into gigabytes, or keep a parser busy for hours. Here that ends
this process and nothing else.

stdin: the file. stdout: JSON, one object a line, in UTF-8: `{"text": str}` for each page, then `{"end": true}`; or
`{"error": str}` as the last line: `encrypted`, `pages` or `characters` (too many), `too_large` or `damaged`. Without
either the process was ended from outside or by its limits.
"""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import sys
from collections.abc import Iterator
from typing import Any

_PRIORITY = 10  # streams of tokens come first


def page_texts(content: bytes, most_pages: int, most_characters: int) -> Iterator[dict[str, Any]]:
    """The lines of stdout."""
    from pypdf import PdfReader  # after the limits are set
    from pypdf.errors import LimitReachedError

    try:
        reader = PdfReader(io.BytesIO(content))
        # Many files are encrypted with no password for reading, only against changes.
        if reader.is_encrypted and not reader.decrypt(""):
            yield {"error": "encrypted"}
            return
        if len(reader.pages) > most_pages:
            yield {"error": "pages"}
            return
        left = most_characters
        for page in reader.pages:
            text = _text(page.extract_text())
            left -= len(text)
            if left < 0:
                yield {"error": "characters"}
                return
            yield {"text": text}
    except (MemoryError, LimitReachedError):
        yield {"error": "too_large"}
    except Exception:  # of many classes, not only the library's own
        yield {"error": "damaged"}
    else:
        yield {"end": True}


def _text(text: str) -> str:
    """Without halves of surrogate pairs, which have no UTF-8 form, and without NUL, which databases refuse."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd").strip()


def _limit(most_bytes: int, seconds: int) -> None:
    os.nice(_PRIORITY)
    for limit, value in (
        (resource.RLIMIT_AS, most_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def main(arguments: list[str]) -> None:
    most_pages, most_characters, most_bytes, seconds = map(int, arguments)
    _limit(most_bytes, seconds)
    logging.disable()  # the library tells of everything unusual
    for line in page_texts(sys.stdin.buffer.read(), most_pages, most_characters):
        sys.stdout.buffer.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
