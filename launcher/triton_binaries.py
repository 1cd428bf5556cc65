"""Triton itself: the server, its Python backend and the right stub, from the `nvidia-pytriton` wheel.

The wheel carries Triton 2.51 (24.10) for Linux on x86_64 and aarch64 with stubs for several Python versions.
Triton expects one folder `<backends>/python/` with the backend library, its Python half and one stub.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.libpython import find_libpython, library_name

REMOTE_HINT = (
    "run Triton on another machine (or in its container) and point to it: tritongate serve --triton grpc://HOST:8001"
)


class TritonNotFound(LauncherError):
    """There is no Triton for this machine, or a part of it is missing; the message says what to do."""


# Without it ONNX Runtime, when it is imported, writes an id and events for its makers into the user's cache folder.
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class TritonBinaries:
    """One laid-out Triton: what to execute, where its backends are, and the environment it needs."""

    executable: Path
    backends: Path
    libraries: tuple[Path, ...]
    version: str

    def environment(self) -> dict[str, str]:
        """The variables of a Triton process whose Python models run in this very Python environment.

        The stub embeds Python in isolated mode: PYTHONPATH and PYTHONHOME have no effect. What decides is the
        first `python3` on PATH, from which it takes the prefix and the site-packages, as that command would.
        """
        variables = dict(os.environ)
        # The first two would still reach the children of a model; keys of the adapter are no business of Triton's.
        for name in ("PYTHONPATH", "PYTHONHOME", "TRITONGATE_API_KEYS"):
            variables.pop(name, None)
        search = [str(Path(sys.executable).parent), variables.get("PATH", os.defpath)]
        variables["PATH"] = os.pathsep.join(search)
        inherited = [variables["LD_LIBRARY_PATH"]] if variables.get("LD_LIBRARY_PATH") else []
        variables["LD_LIBRARY_PATH"] = os.pathsep.join([*map(str, self.libraries), *inherited])
        variables["PYTHONUNBUFFERED"] = "1"
        variables.update(NO_TELEMETRY)
        return variables


def supported_platform() -> bool:
    """Whether the wheel exists for this kind of machine."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


def wheel_folder() -> Path:
    """The folder of the installed `pytriton` package, found without importing it.

    Raises:
        TritonNotFound: the platform has no wheel, or it is not installed.
    """
    if not supported_platform():
        machine = f"{sys.platform} {platform.machine()}"
        raise TritonNotFound(f"there is no Triton wheel for {machine}: {REMOTE_HINT}")
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise TritonNotFound(
            f"nvidia-pytriton is not installed: pip install 'tritongate[cpu]' (make setup), or {REMOTE_HINT}"
        )
    return Path(spec.submodule_search_locations[0])


def lay_out(folder: Path) -> TritonBinaries:
    """Makes `folder` hold a Triton that matches the running Python; quick if it already does.

    Args:
        folder: where to; parts are symbolic links into the wheel.
    Raises:
        TritonNotFound: no wheel, no stub for this Python version, or no `libpython`.
    """
    wheel = wheel_folder()
    libpython = find_libpython()
    short = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if libpython is None:
        raise TritonNotFound(f"{library_name()} is missing: sudo apt-get install libpython{short}")
    source = wheel / "tritonserver"
    stub = source / "python_backend_stubs" / short / "triton_python_backend_stub"
    if not stub.is_file():
        raise TritonNotFound(f"the Triton wheel holds no stub for Python {short}")
    version = importlib.metadata.version("nvidia-pytriton")
    target = folder.absolute() / f"{version}-py{short}"
    backend = target / "backends" / "python"
    backend.mkdir(parents=True, exist_ok=True)
    (target / "bin").mkdir(exist_ok=True)
    _place(source / "bin" / "tritonserver", target / "bin" / "tritonserver", executable=True)
    _place(stub, backend / stub.name, executable=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        _place(source / "backends" / "python" / name, backend / name)
    # Triton puts this folder on the models' sys.path: the one package of ours that they import goes there.
    _place(_package_folder("tokentext"), backend / "tokentext")
    return TritonBinaries(
        executable=target / "bin" / "tritonserver",
        backends=target / "backends",
        libraries=(wheel.parent / "nvidia_pytriton.libs", libpython.parent),
        version=version,
    )


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise TritonNotFound(f"the package {name} is not installed")
    return Path(spec.origin).resolve().parent


def _place(source: Path, target: Path, executable: bool = False) -> None:
    """A link to `source`; a copy where the installer dropped the executable bit."""
    if target.is_symlink() and target.readlink() == source and target.exists():
        return
    target.unlink(missing_ok=True)
    if executable and not os.access(source, os.X_OK):
        shutil.copyfile(source, target)
        target.chmod(0o755)
        return
    target.symlink_to(source)
