"""The stand-in for TensorRT-LLM as an importable package, for tests without a Triton."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STAND_IN = Path(__file__).parent / "stand_in_trtllm"


@contextmanager
def stand_in_installed(folder: Path, release: str) -> Iterator[None]:
    """Within the block `import tensorrt_llm` and `import torch` find the stand-ins.

    Args:
        folder: an empty one, for a copy of them.
        release: what TensorRT-LLM says it is.
    """
    shutil.copytree(STAND_IN, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tensorrt_llm" / "release.py").write_text(f'RELEASE = "{release}"\n')
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] in ("tensorrt_llm", "torch")]:
            del sys.modules[name]
