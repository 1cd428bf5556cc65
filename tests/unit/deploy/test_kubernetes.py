"""The manifests: valid by Kubernetes' own schemas, and in keeping with the adapter's settings and metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
from textwrap import indent
from typing import Any

import kubernetes_validate
import pytest
import yaml

from adapter.settings import Settings
from adapter.telemetry.metrics import REGISTRY

from .repository_files import DEPLOY, load

KUBERNETES = DEPLOY / "kubernetes"
VERSION = "1.33"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
OTHERS = {"LeaderWorkerSet", "ServiceMonitor", "PrometheusRule"}  # of operators; no schema is at hand

Resource = dict[str, Any]


def resources(overlay: str) -> list[Resource]:
    kubectl = shutil.which("kubectl") or shutil.which("kustomize")
    if kubectl is None:
        pytest.skip("neither kubectl nor kustomize is installed")
    command = [kubectl, "kustomize" if kubectl.endswith("kubectl") else "build", KUBERNETES / "overlays" / overlay]
    return list(yaml.safe_load_all(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def pods(resource: Resource) -> list[tuple[Resource, Resource]]:
    """Labels and pod specification of each template in a resource."""
    spec = resource.get("spec", {})
    group = spec.get("leaderWorkerTemplate", {})
    templates = [spec.get("template"), group.get("leaderTemplate"), group.get("workerTemplate")]
    return [(one["metadata"]["labels"], one["spec"]) for one in templates if isinstance(one, dict)]


def test_files_are_valid_as_they_are() -> None:
    """Also where nothing can render the overlays."""
    seen = 0
    for path in KUBERNETES.rglob("*.yaml"):
        for resource in yaml.safe_load_all(path.read_text()):
            if "apiVersion" not in resource or resource["kind"] in {"Kustomization", "Component", *OTHERS}:
                continue
            kubernetes_validate.validate(resource, VERSION, strict=True)
            seen += 1
    assert seen > 8


@pytest.mark.parametrize("overlay", OVERLAYS)
class TestOverlay:
    def test_is_valid(self, overlay: str) -> None:
        for resource in resources(overlay):
            if resource["kind"] not in OTHERS:
                kubernetes_validate.validate(resource, VERSION, strict=True)
            for labels, spec in pods(resource):
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": labels}, "spec": spec}
                kubernetes_validate.validate(pod, VERSION, strict=True)

    def test_pods_are_locked_down_and_bounded(self, overlay: str) -> None:
        for resource in resources(overlay):
            for _, spec in pods(resource):
                assert spec["automountServiceAccountToken"] is False
                # TRITONGATE_PORT would be that of the Service of this name, and not what the adapter listens on.
                assert spec["enableServiceLinks"] is False
                assert spec["securityContext"]["runAsNonRoot"] is True
                for container in spec["containers"]:
                    security = container["securityContext"]
                    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
                    assert security["capabilities"] == {"drop": ["ALL"]}
                    assert "memory" in container["resources"]["limits"]
                    assert "readinessProbe" in container
                    assert re.search(r":\d+\.\d+\.\d+$", container["image"])
                    names = {volume["name"] for volume in spec["volumes"]}
                    assert {mount["name"] for mount in container["volumeMounts"]} == names

    def test_selectors_find_the_pods_they_are_for(self, overlay: str) -> None:
        found = resources(overlay)
        labels = [labels for resource in found for labels, _ in pods(resource)]

        def hits(selector: Resource) -> int:
            return sum(selector.items() <= one.items() for one in labels)

        for resource in found:
            spec = resource.get("spec", {})
            if resource["kind"] == "Service":
                assert hits(spec["selector"]) == 1, resource["metadata"]["name"]
            elif resource["kind"] == "PodDisruptionBudget":
                assert hits(spec["selector"]["matchLabels"]) == 1
            elif resource["kind"] == "NetworkPolicy":
                assert hits(spec["podSelector"]["matchLabels"]) >= 1
            elif resource["kind"] == "Deployment":
                assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
            elif resource["kind"] == "ServiceMonitor":
                wanted = spec["selector"]["matchLabels"].items()
                services = [one for one in found if one["kind"] == "Service"]
                [service] = [one for one in services if wanted <= one["metadata"]["labels"].items()]
                ports = {port["name"] for port in service["spec"]["ports"]}
                assert {end["port"] for end in spec["endpoints"]} <= ports

    def test_gpus_are_as_many_as_the_launcher_starts(self, overlay: str) -> None:
        for resource in resources(overlay):
            size = resource.get("spec", {}).get("leaderWorkerTemplate", {}).get("size", 1)
            for labels, spec in pods(resource):
                if labels["app.kubernetes.io/component"] != "triton":
                    continue
                [container] = spec["containers"]
                told = {item["name"]: item["value"] for item in container["env"]}
                gpus = container["resources"]["limits"]["nvidia.com/gpu"]
                assert int(told["WORLD_SIZE"]) == size * int(gpus)
                assert (told["LAUNCH"] == "plain") == (told["WORLD_SIZE"] == "1")
                assert spec["terminationGracePeriodSeconds"] > int(told["EXIT_TIMEOUT"]) + 10

    def test_the_adapters_settings_exist_and_are_met(self, overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
        found = resources(overlay)
        [settings] = [
            one["data"] for one in found if one["kind"] == "ConfigMap" and "TRITONGATE_TRITON_URL" in one["data"]
        ]
        for name, value in settings.items():
            assert name.removeprefix("TRITONGATE_").lower() in Settings.model_fields, name
            if name != "TRITONGATE_STORE_URL_FILE":
                monkeypatch.setenv(name, value)
        [adapter] = [
            one for one in found if one["metadata"]["name"] == "tritongate-adapter" and one["kind"] == "Deployment"
        ]
        spec = adapter["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > Settings().shutdown_timeout + 10
        service, _, port = settings["TRITONGATE_TRITON_URL"].removeprefix("grpc+dns://").partition(":")
        [triton] = [one for one in found if one["kind"] == "Service" and one["metadata"]["name"] == service]
        assert triton["spec"]["clusterIP"] == "None"
        assert int(port) in [one["port"] for one in triton["spec"]["ports"]]


def test_alerts_are_the_same_for_the_operator_as_for_compose() -> None:
    [rule] = [one for one in resources("monitored") if one["kind"] == "PrometheusRule"]
    assert rule["spec"] == load(DEPLOY / "prometheus" / "rules.yml")
    text = (KUBERNETES / "monitoring" / "rules.yaml").read_text()
    assert text.partition("\nspec:\n")[2] == indent((DEPLOY / "prometheus" / "rules.yml").read_text(), "  ")


def test_no_service_of_ours_has_the_name_of_leader_worker_sets_own() -> None:
    found = resources("multi-node")
    names = {
        kind: {one["metadata"]["name"] for one in found if one["kind"] == kind}
        for kind in ("LeaderWorkerSet", "Service")
    }
    assert names["LeaderWorkerSet"] and not names["LeaderWorkerSet"] & names["Service"]


def test_the_autoscaler_asks_for_a_metric_that_exists() -> None:
    [scaler, _] = yaml.safe_load_all((KUBERNETES / "adapter" / "scaling.yaml").read_text())
    [pods_metric] = [one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"] if one["type"] == "Pods"]
    assert pods_metric in REGISTRY._names_to_collectors
    [rule] = load(KUBERNETES / "monitoring" / "prometheus-adapter.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == pods_metric
    assert rule["seriesQuery"].startswith(pods_metric + "{")
