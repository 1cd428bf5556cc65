"""A histogram that is cheap to feed: whole generations are added at once, not token by token."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class LatencyCounts:
    """How many durations fell into each bucket, and their sum: of one generation."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(self._bounds, seconds)] += times
        self.total += seconds * times


class LatencyHistogram(Collector):
    """A Prometheus histogram in seconds with the label `model`. Not for several threads."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._name = name
        self._documentation = documentation
        self._by_model: dict[str, LatencyCounts] = {}

    def observe(self, model: str, seconds: float) -> None:
        self._of(model).add(seconds)

    def merge(self, model: str, counts: LatencyCounts) -> None:
        total = self._of(model)
        total.counts = [one + other for one, other in zip(total.counts, counts.counts, strict=True)]
        total.total += counts.total

    def _of(self, model: str) -> LatencyCounts:
        counts = self._by_model.get(model)
        if counts is None:
            counts = self._by_model[model] = LatencyCounts(self.bounds)
        return counts

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=["model"])
        for model, counts in self._by_model.items():
            cumulative = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(str, self.bounds), "+Inf"), counts.counts, strict=True):
                cumulative += count
                buckets.append((bound, float(cumulative)))
            family.add_metric([model], buckets, counts.total)
        yield family
