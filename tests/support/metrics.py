"""The adapter's metrics, read with Prometheus' own parser."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Metrics:
    """One reading of `/metrics`."""

    def __init__(self, url: str, *, key: str | None = None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        response = httpx.get(f"{url}/metrics", headers=headers, timeout=30.0, trust_env=False)
        response.raise_for_status()
        self.types: dict[str, str] = {}
        self._samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(response.text):
            self.types[family.name] = family.type
            for sample in family.samples:
                self._samples[sample.name, frozenset(sample.labels.items())] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name that have these labels; 0 if there are none."""
        wanted = labels.items()
        return sum(value for (found, has), value in self._samples.items() if found == name and wanted <= has)


def wait_for_metrics(
    url: str, condition: Callable[[Metrics], bool], message: str, timeout: float = 20.0, *, key: str | None = None
) -> Metrics:
    """Reads until `condition` holds; fails the test with `message` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = Metrics(url, key=key)
        if condition(found):
            return found
        assert time.monotonic() < deadline, message
        time.sleep(0.05)


def wait_until_idle(url: str, *, key: str | None = None) -> Metrics:
    """Returns when no generation is under way and no request but the one that asks."""
    return wait_for_metrics(
        url,
        lambda now: now.value("tritongate_generations_active") == 0 and now.value("tritongate_requests_in_flight") == 1,
        "generations or requests are still under way",
        key=key,
    )
