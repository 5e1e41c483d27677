"""Which of the labels are in the picture at all.

Two filters; which score counts as present is the options' `presence_threshold`.

`by_paper` is the paper's category filter as its maintainer describes it
(DiffSegmenter issue 2; the code was never released): a label is kept when any of
three sources names it,

* the caption holds the word itself ("synonym matching"; we match the label's own
  words, no synonym list ships with this package);
* a word of the caption is close to the label by CLIP's text encoder (0.8 and up);
* the label's image-text similarity reaches 0.97 of the best label's. The best label
  always does, so a picture with none of the labels is not recognised here.

`by_calibration` is a probability: how well the label describes the picture beside
all other labels and words that are no labels (so that none of the labels may be
there), and, where the model's own maps were calibrated, how much of any cell the
label attracted.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from segmenter.options import PresenceFilter
from segmenter.presence.calibration import Calibration
from segmenter.presence.models import ImageText
from segmenter.presence.patches import (
    Look,
    join_parts,
    look_at,
    pooled,
    square_parts,
)

PAPER_THRESHOLD: Final = 0.5
"""Where `by_paper` puts the limits of its sources."""

_WORD = re.compile(r"\w+")
# A negative this close to a label is the label by another name, and says nothing
# against it.
_SYNONYM: Final = 0.9
_KEPT_EMBEDDINGS: Final = 4096


class PresenceScorer:
    """Scores labels by an image-text model; remembers the texts it has encoded."""

    def __init__(self, image_text: ImageText, calibration: Calibration) -> None:
        """Score with CLIP, by this calibration."""
        self._image_text = image_text
        self._calibration = calibration
        self._embedded: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def embedding_width(self) -> int:
        """D, of `Look.embeddings`."""
        return int(self._image_text.model.config.projection_dim)

    def look(
        self, pixels: NDArray[np.uint8], parts: Sequence[NDArray[np.uint8]] = ()
    ) -> Look:
        """Look at a picture's square parts, which image-text models see, and at others.

        Args:
            pixels: uint8 (Y, X, 3).
            parts: of the picture, to be looked at by themselves as well.
        """
        squares = square_parts(pixels)
        embeddings, patches = look_at(self._image_text, [*squares, *parts])
        return Look(
            embeddings=embeddings, patches=self._joined(pixels, patches[: len(squares)])
        )

    def look_at_whole(self, pixels: NDArray[np.uint8]) -> Look:
        """Look at a picture as it is; of its square parts at the patches alone."""
        squares = square_parts(pixels)
        others = [] if squares[0] is pixels else squares
        embeddings, patches = look_at(self._image_text, [pixels, *others])
        return Look(
            embeddings=embeddings[:1],
            patches=self._joined(pixels, patches[-len(squares) :]),
        )

    def _joined(self, pixels: NDArray[np.uint8], patches: Tensor) -> Tensor:
        crops = getattr(self._image_text.image_processor, "do_center_crop", False)
        return join_parts(
            patches, (pixels.shape[0], pixels.shape[1]), crops_centre=bool(crops)
        )

    def by_paper(
        self,
        seen: Tensor,
        labels: Sequence[str],
        *,
        caption: str,
        image_similarity: float,
        text_similarity: float,
    ) -> NDArray[np.float32]:
        """Run the paper's filter on one image.

        Args:
            seen: float32 (1, D), embeddings of `look_at_whole`.
            labels: L of them, at least one.
            caption: the captioner's free caption of the image.
            image_similarity: share of the best label's similarity, 0.97 in the paper.
            text_similarity: similarity to a caption word, 0.8 in the paper.

        Returns:
            float32 (L,) in [0, 1]: 0.5 at a source's limit, in proportion above and
            below it, by the source that says most; 1 for a label that the caption
            names.
        """
        embeddings = self._embed(labels)
        by_image = embeddings @ seen[0]
        relative = (by_image / by_image.max().clamp(min=1e-6)).clamp(0, 1)
        words = sorted(set(_WORD.findall(caption.lower())))
        by_text = torch.zeros(len(labels))
        if words:
            by_text = (embeddings @ self._embed(words).T).amax(dim=1).clamp(0, 1)
        named = torch.tensor([_names(words, label) for label in labels])
        nearest = torch.maximum(relative / image_similarity, by_text / text_similarity)
        scores = torch.where(named, 1.0, nearest / 2)
        return scores.numpy().astype(np.float32)

    def by_calibration(
        self,
        seen: Tensor,
        labels: Sequence[str],
        *,
        evidence: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The probability that each label is in the picture: float32 (L,).

        Args:
            seen: float32 (V, D), embeddings of `look`.
            labels: L of them, at least one.
            evidence: float32 (L,) in [0, 1], `modes.FastReading.evidence`; None
                judges by the image-text model alone.
        """
        margins = self.margins(seen, labels)
        weights = self._calibration.by_text_and_maps
        if evidence is None or weights is None:
            bias, slope = self._calibration.by_text
            logits = bias + slope * margins
        else:
            features = np.column_stack([margins, log_odds(evidence)])
            logits = weights[0] + features @ np.array(weights[1:])
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)

    def margins(self, seen: Tensor, labels: Sequence[str]) -> NDArray[np.float64]:
        """How far each label is behind the best word: float64 (L,), 0 or less, nats.

        The best of all labels and of the negatives that do not mean the same as the
        label itself. Of several looks, in the one where the label is nearest:
        image-text models see squares, and cut or squash the rest of a picture.

        Args:
            seen: float32 (V, D), embeddings of `look`.
            labels: L of them, at least one.
        """
        scale = float(self._image_text.model.logit_scale.detach().exp())
        own = self._embed(labels)
        label_logits = scale * (seen @ own.T)  # (V, L)
        best = label_logits.amax(dim=1, keepdim=True).expand_as(label_logits)
        if self._calibration.negatives:
            negatives = self._embed(self._calibration.negatives)
            others = scale * (seen @ negatives.T)  # (V, M)
            means_label = own @ negatives.T > _SYNONYM  # (L, M)
            masked = others[:, None].masked_fill(means_label, -torch.inf)
            best = torch.maximum(best, masked.amax(dim=2))
        margins = (label_logits - best).amax(dim=0)
        return np.asarray(margins.numpy(), np.float64)

    def _embed(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings, float32 (len(texts), D); each text is encoded once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._embedded]
        if new:
            for text, row in zip(new, embed_texts(self._image_text, new), strict=True):
                self._embedded[text] = row
        found = torch.stack([self._embedded[text] for text in texts])
        while len(self._embedded) > _KEPT_EMBEDDINGS:
            self._embedded.popitem(last=False)
        return found


