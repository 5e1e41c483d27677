"""Score maps of prompts in, those of one control's labels out. Pure.

What all who look at a control's labels begin with: what is painted, what is clicked on
and what is learned from are the same maps.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.types import Control
from segmenter import Heads, ScoreMaps, apply_heads, blank_labels, merge_prompts


def maps_of_labels(
    control: Control, maps: ScoreMaps, heads: Heads | None = None
) -> ScoreMaps:
    """One map and one presence for each of a control's labels, in their order.

    Args:
        control: with at least one label.
        maps: whose labels are prompts, all of the control's among them. With layers
            where there are heads.
        heads: what was learned of the project's labels, None where nothing was.

    Raises:
        ValueError: if there are heads and `maps` has no layers that they can read.
    """
    worded = [label for label in control.labels if label.prompts]
    own = merge_prompts(
        maps,
        [(label.name, label.prompts) for label in worded],
        presence_threshold=control.cut.presence_threshold_01,
        label_presence_thresholds=[label.presence_threshold_01 for label in worded],
    )
    wordless = [label.name for label in control.labels if not label.prompts]
    if wordless:
        own = blank_labels(own, wordless)
    if heads is not None:
        own = apply_heads(own, heads)
    names = tuple(label.name for label in control.labels)
    return own if own.labels == names else _in_order(own, names)


def _in_order(maps: ScoreMaps, names: Sequence[str]) -> ScoreMaps:
    places = np.array([maps.labels.index(name) for name in names])
    return replace(
        maps,
        labels=tuple(names),
        maps=maps.maps[places],
        presence=maps.presence[places],
    )
