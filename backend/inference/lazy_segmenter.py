"""A model that is loaded when it is needed, once."""

import atexit
import logging
import threading
from collections.abc import Callable

import numpy as np

from backend.inference.scorer import Segmenter
from segmenter import SegmenterError

logger = logging.getLogger(__name__)

# How long a stop waits for a model that is being loaded.
_STOP_WAITS_S = 8.0


class LazySegmenter:
    """Loads the model once, in the background or at the first request.

    A failed load is tried again by the next request: the hub may be back.
    """

    def __init__(self, load: Callable[[], Segmenter]) -> None:
        """Keep for later what loads the model; it may raise `SegmenterError`."""
        self._load_model = load
        self._segmenter: Segmenter | None = None
        self._status = "loading"
        self._lock = threading.Lock()

    @property
    def status(self) -> str:
        """Say "loading", "ready", or why the last try failed."""
        return self._status

    def get(self) -> Segmenter:
        """Return the loaded segmenter, loading it when need be.

        Raises:
            WeightsNotFound: if the weights cannot be had.
        """
        with self._lock:
            if self._segmenter is None:
                self._segmenter = self._load()
            return self._segmenter

    def load_in_background(self) -> None:
        """Start loading without waiting for it."""
        thread = threading.Thread(target=self._preload, name="load-model", daemon=True)
        thread.start()
        # An interpreter that ends while the thread is inside torch aborts. A daemon
        # all the same: a download of gigabytes must not hold up a stop.
        atexit.register(thread.join, _STOP_WAITS_S)

    def _preload(self) -> None:
        try:
            # The first forward sets up much that the later ones find ready: let no
            # annotator wait for it.
            self.get().score([np.zeros((64, 64, 3), np.uint8)], [["picture"]])
        # Whatever it is, the next request meets it as well, and answers with it.
        except Exception as error:
            self._status = f"failed: {error}"
            logger.error("Loading the model failed; requests will retry: %s", error)

    def _load(self) -> Segmenter:
        try:
            segmenter = self._load_model()
        except SegmenterError as error:
            self._status = f"failed: {error}"
            raise
        self._status = "ready"
        return segmenter