def competition_weights(
    presence: NDArray[np.float32], presence_filter: PresenceFilter
) -> NDArray[np.float32]:
    """How much each label counts against the others: float32 (L,) in [0, 1].

    A probability is a weight. The paper's filter gives none: below its threshold a
    score says how near a label came, and most come near.
    """
    if presence_filter != "paper":
        return presence
    return (presence >= PAPER_THRESHOLD).astype(np.float32)


def log_odds(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """log(p / (1 - p)), of probabilities kept from 0 and 1 by a thousandth."""
    p = np.clip(probabilities.astype(np.float64), 0.001, 0.999)
    return np.asarray(np.log(p / (1 - p)))


@torch.no_grad()
def embed_texts(image_text: ImageText, texts: Sequence[str]) -> Tensor:
    """Unit CLIP embeddings of "a photo of a {text}": float32 (L, D) on the CPU."""
    tokens = image_text.tokenizer(
        [f"a photo of a {text}" for text in texts],
        padding=True,
        truncation=True,
        return_tensors="pt",
        split_special_tokens=True,
    ).to(image_text.model.device)
    features = image_text.model.get_text_features(
        input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
    )
    return F.normalize(pooled(features).float(), dim=-1).cpu()


def embed_image(image_text: ImageText, pixels: NDArray[np.uint8]) -> Tensor:
    """Unit CLIP embedding of an image: float32 (D,) on the CPU."""
    return embed_images(image_text, [pixels])[0]


def embed_images(
    image_text: ImageText, pictures: Sequence[NDArray[np.uint8]]
) -> Tensor:
    """Unit CLIP embeddings of images: float32 (V, D) on the CPU."""
    return look_at(image_text, pictures)[0]


def _names(words: Sequence[str], label: str) -> bool:
    own = set(_WORD.findall(label.lower()))
    return bool(own) and own <= set(words)
