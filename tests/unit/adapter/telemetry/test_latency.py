"""The histogram, read back with Prometheus' own parser."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from adapter.telemetry.latency import LatencyCounts, LatencyHistogram

BOUNDS = (0.001, 0.5, 1, 60)


def exposed(histogram: LatencyHistogram) -> dict[str, dict[str, float]]:
    """Per model: cumulative count by `le`, and `sum` and `count`."""
    registry = CollectorRegistry()
    registry.register(histogram)
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert (family.name, family.type, family.documentation) == ("latency_seconds", "histogram", "How long")
    models: dict[str, dict[str, float]] = {}
    for sample in family.samples:
        kind = sample.name.removeprefix("latency_seconds_")
        key = sample.labels["le"] if kind == "bucket" else kind
        models.setdefault(sample.labels["model"], {})[key] = sample.value
    return models


def histogram() -> LatencyHistogram:
    return LatencyHistogram("latency_seconds", "How long", BOUNDS)


def test_nothing_yet() -> None:
    assert exposed(histogram()) == {}


def test_a_bound_belongs_to_its_bucket() -> None:
    one = histogram()
    for seconds in (0.0005, 0.001, 0.0011, 1, 59.9, 61):
        one.observe("m", seconds)
    found = exposed(one)["m"]
    buckets = {float(key): value for key, value in found.items() if key not in ("sum", "count")}
    assert buckets == {0.001: 2, 0.5: 3, 1: 4, 60: 5, math.inf: 6}
    assert found["count"] == 6
    assert math.isclose(found["sum"], 0.0005 + 0.001 + 0.0011 + 1 + 59.9 + 61)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=20))
def test_merging_is_observing_one_by_one(durations: list[tuple[float, int]]) -> None:
    merged, observed = histogram(), histogram()
    counts = LatencyCounts(merged.bounds)
    observed.observe("m", 2.0)
    merged.observe("m", 2.0)
    for seconds, times in durations:
        counts.add(seconds, times)
        for _ in range(times):
            observed.observe("m", seconds)
    merged.merge("m", counts)
    one, other = exposed(merged)["m"], exposed(observed)["m"]
    assert math.isclose(one.pop("sum"), other.pop("sum"))
    assert one == other


def test_models_are_apart_whatever_their_names() -> None:
    one = histogram()
    names = ["a/b:c", 'quote"', "back\\slash", "line\nend", "é😀"]
    for times, name in enumerate(names, start=1):
        for _ in range(times):
            one.observe(name, 0.1)
    assert {name: found["count"] for name, found in exposed(one).items()} == {
        name: times for times, name in enumerate(names, start=1)
    }
