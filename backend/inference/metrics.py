"""What the backend counts, in Prometheus' terms. One registry per application."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
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
        self.predict_seconds = Histogram(
            "diffsegmenter_predict_seconds",
            "Wall time of /predict requests.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100),
            registry=self._registry,
        )

    def render(self) -> bytes:
        """The text that `/metrics` answers."""
        return generate_latest(self._registry)


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
