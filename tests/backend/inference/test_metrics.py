from prometheus_client.parser import text_string_to_metric_families

from backend.cache import CacheStats
from backend.inference.metrics import Metrics


def values_of(metrics: Metrics) -> dict[str, float]:
    """What a scrape reads, by name with labels."""
    return {
        "".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_render_shows_counters_before_anything_happened() -> None:
    values = values_of(Metrics(CacheStats))

    assert values["diffsegmenter_images_segmented_total"] == 0
    assert values["diffsegmenter_cache_hits_total"] == 0
    assert values["diffsegmenter_predict_seconds_count"] == 0


def test_render_counts_tasks_by_outcome() -> None:
    metrics = Metrics(CacheStats)

    metrics.tasks.labels("predicted").inc(3)
    metrics.tasks.labels("failed").inc()
    metrics.tasks.labels("out_of_time").inc(2)

    values = values_of(metrics)
    assert values["diffsegmenter_tasks_totalpredicted"] == 3
    assert values["diffsegmenter_tasks_totalfailed"] == 1
    assert values["diffsegmenter_tasks_totalout_of_time"] == 2


def test_render_asks_the_cache_at_every_scrape() -> None:
    stats = CacheStats()
    metrics = Metrics(lambda: stats)
    metrics.render()

    stats.add(hits=3, misses=2, faults=1)

    values = values_of(metrics)
    assert values["diffsegmenter_cache_hits_total"] == 3
    assert values["diffsegmenter_cache_misses_total"] == 2
    assert values["diffsegmenter_cache_faults_total"] == 1


def test_render_sorts_seconds_into_buckets_up_to_label_studios_patience() -> None:
    metrics = Metrics(CacheStats)

    metrics.predict_seconds.observe(0.2)
    metrics.predict_seconds.observe(99)

    values = values_of(metrics)
    assert values["diffsegmenter_predict_seconds_bucket0.25"] == 1
    assert values["diffsegmenter_predict_seconds_bucket100.0"] == 2


def test_two_applications_count_apart() -> None:
    first, second = Metrics(CacheStats), Metrics(CacheStats)

    first.images_segmented.inc()

    assert values_of(second)["diffsegmenter_images_segmented_total"] == 0


def test_render_times_stages_and_counts_what_was_looked_for() -> None:
    metrics = Metrics(CacheStats)

    with metrics.stage("decode"):
        pass
    metrics.note_stage("encode", 0.02)
    metrics.note_kept("maps", is_found=True)
    metrics.note_kept("maps", is_found=False)

    values = values_of(metrics)
    assert values["diffsegmenter_stage_seconds_countdecode"] == 1
    assert values["diffsegmenter_stage_seconds_sumencode"] == 0.02
    assert values["diffsegmenter_kept_totalmapsfound"] == 1
    assert values["diffsegmenter_kept_totalmapsmissing"] == 1


def test_render_asks_at_every_scrape_what_waits() -> None:
    waiting = {"model": 1}
    metrics = Metrics(CacheStats)
    metrics.watch_waiting(lambda: waiting)
    waiting["model"] = 4

    assert values_of(metrics)["diffsegmenter_waitingmodel"] == 4
