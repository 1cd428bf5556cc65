"""`python -m launcher`: the same as the `tritongate` command."""

from __future__ import annotations

from launcher.cli import main

if __name__ == "__main__":
    main()
