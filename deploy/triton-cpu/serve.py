"""Triton with models of the catalog on CPU engines, for the adapter in another container.

What `tritongate serve` does without the adapter: fetch, assemble, start, watch and restart.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path

from launcher.commands.serve import assembled, stopped_cleanly
from launcher.errors import LauncherError
from launcher.state import StateLock
from launcher.terminal import say
from launcher.triton_binaries import lay_out
from launcher.triton_server import TritonServer


def main() -> int:
    """Serves until SIGINT or SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(description="Serves models of the catalog with Triton, on CPU engines.")
    parser.add_argument("models", nargs="*", metavar="MODEL_ID", help="ids of the catalog (none: the default models)")
    parser.add_argument("--state-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--address", default="0.0.0.0", help="to listen on")
    parser.add_argument("--http-port", type=int, default=8000, metavar="NUMBER")
    parser.add_argument("--grpc-port", type=int, default=8001, metavar="NUMBER")
    parser.add_argument("--metrics-port", type=int, default=8002, metavar="NUMBER")
    parser.add_argument("--load-timeout", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument(
        "--stop-timeout", type=float, default=60.0, metavar="SECONDS", help="for open requests at a stop"
    )
    options = parser.parse_args()
    try:
        with stopped_cleanly() as signals, StateLock(options.state_dir):
            lay_out(options.state_dir / "triton")
            server = TritonServer(
                [assembled(options.models, options.state_dir)],
                options.state_dir,
                grpc_port=options.grpc_port,
                http_port=options.http_port,
                metrics_port=options.metrics_port,
                ready_timeout=options.load_timeout,
                stop_timeout=options.stop_timeout,
                notify=say,
                # After the launcher's own, which keep a Triton beside its adapter to this machine: the last one counts.
                arguments=[f"--{kind}-address={options.address}" for kind in ("grpc", "http", "metrics")],
            )
            say(f"starting Triton (log: {server.log})")
            try:
                with signals.calling(server.cancel):
                    server.start()
                say(f"Triton is ready: grpc://{options.address}:{options.grpc_port}")
                threading.Event().wait()
            finally:
                with signals.calling(server.hurry):
                    if server.starts:
                        say("stopping Triton")
                    server.stop()
    except LauncherError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
