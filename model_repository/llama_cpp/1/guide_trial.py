"""Compiles a grammar in a process of its own, where it may fail: run as a script, with the grammar on stdin.

llguidance expands merged constraints (`allOf` of patterns and the like) exponentially, past every limit of its own: a
schema of 1.4 kB takes all memory. How much work it is does not depend on the vocabulary, so one of bytes will do.
Exit code 0: it can be compiled, or is refused in an ordinary way.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

_MEMORY = 1 << 30  # bytes
_CPU = 3  # seconds
_TIMEOUT = 10.0  # seconds, on a busy machine


def affordable(grammar: str) -> bool:
    """Whether a grammar compiles within the limits; what was tried lately is remembered."""
    try:
        return _compiles(grammar)
    except subprocess.TimeoutExpired:
        return False  # and not remembered: it may have been the machine


@lru_cache(maxsize=256)
def _compiles(grammar: str) -> bool:
    python = Path(sys.prefix) / "bin" / "python3"  # inside Triton's stub sys.executable is the stub
    command = [str(python), "-I", __file__]
    return subprocess.run(command, input=grammar.encode(), capture_output=True, timeout=_TIMEOUT).returncode == 0


def _try() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU, _CPU))
    import llguidance

    class Bytes:
        tokens = [*(bytes([value]) for value in range(256)), b"<end>"]
        special_token_ids = [256]
        eos_token_id = 256
        bos_token_id = None

        def __call__(self, text: bytes) -> list[int]:
            return list(text)

    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()), n_vocab=257, eos_token=[256])
    llguidance.LLMatcher(tokenizer, sys.stdin.read(), log_level=0)


if __name__ == "__main__":
    _try()
