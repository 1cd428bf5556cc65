"""deploy/triton/start.sh: which processes it starts, with recorders in the places of tritonserver, mpirun and ssh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .repository_files import DEPLOY

RECORDER = '#!/bin/sh\necho "$(basename "$0")" "$@"\n'


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    programs = folder / "bin"
    programs.mkdir()
    for name in ("tritonserver", "mpirun", "trtllm-llmapi-launch", "ssh"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    python = Path(sys.executable).parent  # its python3 has the launcher package, as the image's
    environment = {"PATH": f"{programs}:{python}:{os.environ['PATH']}", "TMPDIR": str(folder), **variables}
    command = [DEPLOY / "triton" / "start.sh", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_one_gpu_is_one_process(tmp_path: Path) -> None:
    words = start(tmp_path, "--log-verbose=1").stdout.split()
    assert words[:2] == ["tritonserver", "--model-repository=/models"]
    assert "--load-model=*" in words and "--model-control-mode=explicit" in words
    assert "--exit-timeout-secs=60" in words and "--exit-on-error=false" in words
    assert words[-1] == "--log-verbose=1"


def test_a_compiled_engine_over_gpus_has_a_process_for_each_and_only_the_first_serves(tmp_path: Path) -> None:
    done = start(
        tmp_path,
        LAUNCH="mpi",
        WORLD_SIZE="3",
        ENGINE_MODELS="a_engine,b_engine",
        MODEL_REPOSITORY="/m",
        EXIT_TIMEOUT="5",
    )
    launcher, *ranks = done.stdout.strip().split(" -n 1 ")
    assert launcher == "mpirun --allow-run-as-root --bind-to none"
    assert len(ranks) == 3
    assert [rank.endswith(" :") for rank in ranks] == [True, True, False]
    for number, rank in enumerate(ranks):
        words = rank.split()
        assert words[:2] == ["tritonserver", "--model-repository=/m"]
        assert f"--backend-config=python,shm-region-prefix-name=tritongate{number}_" in words
        loaded = [word for word in words if word.startswith("--load-model=")]
        assert loaded == (["--load-model=*"] if number == 0 else ["--load-model=a_engine", "--load-model=b_engine"])


def test_the_llm_api_over_gpus_has_a_rank_for_each_under_its_own_launcher(tmp_path: Path) -> None:
    words = start(tmp_path, LAUNCH="llmapi", WORLD_SIZE="4", EXIT_ON_ERROR="true").stdout.split()
    assert " ".join(words[:8]) == "mpirun --allow-run-as-root --bind-to none -n 4 trtllm-llmapi-launch tritonserver"
    assert "--load-model=*" in words and "--exit-on-error=true" in words


def test_the_first_of_several_machines_starts_everybodys_processes_over_ssh(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("id_ed25519", "id_ed25519.pub", "host_ed25519", "host_ed25519.pub"):
        (keys / name).write_text(f"ssh-ed25519 {name} comment\n")
    words = start(
        tmp_path,
        LAUNCH="mpi",
        WORLD_SIZE="4",
        ENGINE_MODELS="a_engine",
        SSH_KEYS=str(keys),
        LWS_GROUP_SIZE="2",
        LWS_WORKER_INDEX="0",
        LWS_LEADER_ADDRESS="triton-0.triton.models",
    ).stdout.split()
    work = tmp_path / "tritongate"
    assert words.count("tritonserver") == 4
    assert words[words.index("--hostfile") + 1] == str(work / "hosts")
    assert (work / "hosts").read_text().split("\n")[:-1] == ["localhost slots=2", "triton-0-1.triton.models slots=2"]
    assert (work / "known_hosts").read_text() == "* ssh-ed25519 host_ed25519.pub\n"
    assert "StrictHostKeyChecking yes" in (work / "client").read_text()
    assert (work / "id_ed25519").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"LAUNCH": "mpirun"}, "known: plain, mpi, llmapi"),
        ({"WORLD_SIZE": "2"}, "LAUNCH=plain is for one GPU"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
        ({"LAUNCH": "mpi", "WORLD_SIZE": "2"}, "needs ENGINE_MODELS"),
        ({"LAUNCH": "mpi", "WORLD_SIZE": "3", "LWS_GROUP_SIZE": "2"}, "cannot be spread evenly"),
        ({"WORLD_SIZE": "2", "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": "0"}, "several need mpi or llmapi"),
    ],
)
def test_what_makes_no_sense_is_refused(variables: dict[str, str], reason: str, tmp_path: Path) -> None:
    done = start(tmp_path, **variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
