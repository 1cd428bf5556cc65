"""Failures that a person at the command line can do something about."""

from __future__ import annotations


class LauncherError(Exception):
    """Its message says what is wrong and what to do; it is shown without a traceback, and the exit code is 1."""
