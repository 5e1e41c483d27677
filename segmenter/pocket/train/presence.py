"""Weigh the pocket model's evidence of presence: its `presence.json`.

Training scenes, each asked for its own words, for its own words among five others,
and for five others alone; two logistic regressions, fitted by Newton's method.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from segmenter.backbones import load_backbone
from segmenter.modes import FastMode, Passes, Request
from segmenter.pocket import WORDS, Scene, render_scene
from segmenter.presence import (
    Calibration,
    PresenceScorer,
    load_image_text,
    log_odds,
)
from segmenter.recipes import find_recipe, recipe_options
from segmenter.source import BUNDLED_MODELS, ModelSource

# Behind those that the models were trained on, and far before the test split's.
_FIRST_SEED: Final = 30_000
_ABSENT: Final = 5
# Keeps the weights finite where the classes part cleanly.
_RIDGE: Final = 1e-3

_Data = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def fit_presence(folder: Path, *, n_scenes: int) -> None:
    """Gather evidence with a model's own parts, fit, write `presence.json` to it."""
    margins, peaks, present = gather(_source_in(folder), n_scenes)
    both = np.column_stack([margins, peaks])
    by_text, by_both = fit(margins[:, None], present), fit(both, present)
    for name, weights, evidence in (
        ("by text", by_text, margins[:, None]),
        ("by text and maps", by_both, both),
    ):
        right = ((weights[0] + evidence @ weights[1:] > 0) == present).mean()
        logging.info("%s: %s, right for %.3f", name, weights.round(3), right)
    fields = {
        "negatives": WORDS,
        "by_text": by_text.round(4).tolist(),
        "by_text_and_maps": by_both.round(4).tolist(),
    }
    (folder / "presence.json").write_text(json.dumps(fields, indent=2) + "\n")


def _source_in(folder: Path) -> ModelSource:
    """The model in a folder; a bundled one by its name, which has parts elsewhere."""
    for name, place in BUNDLED_MODELS.items():
        if folder.resolve() == place.resolve():
            return ModelSource.parse(name)
    return ModelSource.parse(str(folder))


def gather(source: ModelSource, n_scenes: int) -> _Data:
    """Margins (N,), log-odds of the peaks (N,) and truth (N,), N asked labels."""
    cpu = torch.device("cpu")
    backbone = load_backbone(source, device=cpu, dtype=torch.float32)
    scorer = PresenceScorer(
        load_image_text(source, device=cpu), replace(Calibration(), negatives=WORDS)
    )
    options = recipe_options(find_recipe(source), "fast", {"presence": "off"})
    fast = FastMode(Passes(backbone, options))
    margins, peaks, present = [], [], []
    for number in track(range(n_scenes), transient=True):
        scene = render_scene(_FIRST_SEED + number)
        for labels in _label_lists(scene, number):
            (reading,) = fast.read([Request(image=scene.image, labels=labels)])
            margins.append(scorer.margins(scorer.look(scene.image).embeddings, labels))
            peaks.append(log_odds(reading.evidence))
            present.append([label in scene.words for label in labels])
    return np.concatenate(margins), np.concatenate(peaks), np.concatenate(present)


def fit(evidence: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Bias and weights of a logistic regression: float64 (1 + F,)."""
    features = np.column_stack([np.ones(len(evidence)), evidence])
    weights = np.zeros(features.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (truth - p) - _RIDGE * weights
        bend = (features.T * (p * (1 - p))) @ features + _RIDGE * np.eye(len(weights))
        weights += np.linalg.solve(bend, slope)
    return weights


def _label_lists(scene: Scene, seed: int) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    others = [str(word) for word in rng.permutation(WORDS) if word not in scene.words]
    absent = others[:_ABSENT]
    mixed = [str(word) for word in rng.permutation([*scene.words, *absent])]
    return [scene.words, tuple(mixed), tuple(absent)]
