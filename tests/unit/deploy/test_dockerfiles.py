"""The Dockerfiles: linted, with pinned images, from sources that `.dockerignore` lets in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .repository_files import DEPLOY, ROOT

DOCKERFILES = sorted(DEPLOY.glob("*/Dockerfile"))


def lines_of(path: Path) -> list[str]:
    return path.read_text().replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
class TestDockerfile:
    def test_hadolint_finds_nothing(self, path: Path) -> None:
        hadolint = Path(sys.executable).parent / "hadolint"
        found = subprocess.run(
            [hadolint, "--config", DEPLOY / "hadolint.yaml", path], capture_output=True, text=True, check=False
        )
        assert (found.returncode, found.stdout + found.stderr) == (0, "")

    def test_images_are_pinned(self, path: Path) -> None:
        stages = [line.split() for line in lines_of(path) if line.startswith("FROM ")]
        named = {words[3] for words in stages if words[2:3] == ["AS"]}
        assert stages
        for _, image, *_ in stages:
            own = image.replace("${TENSORRT_BACKEND}", "without") in named
            pinned = re.search(
                r":(\d[\w.-]+|\$\{TRITON_TAG\}-trtllm-python-py3|\$\{TENSORRT_BACKEND_TAG\}-py3)$", image
            )
            assert own or pinned, image

    def test_what_is_copied_exists_and_is_not_ignored(self, path: Path) -> None:
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        assert "*" in ignored
        allowed = [line[1:] for line in ignored if line.startswith("!")]
        copies = [line.split()[1:-1] for line in lines_of(path) if line.startswith("COPY ") and "--from" not in line]
        sources = [word for words in copies for word in words if not word.startswith("--")]
        assert sources
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in allowed, source

    def test_nobody_is_root_and_health_is_checked(self, path: Path) -> None:
        lines = lines_of(path)
        users = [line.split()[1] for line in lines if line.startswith("USER ")]
        assert users and all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)
        assert any(line.startswith("HEALTHCHECK ") for line in lines)


def test_there_are_three() -> None:
    assert [path.parent.name for path in DOCKERFILES] == ["adapter", "triton", "triton-cpu"]


def test_the_releases_of_nvidias_images_are_said_once() -> None:
    files = [*DEPLOY.rglob("*"), *ROOT.glob("compose*.yaml")]
    texts = {path: path.read_text() for path in files if path.is_file() and "secrets" not in path.parent.parts}
    said = [
        path
        for path, text in texts.items()
        for _ in re.findall(r"TRITON_TAG=\d|TENSORRT_BACKEND_TAG=\d|\d\d\.\d\d-trtllm", text)
    ]
    assert said == [DEPLOY / "triton" / "Dockerfile"] * 2
