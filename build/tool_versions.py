"""Of which release a build's tools are: a package of this Python, or an image of docker.

A tag such as `tritongate-triton:0.1.0` may be built anew from another release, so an image is known by its id.
"""

from __future__ import annotations

import importlib.metadata
import subprocess

from build.tool_runner import ToolError
from build.transfer import Notify

INSPECT_TIMEOUT = 60.0  # seconds


def tool_versions(package: str, image: str = "", image_id: str = "") -> dict[str, str]:
    """For a stage: the image that its tools run in, or the version of the package that brings them."""
    return {"container": f"{image} {image_id}".strip()} if image else {package: installed_version(package)}


def installed_version(package: str) -> str:
    """In this Python; found without importing it: TensorRT-LLM takes half a minute and a GPU for that."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed in this Python"


def bring_image(image: str, notify: Notify) -> str:
    """The id of an image, `sha256:` and 64 digits; pulls the image if it is not here.

    Raises:
        ToolError: docker does not answer, or there is no such image.
    """
    found = _image_id(image)
    if not found:
        notify(f"  $ docker pull {image}")
        _docker("pull", image, timeout=None)
        found = _image_id(image)
    if not found:
        raise ToolError(f"docker: {image}: was pulled, and is not here")
    return found


def _image_id(image: str) -> str:
    try:
        return _docker("image", "inspect", "--format", "{{.Id}}", image, timeout=INSPECT_TIMEOUT)
    except ToolError as error:
        if "no such image" in str(error).lower():
            return ""
        raise


def _docker(*arguments: str, timeout: float | None) -> str:
    line = " ".join(("docker", *arguments))
    try:
        answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise ToolError("docker is not on PATH") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{line}: {error}") from error
    if answer.returncode:
        raise ToolError(f"{line}: {answer.stderr.strip()[-500:]}")
    return answer.stdout.strip()
