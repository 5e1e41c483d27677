"""Stand-ins that we own: a segmenter that sees colours, a cache in a dict.

Masks made with them can be checked by eye: no torch, no weights. With them come
the pictures that they understand.
"""

import base64
import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.cache import Cache
from backend.cache.store import CacheSize, LeaseState
from backend.images import ImageFetcher
from backend.inference import Metrics, Predictor, Scorer
from backend.types import ControlDefaults, CutOptions
from segmenter import MODES, ImageEncoding, Mode, ScoreMaps, SegmenterOptions
from segmenter.layer_grid import WIDTHS, pack_groups

Pixels = NDArray[np.uint8]

COLOURS: Final = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
MODEL_VERSION: Final = "diffsegmenter-colours-0"


OPTIONS: Final = {mode: SegmenterOptions(mode=mode) for mode in MODES}


def defaults_of(cut: CutOptions, mode: Mode = "fast") -> ControlDefaults:
    """Defaults that cut in the same way whatever the mode."""
    return ControlDefaults(mode=mode, cuts=dict.fromkeys(MODES, cut))


def _do_nothing(pixels: Pixels) -> None:
    pass


class ColourSegmenter:
    """Finds the labels "red", "green" and "blue" by colour, and no other.

    Args:
        before: called with every image before it is scored; may raise, wait, or
            break something.
        presence: of labels that a presence filter would find less than present.
    """

    def __init__(
        self,
        before: Callable[[Pixels], None] = _do_nothing,
        presence: Mapping[str, float] | None = None,
    ) -> None:
        self.before = before
        self.presence = presence or {}
        self.asked: list[tuple[str, ...]] = []
        self.images_per_pass = 1
        self.modes: list[Mode] = []
        self.presence_thresholds: list[float] = []
        self.batches: list[int] = []
        # What every pass is to know of an image beside its maps.
        self.features: NDArray[np.float16] | None = None
        # What was known of every image, whatever its labels.
        self.known: list[ImageEncoding | None] = []
        # Whether every call was to tell what a pass knows beside its maps.
        self.read_cells: list[bool] = []

    @property
    def calls(self) -> int:
        """How many images were scored, or tried."""
        return len(self.asked)

    def score(
        self,
        images: Sequence[Pixels],
        labels: Sequence[Sequence[str]],
        *,
        options: SegmenterOptions | None = None,
        encodings: Sequence[ImageEncoding | None] | None = None,
        reads_cells: bool = True,
    ) -> list[ScoreMaps]:
        self.read_cells.append(reads_cells)
        self.known += encodings or [None] * len(images)
        self.batches.append(len(images))
        options = options or SegmenterOptions()
        self.modes += [options.mode] * len(images)
        self.presence_thresholds += [options.presence_threshold] * len(images)
        return [
            self._score_one(pixels, tuple(names))
            for pixels, names in zip(images, labels, strict=True)
        ]

    def _score_one(self, pixels: Pixels, labels: tuple[str, ...]) -> ScoreMaps:
        self.asked.append(labels)
        self.before(pixels)
        return ScoreMaps(
            labels=labels,
            maps=np.array(
                [colour_map(pixels, label) for label in labels], np.float16
            ).reshape(-1, *pixels.shape[:2]),
            presence=np.array(
                [self.presence.get(label, 1.0) for label in labels], np.float32
            ),
            size_yx=(pixels.shape[0], pixels.shape[1]),
            features=self.features,
            # By which a head tells colours apart, those without a name as well.
            layers=colour_layers(pixels),
            encoding=ImageEncoding(
                latents=(pixels[None].astype(np.float32).transpose(0, 3, 1, 2),)
            ),
        )


def colour_map(pixels: Pixels, label: str) -> NDArray[np.float16]:
    """How near every pixel is to the label's colour: float16 (Y, X) in [0, 1]."""
    if label not in COLOURS:
        return np.zeros(pixels.shape[:2], np.float16)
    away = np.abs(pixels.astype(np.float32) - COLOURS[label]).max(axis=2)
    return (1 - away / 255).astype(np.float16)


