"""The auxiliary models beside the diffusion model: a captioner and an image-text model.

Loaded when options first need them, kept from then on.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segmenter.options import SegmenterOptions
from segmenter.presence.calibration import Calibration
from segmenter.presence.captions import continue_texts
from segmenter.presence.models import Captioner, ImageText
from segmenter.presence.patches import Look
from segmenter.presence.scorer import PresenceScorer
from segmenter.stages import stage
from segmenter.text import Prompt, build_prompt


class AuxiliaryModels:
    """BLIP and CLIP, as far as anybody asks for them."""

    def __init__(
        self,
        captioner: Callable[[], Captioner] | None,
        image_text: Callable[[], ImageText] | None,
        calibration: Calibration,
    ) -> None:
        """Take what loads them; None for what there is not."""
        self._load_captioner = captioner
        self._load_image_text = image_text
        self._calibration = calibration
        self._captioner: Captioner | None = None
        self._scorer: PresenceScorer | None = None

    def load_for(self, options: SegmenterOptions) -> None:
        """Load what these options need.

        Raises:
            ValueError: if nothing was given to load it with.
            WeightsNotFound: if it cannot be loaded.
        """
        if options.caption or options.presence == "paper":
            if self._load_captioner is None:
                raise ValueError(
                    f"The options of {options.mode} mode ask for captions and no "
                    f"captioner was given; pass one, or set caption=False and "
                    f"presence='off'."
                )
            self._captioner = self._captioner or self._load_captioner()
        if options.presence != "off":
            if self._load_image_text is None:
                raise ValueError(
                    f"presence={options.presence!r} compares image and text and no "
                    f"image-text model was given; pass one, or set presence='off'."
                )
            self._scorer = self._scorer or PresenceScorer(
                self._load_image_text(), self._calibration
            )

    @stage("presence")
    def look(
        self,
        image: NDArray[np.uint8],
        options: SegmenterOptions,
        parts: Sequence[NDArray[np.uint8]] = (),
    ) -> Look | None:
        """What the image-text model knows of an image, whatever the labels.

        Args:
            image: uint8 (Y, X, 3).
            options: that `load_for` has seen.
            parts: of the image, which the calibrated filter looks at as well.

        Returns:
            None under options that do without that model.
        """
        if options.presence == "off":
            return None
        assert self._scorer is not None
        if options.presence == "paper":
            return self._scorer.look_at_whole(image)
        return self._scorer.look(image, parts)

    @property
    def embedding_width(self) -> int | None:
        """D, of `Look.embeddings`; None as long as there is no image-text model."""
        return None if self._scorer is None else self._scorer.embedding_width

    @stage("presence")
    def presence(
        self,
        image: NDArray[np.uint8],
        labels: tuple[str, ...],
        options: SegmenterOptions,
        *,
        seen: Tensor | None,
        evidence: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Which labels are in the picture: float32 (L,) in [0, 1].

        Args:
            image: uint8 (Y, X, 3).
            labels: L of them.
            options: that `load_for` has seen.
            seen: float32 (V, D), embeddings of a `look` under these options.
            evidence: what the maps say, see `modes.FastReading.evidence`.
        """
        if options.presence == "off" or not labels:
            return np.ones(len(labels), np.float32)
        assert self._scorer is not None
        assert seen is not None
        if options.presence == "calibrated":
            return self._scorer.by_calibration(seen, labels, evidence=evidence)
        return self._scorer.by_paper(
            seen,
            labels,
            caption=self.caption(image),
            image_similarity=options.image_similarity,
            text_similarity=options.text_similarity,
        )

    def caption(self, image: NDArray[np.uint8]) -> str:
        """What a captioner that `load_for` has loaded says of the whole picture."""
        assert self._captioner is not None
        (caption,) = continue_texts(self._captioner, image, [""])
        return caption

    def prompts(
        self,
        image: NDArray[np.uint8],
        labels: Sequence[str],
        options: SegmenterOptions,
    ) -> list[Prompt]:
        """Paper mode's prompts, continued by the captioner where options say so."""
        captions: Sequence[str | None] = [None] * len(labels)
        if options.caption and labels:
            assert self._captioner is not None
            prefixes = [options.template.replace("{label}", label) for label in labels]
            captions = continue_texts(self._captioner, image, prefixes)
        return [
            build_prompt(
                label,
                template=options.template,
                caption=caption,
                read_participle=options.read_participle,
            )
            for label, caption in zip(labels, captions, strict=True)
        ]
