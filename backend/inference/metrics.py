"""What the backend counts, in Prometheus' terms. One registry per application."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from backend.cache import CacheStats


class Metrics:
    """Counters and timings of one application."""

    def __init__(self, cache_stats: Callable[[], CacheStats]) -> None:
        """Make the registry; `cache_stats` is asked at every scrape."""
        self._registry = CollectorRegistry()
        self._registry.register(_CacheCollector(cache_stats))
        self.images_segmented = Counter(
            "diffsegmenter_images_segmented",
            "Images that the model ran on (cache hits are not among them).",
            registry=self._registry,
        )
        self.encodings_known = Counter(
            "diffsegmenter_encodings_known",
            "Images among the segmented that were encoded before, for other labels.",
            registry=self._registry,
        )
        self.images_known = Counter(
            "diffsegmenter_images_known",
            "Images whose finished regions were kept (not decoded, nor drawn anew).",
            registry=self._registry,
        )
        self.tasks = Counter(
            "diffsegmenter_tasks",
            "Tasks answered, by outcome: predicted, failed or out_of_time.",
            ["outcome"],
            registry=self._registry,
        )
        self.invalid_regions = Counter(
            "diffsegmenter_invalid_regions",
            "Regions left out because Label Studio would refuse them; a bug if any.",
            registry=self._registry,
        )
        self.passes = Histogram(
            "diffsegmenter_pass_images",
            "Images that shared a pass of the model.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self._registry,
        )
        self.kept = Counter(
            "diffsegmenter_kept",
            "Looks for what was kept of an image, by kind (maps, features, layers or "
            "answers) and outcome (found or missing).",
            ["kind", "outcome"],
            registry=self._registry,
        )
        self.judged_regions = Counter(
            "diffsegmenter_judged_regions",
            "Regions that people submitted, by what became of them: accepted, "
            "corrected, relabelled, deleted or drawn.",
            ["outcome"],
            registry=self._registry,
        )
        self.stage_seconds = Histogram(
            "diffsegmenter_stage_seconds",
            "Wall time by stage: fetch, decode, presence, encode, backbone, maps, "
            "painting (of an image; of a pass where one is shared) and answer.",
            ["stage"],
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=self._registry,
        )
        self.predict_seconds = Histogram(
            "diffsegmenter_predict_seconds",
            "Wall time of /predict requests.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100),
            registry=self._registry,
        )

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """Time a stage: all that is done in the block."""
        return self.stage_seconds.labels(name).time()

    def note_stage(self, name: str, seconds: float) -> None:
        """Take in a stage that somebody else has timed."""
        self.stage_seconds.labels(name).observe(seconds)

    def note_kept(self, kind: str, *, is_found: bool) -> None:
        """Count a look for what was kept of an image."""
        self.kept.labels(kind, "found" if is_found else "missing").inc()

    def watch_waiting(self, waiting: Callable[[], Mapping[str, int]]) -> None:
        """Ask at every scrape how much waits, by where it does; must not raise."""
        self._registry.register(_WaitingCollector(waiting))

    def render(self) -> bytes:
        """The text that `/metrics` answers."""
        return generate_latest(self._registry)


class _WaitingCollector(Collector):
    """How much waits, as those say who have it wait."""

    def __init__(self, waiting: Callable[[], Mapping[str, int]]) -> None:
        self._waiting = waiting

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "diffsegmenter_waiting",
            "What waits, by where: images at the model, tasks in the backlog, jobs for "
            "workers.",
            labels=["where"],
        )
        for where, number in self._waiting().items():
            family.add_metric([where], number)
        return [family]


class _CacheCollector(Collector):
    """Reads the cache's own counters instead of counting a second time."""

    def __init__(self, cache_stats: Callable[[], CacheStats]) -> None:
        self._cache_stats = cache_stats

    def collect(self) -> list[CounterMetricFamily]:
        stats = self._cache_stats()
        return [
            CounterMetricFamily(
                f"diffsegmenter_cache_{name}", f"Score map cache: {name}.", value
            )
            for name, value in (
                ("hits", stats.hits),
                ("misses", stats.misses),
                ("faults", stats.faults),
            )
        ]
