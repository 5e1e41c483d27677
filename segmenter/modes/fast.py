"""Fast mode: one pass of the model for any number of labels.

All labels stand in the text that drives the pass, compete for every cell, and are
refined by the same self-attention. What no map needs is not computed: there is no
unconditional half, the model stops after the last layer that is read, and the words of
a label set are encoded once for all images.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segmenter.backbones import Sample, SampleReading, VocabularyTokens
from segmenter.modes.features import cell_features
from segmenter.modes.layers import cell_layers
from segmenter.modes.maps import (
    compete,
    fuse_levels,
    keep_off_background,
    level_on_canvas,
    refine_over_windows,
    resize,
    stretch,
)
from segmenter.modes.passes import Passes, size_yx
from segmenter.modes.windows import Layout
from segmenter.text import TextEncoding, build_vocabulary

# Label sets whose embeddings and keys are kept: 5 to 20 MB each for Stable Diffusion.
_KEPT_LABEL_SETS: Final = 16

# Weight of the whole image beside its windows. On pocket scenes without it, objects
# larger than a window fell apart; at a half, small ones were lost
# (`tests/bench/bench_shapes.py`).
_SHARE_OF_WHOLE_01: Final = 1 / 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """One image and what to look for.

    Attributes:
        image: uint8 (rows, columns, 3).
        labels: at least one, each once.
        caption: of the image, "" for none.
    """

    image: NDArray[np.uint8]
    labels: tuple[str, ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class FastReading:
    """What was read of one image, before anything is known of presence.

    Attributes:
        rows: float32 (R, Y, X), attention to the labels, the background words and
            the start token, mean over layers, heads and levels.
        coarsest: the same of the coarsest level alone.
        windows: one reading per window.
        layout: of the windows, in cells of the maps.
        n_labels: how many of the rows are labels.
        whole: the same of the whole image in one window, where there are several.
    """

    rows: Tensor
    coarsest: Tensor
    windows: list[SampleReading]
    layout: Layout
    n_labels: int
    whole: "FastReading | None" = None

    @property
    def evidence(self) -> NDArray[np.float32]:
        """What the maps say of presence: float32 (L,) in [0, 1].

        The highest share of any cell that a label has against all other rows, at
        the coarsest level: on the pocket model that tells more than finer ones do.
        Of an image in windows, what one of them shows or the whole.
        """
        shares = self.coarsest / self.coarsest.sum(dim=0).clamp(min=1e-12)
        peaks: NDArray[np.float32] = shares.amax(dim=(1, 2)).cpu().numpy()
        own = peaks[: self.n_labels]
        return own if self.whole is None else np.maximum(own, self.whole.evidence)

    @property
    def features(self) -> NDArray[np.float16] | None:
        """What clicks need, see `cell_features`.

        Of an image in windows as the whole shows it: a window knows nothing of what
        an object is beyond its edge.
        """
        if self.whole is not None:
            return self.whole.features
        return cell_features(self.windows, self.layout)

    def layers(self, patches: Tensor | None) -> NDArray[np.float16] | None:
        """What labels are taught by, see `cell_layers`; of the whole, as features."""
        if self.whole is not None:
            return self.whole.layers(patches)
        return cell_layers(self.windows, self.layout, patches)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Words:
    """A label set, encoded."""

    text: TextEncoding
    tokens: VocabularyTokens
    n_labels: int


class FastMode:
    """Reads many images in few passes. Not thread-safe, as its passes are not."""

    def __init__(self, passes: Passes) -> None:
        """Read by these passes, which are under fast mode's options."""
        self._passes = passes
        self._words: OrderedDict[tuple[tuple[str, ...], str], _Words] = OrderedDict()

    def read(self, requests: Sequence[Request]) -> Iterator[FastReading]:
        """Read every image, several in a pass.

        Raises:
            BadLabel: if a label has no token.
        """
        views = [self._passes.views(size_yx(request.image)) for request in requests]
        readings = self._read_views(
            (request, cells)
            for request, own in zip(requests, views, strict=True)
            for cells in own
        )
        for own in views:
            reading = next(readings)
            yield replace(reading, whole=next(readings)) if len(own) > 1 else reading

    def _read_views(
        self, views: Iterable[tuple[Request, Layout]]
    ) -> Iterator[FastReading]:
        """Read views of images, those of one size in common passes."""
        limit = self._passes.max_batch
        batch: list[tuple[Request, Layout]] = []
        for request, cells in views:
            n_windows = sum(len(layout.origins_yx) for _, layout in batch)
            if batch and (
                n_windows + len(cells.origins_yx) > limit
                or cells.window_yx != batch[0][1].window_yx
            ):
                yield from self._read_batch(batch)
                batch = []
            batch.append((request, cells))
        if batch:
            yield from self._read_batch(batch)

    def maps(self, reading: FastReading, weights: Tensor) -> NDArray[np.float16]:
        """Score maps: float16 (L, Y, X) in [0, 1].

        Args:
            reading: of the image.
            weights: float (L,) in [0, 1], how much each label counts against the
                others; see `maps.compete`.
        """
        words = self._refined(reading, weights)
        if reading.whole is not None:
            # A window sees small things that the whole image does not show, and the
            # whole image what large ones are.
            whole = self._refined(reading.whole, weights)
            words = words.lerp(
                resize(whole, reading.layout.canvas_yx), _SHARE_OF_WHOLE_01
            )
        if self._passes.options.stretched:
            words = stretch(words)
        labels = keep_off_background(
            words[: reading.n_labels], words[reading.n_labels :]
        )
        return labels.to("cpu", torch.float16).numpy()

    def _refined(self, reading: FastReading, weights: Tensor) -> Tensor:
        """Labels and background words after competition and self-attention."""
        options = self._passes.options
        words = reading.rows[:-1]
        if options.competition:
            n_words = len(words) - reading.n_labels
            counts = torch.cat([weights.to(words), words.new_ones(n_words)])
            # Whoever asks for a label that is not there (a threshold of 0) finds a
            # map of it, which took nothing from the others.
            own = torch.where(counts > 0, counts, 1.0)
            # Alone, a label has a share of 1 everywhere.
            has_start = options.start_token or not n_words
            rows = reading.rows if has_start else words
            words = compete(rows, counts, own=own)
        for _ in range(options.self_attention_products):
            words = refine_over_windows(words, reading.windows, reading.layout)
        return words

    def _read_batch(
        self, batch: Sequence[tuple[Request, Layout]]
    ) -> Iterator[FastReading]:
        """Images that share a pass, or one that needs several."""
        passes = self._passes
        pixels = torch.cat([passes.cut(r.image, cells) for r, cells in batch])
        noise = torch.cat([passes.noise(cells) for _, cells in batch], dim=1)
        words = [self._encode(request) for request, _ in batch]
        owners = [
            own
            for own, (_, cells) in zip(words, batch, strict=True)
            for _ in cells.origins_yx
        ]
        readings: list[SampleReading] = []
        for start in range(0, len(pixels), passes.max_batch):
            some = slice(start, start + passes.max_batch)
            latents = passes.latents(pixels[some], noise[:, some])
            readings += passes.read(
                [
                    Sample(latent=latent, text=own.text, tokens=own.tokens)
                    for latent, own in zip(latents, owners[some], strict=True)
                ]
            )
        for own, (_, cells) in zip(words, batch, strict=True):
            count = len(cells.origins_yx)
            yield self._assemble(readings[:count], cells, own.n_labels)
            readings = readings[count:]

    def _assemble(
        self, windows: list[SampleReading], cells: Layout, n_labels: int
    ) -> FastReading:
        layout = self._passes.map_layout(cells)
        return FastReading(
            rows=fuse_levels(windows, layout, stretches=False),
            coarsest=level_on_canvas(windows, layout, 0),
            windows=windows,
            layout=layout,
            n_labels=n_labels,
        )

    def _encode(self, request: Request) -> _Words:
        """A label set's embeddings, and what the model keeps of them, if met before."""
        key = (request.labels, request.caption)
        if key in self._words:
            self._words.move_to_end(key)
            return self._words[key]
        text = self._passes.text
        vocabulary = build_vocabulary(
            text.tokenizer,
            request.labels,
            background_words=self._passes.options.background_words,
            caption=request.caption,
            separator=self._passes.options.separator,
        )
        encoded = text.encode(vocabulary.token_ids)
        words = _Words(
            text=encoded.sample(0),
            tokens=VocabularyTokens(
                texts=encoded, kept=vocabulary.kept, weights=vocabulary.read
            ),
            n_labels=vocabulary.n_labels,
        )
        # A caption is one image's own; its words are not met again.
        if not request.caption:
            self._words[key] = words
            if len(self._words) > _KEPT_LABEL_SETS:
                self._words.popitem(last=False)
        return words
