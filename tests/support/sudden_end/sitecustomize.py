"""Ends a Python process by SIGKILL at a chosen moment: for PYTHONPATH, Python imports it at its start.

SUDDEN_END   "EVENT PATTERN" or "EVENT#NUMBER PATTERN": an audit event of Python, such as os.rename or os.symlink, and a
             regular expression that is searched in its arguments, joined by spaces. At the first such event, or the
             one of that number, the process ends before the thing is done.
"""

import os
import re
import signal
import sys

_event, _, _pattern = os.environ.get("SUDDEN_END", "").partition(" ")
_event, _, _number = _event.partition("#")
_wanted, _left = re.compile(_pattern), [int(_number or 1)]


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if event == _event and _wanted.search(" ".join(map(str, arguments))):
        _left[0] -= 1
        if not _left[0]:
            os.kill(os.getpid(), signal.SIGKILL)


if _event:
    sys.addaudithook(_look)
