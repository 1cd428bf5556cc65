"""`python -m adapter`: the adapter alone, in front of a Triton that runs elsewhere. Settings: `TRITONGATE_*`."""

from __future__ import annotations

import sys

from pydantic import ValidationError

from adapter.security.exposure import ExposureError
from adapter.security.keys import KeysFileError
from adapter.server import serve
from adapter.settings import Settings


def main() -> None:
    try:
        serve(Settings())
    except (ExposureError, KeysFileError, ValidationError, ValueError) as error:
        sys.exit(f"tritongate: {error}")


if __name__ == "__main__":
    main()
