"""`build/embedding_engine.py` for a tiny sentence-t5, with a pretend trtexec on PATH and a pretend CUDA provider."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.t5_catalog import ID, write_catalog
from tests.support.t5_oracle import write_t5
from tests.unit.build.pretend_build import ROOT, Bench

PRETEND_CUDA = ROOT / "tests" / "support" / "pretend_cuda"


class EmbeddingBench(Bench):
    def command(self, *arguments: str) -> list[str]:
        script = str(ROOT / "build" / "embedding_engine.py")
        given = ["--catalog", str(self.catalog), "--work", str(self.folder / "work")]
        return [sys.executable, script, ID, *arguments, *given, "--output", str(self.repository)]


def embedding_bench(folder: Path) -> EmbeddingBench:
    """A bench whose model's files are in a folder."""
    made = EmbeddingBench(folder, {"PYTHONPATH": str(PRETEND_CUDA)})
    write_catalog(write_t5(folder)).rename(made.catalog)
    return made