def colour_layers(pixels: Pixels) -> NDArray[np.float16]:
    """The colours of some pixels, as a pass would tell what it knew of cells."""
    step_y, step_x = (-(-side // 32) for side in pixels.shape[:2])
    colours = (pixels[::step_y, ::step_x].transpose(2, 0, 1) / 255).astype(np.float32)
    groups = []
    for group, width in enumerate(WIDTHS):
        own = colours[:, :: 1 << group, :: 1 << group]
        rest = np.zeros((width - 3, *own.shape[1:]), np.float32)
        groups.append(np.concatenate([own, rest]))
    return pack_groups(groups)


class MemoryStore:
    """`backend.cache.store.LeasingStore` in a dict that cannot fail."""

    unreachable = refused = secrets = ()

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.leases: dict[str, str] = {}

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self.values.get(key) for key in keys]

    def put(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def acquire(
        self, keys: Sequence[str], token: str, ttl_s: float
    ) -> list[LeaseState]:
        return [
            LeaseState(
                value=self.values.get(key),
                is_leased=self.leases.setdefault(key, token) != token,
            )
            for key in keys
        ]

    def renew(self, keys: Sequence[str], token: str, ttl_s: float) -> None:
        pass

    def release(self, keys: Sequence[str], token: str) -> None:
        for key in keys:
            if self.leases.get(key) == token:
                del self.leases[key]

    def peek(self, key: str) -> LeaseState:
        return LeaseState(value=self.values.get(key), is_leased=key in self.leases)

    def measure(self) -> CacheSize:
        sizes = [len(value) for value in self.values.values()]
        return CacheSize(entries=len(sizes), bytes=sum(sizes))

    def clear(self) -> int:
        n_values = len(self.values)
        self.values.clear()
        return n_values

    def describe(self) -> str:
        return "A dict"

    def close(self) -> None:
        pass


class MemoryCache(Cache):
    """A cache that a test can look into."""

    def __init__(self) -> None:
        store = MemoryStore()
        super().__init__(store)
        self.values, self.leases = store.values, store.leases


def make_predictor(segmenter: ColourSegmenter, /, **parts: Any) -> Predictor:
    """A Predictor of fakes; `parts` replaces any field of it or its scorer."""
    cache = parts.pop("cache", None) or MemoryCache()
    metrics = Metrics(lambda: cache.stats)
    clock = parts.pop("clock", time.monotonic)
    scorer = Scorer(
        cache=cache,
        metrics=metrics,
        weights_fingerprint=parts.pop("weights_fingerprint", "colours"),
        options=parts.pop("options", OPTIONS),
        features=parts.pop("features", None),
        layers=parts.pop("layers", None),
        encodings=parts.pop("encodings", None),
        clock=clock,
    )
    defaults: dict[str, Any] = {
        "segmenter": lambda timeout_s: segmenter,
        "fetcher": ImageFetcher(timeout_s=5),
        "scorer": scorer,
        "metrics": metrics,
        "version_of": lambda fingerprint: MODEL_VERSION,
        # Pictures of a few pixels: every one of them counts.
        "defaults": defaults_of(CutOptions(threshold_01=0.5, min_area_01=0)),
        "budget_s": 80.0,
        "clock": clock,
    }
    return Predictor(**{**defaults, **parts})


def striped(*colours: str, size_yx: tuple[int, int] = (4, 6)) -> Pixels:
    """A picture of upright stripes of equal width; "white" and "black" as well."""
    rows, columns = size_yx
    values = {**COLOURS, "white": (255, 255, 255), "black": (0, 0, 0)}
    palette = np.array([values[colour] for colour in colours], np.uint8)
    stripes = np.arange(columns) * len(colours) // columns
    return np.repeat(palette[stripes][None], rows, axis=0)


def encoded(image: Pixels | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    pillow_image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    pillow_image.save(file, kind, **options)
    return file.getvalue()


def data_uri(data: bytes, media_type: str = "image/png") -> str:
    """An address that holds the image itself."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def picture(*colours: str, size_yx: tuple[int, int] = (4, 6)) -> str:
    """The address of a striped PNG."""
    return data_uri(encoded(striped(*colours, size_yx=size_yx)))


def brush_config(labels: str, control: str = "") -> str:
    """A labeling config: `<Label>` tags, and attributes of their control."""
    return (
        '<View><Image name="image" value="$image"/>'
        f'<BrushLabels name="tag" toName="image" {control}>{labels}'
        "</BrushLabels></View>"
    )


RED_AND_BLUE: Final = brush_config('<Label value="red"/><Label value="blue"/>')
