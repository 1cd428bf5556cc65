"""Where this machine keeps what was fetched or made once: weights, tokenizers, graphs, engines."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """TRITONGATE_CACHE, else `~/.cache/tritongate`."""
    return Path(os.environ.get("TRITONGATE_CACHE") or Path.home() / ".cache" / "tritongate").expanduser().absolute()
