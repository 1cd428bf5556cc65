"""The Compose files: valid by the Compose Specification's schema, and in keeping with settings and secrets."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapter.settings import Settings

from .repository_files import ROOT, load

FILES = [ROOT / "compose.yaml", ROOT / "compose.cpu.yaml"]


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def compose(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_schema(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_images_are_pinned_and_services_bounded(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.search(r":v?\d+(\.\d+)+[\w.-]*$", service["image"]), name
        assert "mem_limit" in service, name
        assert service["restart"] == "unless-stopped", name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_every_service_is_checked(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        built = service.get("build")
        image = (ROOT / built["dockerfile"]).read_text() if built else ""
        assert "healthcheck" in service or "\nHEALTHCHECK " in image, name


def test_what_is_compiled_at_run_time_can_be_loaded() -> None:
    """Docker mounts a tmpfs noexec unless told otherwise."""
    [tmp] = load(FILES[0])["services"]["triton"]["tmpfs"]
    assert tmp.startswith("/tmp:") and "exec" in tmp.partition(":")[2].split(",")


def test_ports_are_open_to_this_machine_alone_unless_somebody_says_so(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith(("127.0.0.1:", "${LISTEN:-127.0.0.1}:")) for port in ports)


def test_the_adapters_settings_exist_and_are_met(
    compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = compose["services"]["adapter"]
    for name, value in adapter["environment"].items():
        assert name.removeprefix("TRITONGATE_").lower() in Settings.model_fields, name
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TRITONGATE_STORE_URL_FILE", raising=False)
    settings = Settings()
    assert adapter["read_only"] is True
    assert seconds(adapter["stop_grace_period"]) > settings.shutdown_timeout
    triton = compose["services"]["triton"]
    assert seconds(triton["stop_grace_period"]) > int(triton.get("environment", {}).get("EXIT_TIMEOUT", 60))


def test_secrets_are_made_by_the_script_and_mounted_where_they_are_read(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    subprocess.run([ROOT / "deploy" / "secrets.sh", tmp_path], check=True, capture_output=True)
    for name, secret in compose["secrets"].items():
        assert secret["file"] == f"deploy/secrets/{name}"
        assert (tmp_path / name).is_file(), name
    for service in compose["services"].values():
        mounted = set(service.get("secrets", []))
        text = str(service.get("environment", {}))
        assert set(re.findall(r"/run/secrets/(\w+)", text)) <= mounted <= set(compose["secrets"])


def test_prometheus_has_the_key_that_it_uses() -> None:
    compose = load(FILES[0])
    jobs = {job["job_name"]: job for job in load(ROOT / "deploy" / "prometheus" / "prometheus.yml")["scrape_configs"]}
    key = Path(jobs["tritongate"]["authorization"]["credentials_file"])
    assert key.name in compose["services"]["prometheus"]["secrets"]
    for job in jobs.values():
        [name] = job["dns_sd_configs"][0]["names"]
        assert name in compose["services"]
