"""A model that is loaded when it is needed, once."""

import atexit
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from backend.inference.batcher import DeadlineExceeded
from backend.inference.scorer import Segmenter
from segmenter import Click, SegmenterError, refine_mask

logger = logging.getLogger(__name__)

# How long a stop waits for a model that is being loaded.
_STOP_WAITS_S = 8.0


class LazySegmenter:
    """Loads the model once, in a thread of its own: at the start or when asked for.

    A failed load is tried again by the next request: the hub may be back.
    """

    def __init__(self, load: Callable[[], Segmenter]) -> None:
        """Keep for later what loads the model; it may raise `SegmenterError`."""
        self._load_model = load
        self._status = "loading"
        # Of the load under way or done; None before it, and after one that failed.
        self._loading: Future[Segmenter] | None = None
        self._lock = threading.Lock()

    @property
    def status(self) -> str:
        """Say "loading", "ready", or why the last try failed."""
        return self._status

    @property
    def kind(self) -> str | None:
        """What was loaded and where it runs, in words; None before."""
        loading = self._loading
        if loading is None or not loading.done() or loading.exception() is not None:
            return None
        return getattr(loading.result(), "kind", None)

    def get(self, timeout_s: float = threading.TIMEOUT_MAX) -> Segmenter:
        """Return the loaded segmenter, loading it when need be.

        Args:
            timeout_s: how long to wait for it; what is loading goes on loading.

        Raises:
            DeadlineExceeded: if it is not there by then.
            WeightsNotFound: if the weights cannot be had.
        """
        loading = self._begin()
        try:
            return loading.result(max(0.0, timeout_s))
        except TimeoutError as error:
            if loading.done():
                raise  # what loads the model has met a timeout of its own
            raise DeadlineExceeded from error

    def load_in_background(self) -> None:
        """Start loading without waiting for it; run model and clicks once."""
        self._start(self._preload)

    def _begin(self) -> Future[Segmenter]:
        """The load under way, begun when there is none."""
        with self._lock:
            if self._loading is None:
                self._loading = Future()
                self._start(self._load, self._loading)
            return self._loading

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        def run_and_forget() -> None:
            try:
                run(*arguments)
            finally:
                atexit.unregister(thread.join)

        # A daemon: a download of gigabytes must not hold up a stop.
        thread = threading.Thread(target=run_and_forget, name="load-model", daemon=True)
        # Yet an interpreter that ends while the thread is inside torch aborts.
        atexit.register(thread.join, _STOP_WAITS_S)
        thread.start()

    def _preload(self) -> None:
        try:
            # The first forward, and the first click, set up much that the later ones
            # find ready: let no annotator wait for it.
            black = np.zeros((64, 64, 3), np.uint8)
            (maps,) = self.get().score([black], [["picture"]])
            refine_mask(
                black,
                clicks=[Click(y=32, x=32)],
                start=None,
                maps=maps,
                label=0,
                threshold=0.5,
                presence_threshold=0.5,
            )
        # Whatever it is, the next request meets it as well, and answers with it.
        except Exception as error:
            self._status = f"failed: {error}"
            logger.error("Loading the model failed; requests will retry: %s", error)

    def _load(self, loading: Future[Segmenter]) -> None:
        try:
            segmenter = self._load_model()
        # Handed on to whoever waits, whatever it is: none of them may wait for ever.
        except BaseException as error:
            if isinstance(error, SegmenterError):
                self._status = f"failed: {error}"
            with self._lock:
                self._loading = None
            loading.set_exception(error)
            return
        self._status = "ready"
        loading.set_result(segmenter)
