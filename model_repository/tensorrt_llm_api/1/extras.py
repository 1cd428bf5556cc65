"""Inputs that this engine declares beyond those that it shares with the CPU engine (`request.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .request import Tensors

MAX_SEQUENCES = 128


@dataclass(frozen=True)
class Extras:
    """What else one request asks for.

    sequences     answers to one prompt (`num_return_sequences`)
    perf_metrics  times and cache use of the request are wanted
    """

    sequences: int = 1
    perf_metrics: bool = False


def read_extras(tensors: Mapping[str, np.ndarray]) -> Extras:
    """Reads them from input tensors with a leading batch dimension of 1.

    Raises:
        RequestError: a value that cannot be served.
    """
    reader = Tensors(tensors)
    return Extras(
        sequences=reader.integer("num_return_sequences", 1, 1, MAX_SEQUENCES),
        perf_metrics=reader.flag("return_perf_metrics"),
    )
