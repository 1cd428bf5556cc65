"""The trial of a grammar in a process of its own."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.model_modules import model_module

guide_trial = model_module("llama_cpp", "guide_trial")


def test_a_trial_that_the_machine_was_too_busy_for_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a grammar would be refused for as long as the model runs."""
    trials: list[Any] = [subprocess.TimeoutExpired("python3", 10), SimpleNamespace(returncode=0)]

    def run(*_: Any, **__: Any) -> Any:
        outcome = trials.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(guide_trial.subprocess, "run", run)
    assert not guide_trial.affordable('start: "once more"')
    assert guide_trial.affordable('start: "once more"')
    assert guide_trial.affordable('start: "once more"')  # remembered
    assert trials == []
