"""As much of torch as a bias takes on its way to the stand-in LLM."""

from __future__ import annotations

import numpy as np


class Tensor:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.dtype = str(array.dtype)
        self.shape = array.shape


def from_numpy(array: np.ndarray) -> Tensor:
    return Tensor(array)
