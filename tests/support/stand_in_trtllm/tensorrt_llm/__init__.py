"""Stands in for TensorRT-LLM, which needs a GPU: its LLM API with the real names, signatures and habits.

It writes tokens by a rule, one for each request in flight per step, from a thread of its own, as the real one does.
The file `stand_in.json` of the checkpoint says how (`engine.Conduct`); `release.py` which release it is taken for.
"""

from .llmapi import LLM
from .release import RELEASE as __version__
from .sampling_params import SamplingParams

__all__ = ["LLM", "SamplingParams", "__version__"]
