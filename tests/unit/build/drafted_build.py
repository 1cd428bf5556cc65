"""A bench whose model is built with a draft model, from one entry of the catalog."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.build.pretend_build import ID, Bench, catalog_text, write_checkpoint

DRAFT = "me/mini"


def drafted_bench(tmp_path: Path, build: str = "", settings: str = "") -> Bench:
    """The model `ID` with `draft = DRAFT`.

    Args:
        build: further lines of its `build`. settings: what follows them.
    """
    write_checkpoint(tmp_path / "hf")
    write_checkpoint(tmp_path / "mini", seed=1)
    (tmp_path / "mini" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "of the draft"}))
    model = catalog_text('path = "hf"', f'draft = "{DRAFT}"\n{build}\n{settings}')
    draft = catalog_text('path = "mini"', "max_num_tokens = 256").replace(f'id = "{ID}"', f'id = "{DRAFT}"')
    bench = Bench(tmp_path)
    bench.catalog.write_text(model + draft.replace("max_num_tokens = 512\n", ""))
    return bench
