"""A label config and what was learned of its labels in, how to predict it out.

Settled once for all of an answer: were the version and the heads looked up one after
the other, masks of the one would be stored under the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.label_config import LabelConfig
from segmenter import Heads, Mode


@dataclass(frozen=True, kw_only=True, eq=False)
class Taught:
    """What was learned of a project's labels.

    Attributes:
        heads: of which at least one counts.
        maps_name: of what made the maps that they were fitted on, see
            `Scorer.maps_name`; on those of others they mean nothing.
    """

    heads: Heads
    maps_name: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """How a project is predicted.

    Attributes:
        config: of the project.
        version: of the predictions.
        heads: by the mode that they were fitted in; none where words alone count.
    """

    config: LabelConfig
    version: str
    heads: Mapping[Mode, Heads] = field(default_factory=dict)


def nothing_taught(project: str | None) -> Taught | None:
    """Of any project nothing was learned."""
    return None
