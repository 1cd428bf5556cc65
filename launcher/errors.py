"""Failures that a person at the command line can do something about."""

from __future__ import annotations


class LauncherError(Exception):
    """Its message says what is wrong and what to do; it is shown without a traceback.

    exit_code: of the command that it ends.
    """

    exit_code = 1


class SenselessCommand(LauncherError):
    """The command line names what does not exist, or has another form."""

    exit_code = 2
