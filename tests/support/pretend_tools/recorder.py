"""What the pretend tools share: they record how they were called, and fail or hang where a test wants it.

PRETEND_RECORD   a file that gets a JSON line per call: {"tool": ..., "arguments": [...]}
PRETEND_FAULT    TOOL:hang (writes a part of its output, touches PRETEND_RECORD.hanging and sleeps),
                 TOOL:fail (says some lines, exit code 3), TOOL:full (its disk is full), TOOL:empty (writes nothing)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LIFE = 300  # seconds that a hanging tool lives at most


def begin(tool: str, arguments: argparse.Namespace) -> None:
    """Records the call, and does what PRETEND_FAULT says. `arguments.output_dir` is the tool's output."""
    record = Path(os.environ["PRETEND_RECORD"])
    with record.open("a") as file:
        file.write(json.dumps({"tool": tool, "arguments": sys.argv[1:], "process": os.getpid()}) + "\n")
    print(f"{tool}: [TRT-LLM] starting", flush=True)
    wanted, _, fault = os.environ.get("PRETEND_FAULT", "").partition(":")
    if wanted != tool:
        return
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    if fault == "hang":
        (output / "half.bin").write_bytes(b"half")
        record.with_name(f"{record.name}.hanging").touch()
        time.sleep(LIFE)
    elif fault == "fail":
        for number in range(30):
            print(f"{tool}: line {number}", file=sys.stderr)
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", file=sys.stderr)
        sys.exit(3)
    elif fault == "full":
        with open("/dev/full", "wb") as file:
            file.write(b"x" * 65536)
    elif fault == "empty":
        sys.exit(0)


def digest_of(folder: Path) -> str:
    """Of all files of a folder: what a tool makes depends on it."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
