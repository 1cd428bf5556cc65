"""`tritongate serve`: models, Triton and the adapter, in this order, and all of it ended together."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from adapter.security.exposure import ExposureError, check_exposure
from adapter.security.keys import KeyRing, KeysFileError
from adapter.settings import Settings
from launcher.announcement import announce
from launcher.commands.options import STATE_DIR, Host, Port, RemoteTriton, StateDir
from launcher.errors import LauncherError, SenselessCommand
from launcher.ports import require_free
from launcher.served_models import triton_targets
from launcher.state import StateLock
from launcher.stop_signals import Stop, StopSignals
from launcher.terminal import errors_told, fail, say
from launcher.triton_binaries import lay_out
from launcher.triton_server import TritonServer

app = typer.Typer()


class LogLevel(str, Enum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(str, Enum):
    json = "json"
    text = "text"


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            show_default="those marked * in `tritongate models`",
            help="Model of the catalog to serve; repeat it for several.",
        ),
    ] = None,
    repository: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Serve this Triton model repository as it is, instead of models of the catalog.",
        ),
    ] = None,
    triton: RemoteTriton = None,
    api_keys_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            envvar="TRITONGATE_API_KEYS_FILE",
            help="File of hashed API keys, made with `tritongate keys new`. Needed beyond loopback.",
        ),
    ] = None,
    state_dir: StateDir = STATE_DIR,
    load_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long Triton may take to load all models.")
    ] = 300.0,
    log_level: Annotated[
        LogLevel, typer.Option(envvar="TRITONGATE_LOG_LEVEL", help="How much the adapter logs.")
    ] = LogLevel.info,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            envvar="TRITONGATE_LOG_FORMAT",
            show_default="text at a terminal, else json",
            help="Form of the adapter's log lines.",
        ),
    ] = None,
    triton_log: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            dir_okay=False,
            show_default="logs/triton.log in the state folder",
            help="File for what Triton says.",
        ),
    ] = None,
) -> None:
    """Serve the OpenAI API until stopped (Ctrl-C).

    Fetches the models that are missing, starts Triton with them, and answers when all of them are loaded.
    With --triton nothing is fetched or started here but the adapter. Further settings are environment
    variables, TRITONGATE_...: see docs/running.md.
    """
    if triton and (model or repository):
        raise fail(
            "--triton serves what that Triton has loaded; --model and --repository are for a Triton started here", 2
        )
    if model and repository:
        raise fail("--repository is served as it is; it cannot be combined with --model", 2)
    form = log_format or (LogFormat.text if sys.stderr.isatty() else LogFormat.json)
    settings = make_settings(
        host=host, port=port, api_keys_file=api_keys_file, log_level=log_level.value, log_format=form.value
    )
    with errors_told(), stopped_cleanly() as signals:
        if triton:
            triton_targets(triton)
        check(settings)
        if triton:
            run_adapter(settings.model_copy(update={"triton_url": triton}), f"Triton at {triton}")
            return
        if repository and not any(repository.glob("*/config.pbtxt")):
            raise fail(f"{repository} is no Triton model repository: it holds no MODEL/config.pbtxt")
        with StateLock(state_dir):
            # Told now, and not after minutes of downloading.
            lay_out(state_dir / "triton")
            folder = repository or assembled(model or [], state_dir)
            server = TritonServer([folder], state_dir, log=triton_log, ready_timeout=load_timeout, notify=say)
            say(f"starting Triton (log: {server.log})")
            try:
                with signals.calling(server.cancel):
                    server.start()
                run_adapter(settings.model_copy(update={"triton_url": server.grpc_url}), f"Triton's log: {server.log}")
            finally:
                with signals.calling(server.hurry):
                    if server.starts:
                        say("stopping Triton")
                    server.stop()


@contextmanager
def stopped_cleanly() -> Iterator[StopSignals]:
    """Being asked to stop is no failure, at whatever moment it comes."""
    with StopSignals() as signals:
        try:
            yield signals
        except Stop:
            say("stopped")


def make_settings(**given: Any) -> Settings:
    """The adapter's settings from the environment, and from `given` where it says something.

    Raises:
        typer.Exit: a variable has a value that makes no sense; each is named on stderr.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        problems = [f"TRITONGATE_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors()]
        raise fail("\n  ".join(["settings that make no sense:", *problems]), 2) from None


def check(settings: Settings) -> None:
    """What can be known before anything is started.

    Raises:
        LauncherError: anybody could use the adapter from outside, the keys file cannot be read, or the address cannot
            be listened on.
    """
    try:
        check_exposure(settings.host, KeyRing.load(settings.api_keys, settings.api_keys_file))
    except (ExposureError, KeysFileError) as error:
        raise LauncherError(str(error)) from error
    require_free(settings.host, settings.port)


def assembled(ids: list[str], state_dir: Path) -> Path:
    """A repository of these models of the catalog (none: its defaults); their weights are fetched if need be.

    Raises:
        SenselessCommand: the catalog has no such model.
        LauncherError: they cannot be had; the message is that of `build`.
    """
    # Not above: these need packages of the `cpu` extra, which a machine that uses a remote Triton lacks.
    from build.assemble import BUILD_ERRORS, prepare
    from build.catalog import CatalogError, load_catalog
    from tokentext.cache import cache_folder

    catalog = load_catalog()
    try:
        chosen = [catalog.get(model) for model in ids] or list(catalog.defaults())
    except CatalogError as error:
        raise SenselessCommand(f"--model: {error}") from error
    names = [entry.id for entry in chosen]
    say(f"preparing {' and '.join(names)}")
    try:
        return prepare(names, state_dir / "repository", cache_folder(), say)
    except BUILD_ERRORS as error:
        raise LauncherError(str(error)) from error


def run_adapter(settings: Settings, hint: str) -> None:
    """Serves in this thread until SIGINT or SIGTERM."""
    from adapter.server import serve as serve_http

    def ready(base_url: str) -> None:
        # Elsewhere than in the server's event loop, which this would hold up.
        threading.Thread(target=announce, args=(base_url, settings, hint), name="announce", daemon=True).start()

    say(f"starting the adapter on {settings.host}:{settings.port}")
    serve_http(settings, ready)
