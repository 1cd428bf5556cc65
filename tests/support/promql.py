"""The PromQL of the deployment: every query of the dashboard, the alerts and the autoscaler."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def dashboard() -> dict[str, Any]:
    return json.loads((DEPLOY / "grafana" / "dashboards" / "tritongate.json").read_text())


def queries() -> list[str]:
    """Those of the dashboard, of the alerts, and the metric that the autoscaler asks for."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
    found += [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    scaling = yaml.safe_load_all((DEPLOY / "kubernetes" / "adapter" / "scaling.yaml").read_text())
    [scaler] = [one for one in scaling if one["kind"] == "HorizontalPodAutoscaler"]
    return found + [one["pods"]["metric"]["name"] for one in scaler["spec"]["metrics"] if one["type"] == "Pods"]


def selectors(query: str) -> Iterator[Any]:
    """The vector selectors of a query, with what Grafana puts in place of its variables."""
    query = query.replace("$__rate_interval", "1m").replace("$model", ".*")
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(query), visit)
    return iter(found)
