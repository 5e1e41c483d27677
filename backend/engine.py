"""The composition root: settings in, what answers predict requests out.

The only place that knows every part, and (through `segmenter.load_segmenter`) the
only one that loads weights.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from backend.cache import (
    MAX_LAYER_BYTES,
    Cache,
    FeatureStore,
    FinishedStore,
    Slots,
    open_cache,
)
from backend.feedback import (
    FeedbackStore,
    TaughtProjects,
    Teacher,
    open_feedback_store,
)
from backend.images import ImageFetcher
from backend.inference import (
    LazySegmenter,
    Metrics,
    Predictor,
    Scorer,
    Segmenter,
    model_version,
    nothing_taught,
    weights_fingerprint,
)
from backend.settings import Settings
from backend.types import ControlDefaults
from segmenter import (
    MODES,
    Mode,
    ModelSource,
    SegmenterOptions,
    UnusableDevice,
    UnusablePrecision,
    WeightsNotFound,
    find_recipe,
    load_segmenter,
    recipe_options,
)

# Requests that may wait beside those that are answered, each in a thread.
MAX_PENDING_REQUESTS = 128
# Of label configs with what was learned of them.
_VERSIONS_KEPT = 256


def segmenter_options(settings: Settings) -> dict[Mode, SegmenterOptions]:
    """How to segment in each mode.

    What is unset is as the recipe of the model's family has it, or else the mode.
    """
    # None takes the recipe's, or the mode's.
    given: dict[str, Any] = {
        "aspect": settings.aspect,
        "background_words": settings.background_words,
        "boundaries": settings.boundaries,
        "caption": settings.caption,
        "images_per_pass": settings.batch_size,
        "max_windows": settings.max_windows,
        "presence": settings.presence,
        "presence_threshold": settings.presence_threshold_01,
        "threshold": settings.score_threshold_01,
    }
    try:
        recipe = find_recipe(ModelSource.parse(settings.model))
    except WeightsNotFound:
        # Whoever builds an engine of such settings is told.
        recipe = "pocket"
    return {
        mode: recipe_options(
            recipe,
            mode,
            given | {"as_published": mode == "paper" and settings.as_published},
        )
        for mode in MODES
    }


def control_defaults(settings: Settings) -> ControlDefaults:
    """What holds for a control of a label config that does not say."""
    return ControlDefaults(
        mode=settings.mode,
        cuts={
            mode: settings.cut_options(options)
            for mode, options in segmenter_options(settings).items()
        },
    )


def settings_cache(settings: Settings) -> Cache:
    """The cache that the settings ask for; nothing is reached for yet.

    Raises:
        SettingsError: if REDIS_URL cannot be read.
    """
    redis_url = settings.redis_url
    return open_cache(
        redis_url.get_secret_value() if redis_url else None,
        settings.cache_dir,
        settings.cache_ttl_s,
    )


def settings_feedback(settings: Settings) -> FeedbackStore:
    """Where corrections are kept by the settings; nothing is reached for yet.

    Raises:
        SettingsError: if REDIS_URL cannot be read.
    """
    redis_url = settings.redis_url
    return open_feedback_store(
        redis_url.get_secret_value() if redis_url else None, settings.cache_dir
    )


def _load(settings: Settings, options: SegmenterOptions) -> Segmenter:
    try:
        return load_segmenter(
            settings.model,
            options,
            device=settings.device,
            dtype=settings.dtype,
            compiles=settings.compile,
        )
    except (UnusableDevice, UnusablePrecision) as error:
        reason = error.reason if isinstance(error, UnusableDevice) else error
        raise WeightsNotFound(
            settings.model,
            f"DEVICE={settings.device} with DTYPE={settings.dtype} cannot run it "
            f"({reason}); DEVICE=auto and DTYPE=auto use what there is",
        ) from error
    # What the parts of a model say of each other where no refusal foresees it.
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsNotFound(
            settings.model, f"its parts do not work together ({reason})"
        ) from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Engine:
    """What answers predict requests, whoever asks.

    Attributes:
        predictor: the answers.
        segmenter: the model, loaded at the first request.
        cache: score maps between requests.
        metrics: counters of all three.
        feedback: what people corrected; None where nothing is to be learned.
        teacher: learns of it; None as well.
    """

    predictor: Predictor
    segmenter: LazySegmenter
    cache: Cache
    metrics: Metrics
    feedback: FeedbackStore | None = None
    teacher: Teacher | None = None


def build_engine(
    settings: Settings,
    *,
    load: Callable[[], Segmenter] | None = None,
    feedback: FeedbackStore | None = None,
) -> Engine:
    """Put together what answers predict requests; nothing is loaded yet.

    Args:
        settings: of the operator.
        load: gives another model than the settings name.
        feedback: another store than the settings name.

    Raises:
        WeightsNotFound: if the model's name cannot be one.
        SettingsError: if REDIS_URL cannot be one.
    """
    source = ModelSource.parse(settings.model)
    options = segmenter_options(settings)
    cache = settings_cache(settings)
    metrics = Metrics(lambda: cache.stats)
    on_demand = LazySegmenter(load or (lambda: _load(settings, options[settings.mode])))
    scorer = Scorer(
        cache=cache,
        metrics=metrics,
        weights_fingerprint=weights_fingerprint(source, settings.dtype),
        options=options,
        features=FeatureStore(
            Slots(cache, "features", settings.click_cache_images),
            max_bytes=settings.click_memory_bytes // 2,
        ),
        layers=_layers(settings, cache),
    )
    store = (feedback or settings_feedback(settings)) if settings.learning else None
    predictor = Predictor(
        segmenter=on_demand.get,
        fetcher=image_fetcher(settings),
        scorer=scorer,
        metrics=metrics,
        version_of=lru_cache(maxsize=_VERSIONS_KEPT)(
            partial(model_version, source, options, settings.mode, dtype=settings.dtype)
        ),
        defaults=control_defaults(settings),
        budget_s=settings.predict_budget_s,
        max_concurrent=threading.Semaphore(settings.threads),
        max_pending=threading.Semaphore(settings.threads + MAX_PENDING_REQUESTS),
        taught=nothing_taught if store is None else TaughtProjects(store),
        finished=FinishedStore(
            cache,
            max_bytes=settings.answer_memory_bytes,
            max_cache_bytes=settings.answer_cache_bytes,
        ),
    )
    teacher = None
    if store is not None:
        teacher = Teacher(
            store=store,
            leases=cache,
            models=frozenset(map(scorer.maps_name, MODES)),
            learn_after=settings.learn_after,
        )
    return Engine(
        predictor=predictor,
        segmenter=on_demand,
        cache=cache,
        metrics=metrics,
        feedback=store,
        teacher=teacher,
    )


def _layers(settings: Settings, cache: Cache) -> FeatureStore | None:
    """Where what heads read of images is kept; nowhere if nothing is learned."""
    if not settings.learning:
        return None
    return FeatureStore(
        Slots(cache, "layers", settings.learn_cache_images),
        max_bytes=settings.learn_memory_bytes,
        largest_bytes=MAX_LAYER_BYTES,
    )


def image_fetcher(settings: Settings) -> ImageFetcher:
    """The reader of images within the settings' limits."""
    return ImageFetcher(
        max_bytes=settings.image_max_bytes,
        max_pixels=settings.image_max_pixels,
        max_pixels_held=settings.max_pixels_in_flight,
        timeout_s=settings.fetch_timeout_s,
        image_hosts=settings.image_hosts,
        max_redirects=settings.image_max_redirects,
        formats=settings.image_formats,
        local_files_root=settings.local_files_root,
        recent_bytes=settings.click_memory_bytes // 2,
    )


def configure_logging(level: str) -> None:
    """One line per event on standard error."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
