"""A label that somebody clicked with in, the control that draws it out. Pure.

People click with a tag of its own (`<KeyPointLabels>`), whose labels are those of the
control that draws by their values alone: either may have aliases, and prompts are the
drawing control's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.regions import control_tags
from backend.types import Control, Label

# By name of a tag: what its regions answer with, and what annotators see of it.
ShownLabels = Mapping[str, Mapping[str, frozenset[str]]]


@dataclass(frozen=True, kw_only=True)
class ClickTarget:
    """What a clicked object is drawn with.

    Attributes:
        control: that draws it.
        index: of its label in the control's labels.
    """

    control: Control
    index: int

    @property
    def label(self) -> Label:
        """What the object is."""
        return self.control.labels[self.index]


def click_target(
    controls: Sequence[Control],
    shown: ShownLabels,
    *,
    from_name: str,
    to_name: str,
    label: str | None,
) -> ClickTarget | str:
    """Find what draws a clicked label, or say why nothing does.

    Args:
        controls: of one task.
        shown: labels as annotators see them.
        from_name: the tag that was clicked with.
        to_name: the image.
        label: as that tag answers it; None where none was chosen, which is the
            control's one label where it has no other.
    """
    order = {shape: place for place, shape in enumerate(control_tags())}
    drawing = sorted(
        (c for c in controls if c.image.name == to_name and _draws_objects(c)),
        key=lambda control: order[control.shape],
    )
    if label is None:
        labels = [(c, 0) for c in drawing if len(c.labels) == 1]
        if labels:
            return ClickTarget(control=labels[0][0], index=0)
        return f"it was made without a label on {to_name!r}"
    wanted = _values(shown, from_name, label)
    for control in drawing:
        source = control.labels_from_name or control.from_name
        for index, own in enumerate(control.labels):
            if wanted & _values(shown, source, own.name):
                return ClickTarget(control=control, index=index)
    return f"no brush, bitmask or polygon of {to_name!r} has the label {label!r}"


def _draws_objects(control: Control) -> bool:
    """Whether a region of it has an object's own form, and no one drew it to ask."""
    return control_tags()[control.shape].is_input == "never"


def _values(shown: ShownLabels, tag: str, name: str) -> frozenset[str]:
    return shown.get(tag, {}).get(name, frozenset()) | {name}
