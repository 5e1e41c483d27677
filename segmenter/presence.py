"""Which of the labels are in the picture at all.

The paper's category filter as its maintainer describes it (DiffSegmenter issue 2;
the code was never released): a label is kept when any of three sources names it,

* the caption holds the word itself ("synonym matching"; we match the label's own
  words, no synonym list ships with this package);
* a word of the caption is close to the label by CLIP's text encoder (0.8 and up);
* the label's image-text similarity reaches 0.97 of the best label's. The best label
  always does, so a picture with none of the labels is not recognised here.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from segmenter.weights import ImageText

_WORD = re.compile(r"\w+")


@torch.no_grad()
def paper_filter(
    image_text: ImageText,
    pixels: NDArray[np.uint8],
    labels: Sequence[str],
    *,
    caption: str,
    image_similarity: float,
    text_similarity: float,
) -> NDArray[np.float32]:
    """Run the paper's filter on one image.

    Args:
        image_text: CLIP.
        pixels: uint8 (Y, X, 3).
        labels: L of them.
        caption: the captioner's free caption of the image.
        image_similarity: share of the best label's similarity, 0.97 in the paper.
        text_similarity: similarity to a caption word, 0.8 in the paper.

    Returns:
        float32 (L,) in [0, 1]: 1 for the labels that any source keeps, otherwise
        the share of the way to the nearest source's limit.
    """
    label_embeddings = embed_texts(image_text, labels)
    by_image = label_embeddings @ embed_image(image_text, pixels)
    relative = (by_image / by_image.max().clamp(min=1e-6)).clamp(0, 1)
    words = sorted(set(_WORD.findall(caption.lower())))
    by_text = torch.zeros(len(labels))
    if words:
        by_text = (label_embeddings @ embed_texts(image_text, words).T).amax(dim=1)
    named = torch.tensor([_names(words, label) for label in labels])
    nearest = torch.maximum(relative / image_similarity, by_text / text_similarity)
    scores = torch.where(named, 1.0, nearest.clamp(0, 1))
    return scores.numpy().astype(np.float32)


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
    return F.normalize(_pooled(features).float(), dim=-1).cpu()


def embed_image(image_text: ImageText, pixels: NDArray[np.uint8]) -> Tensor:
    """Unit CLIP embedding of an image: float32 (D,) on the CPU."""
    prepared = image_text.image_processor(Image.fromarray(pixels), return_tensors="pt")
    features = image_text.model.get_image_features(
        prepared["pixel_values"].to(image_text.model.device)
    )
    return F.normalize(_pooled(features).float(), dim=-1)[0].cpu()


def _names(words: Sequence[str], label: str) -> bool:
    own = set(_WORD.findall(label.lower()))
    return bool(own) and own <= set(words)


def _pooled(features: object) -> Tensor:
    # transformers 5 returns the tower's output object, whose pooled output is the
    # projected embedding; 4 returned the tensor itself.
    return torch.as_tensor(getattr(features, "pooler_output", features))
