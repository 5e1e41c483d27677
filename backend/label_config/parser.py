"""Labeling XML in, controls with their labels and prompts out. Pure.

The label names are the open vocabulary: what a project's annotators see is what
the segmenter is asked for.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final
from xml.etree import ElementTree

from label_studio_sdk.label_interface.interface import LabelInterface

from backend.errors import BadLabelConfig, BadTask
from backend.label_config.attributes import EXAMPLE, refusal
from backend.label_config.clicked import ClickTarget, ShownLabels, click_target
from backend.label_config.controls import ControlReader
from backend.label_config.labels import dynamic_labels, with_texts_of
from backend.label_config.task_data import refers_to_data
from backend.label_config.typed_prompts import controls_for
from backend.types import MAX_PROMPTS, Control, ControlDefaults, TypedPrompt
from segmenter import Mode

__all__ = ["EXAMPLE", "LabelConfig", "read_label_config"]

# Label Studio takes a config that starts with one; lxml refuses it in a str.
_XML_DECLARATION: Final = re.compile(r"\A\s*<\?xml\s[^>]*\?>")
# Says nothing of a label config, whose labels are all drawn.
_NOT_IN_FINGERPRINT: Final = frozenset({"is_drawn"})


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelConfig:
    """A project's label config, as far as it is about regions on images.

    Attributes:
        controls: at least one, in the config's order, one per image that its tag
            draws on; the labels are those of the config itself.
        notes: what is left out, and why, one sentence each.
        inputs: which tools are left to the annotators because they are there to ask
            a backend with, one sentence each.
        text_areas: names of the tags in which prompts can be typed.
        shown_labels: of every control, what its labels answer and what people see.
    """

    controls: tuple[Control, ...]
    notes: tuple[str, ...]
    _interface: Any
    inputs: tuple[str, ...] = ()
    text_areas: frozenset[str] = frozenset()
    shown_labels: ShownLabels = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything here that changes a region."""
        content = json.dumps(
            [asdict(control, dict_factory=_told) for control in self.controls]
        )
        if self._has_texts_of_tasks:
            content += " with texts of the tasks"
        return hashlib.sha256(content.encode()).hexdigest()

    def problems(self, prediction: Mapping[str, Any]) -> list[str]:
        """What Label Studio's strict validation says against a prediction.

        What a brush has drawn is checked here: the SDK takes milliseconds for it.
        """
        found: list[str] = self._interface.validate_prediction(
            {**prediction, "result": list(map(_lightened, prediction["result"]))},
            return_errors=True,
        )
        return found

    def for_task(
        self, data: Mapping[str, Any], typed: TypedPrompt | None = None
    ) -> tuple[Control, ...]:
        """The controls with what the task's data adds (`value="$key"`).

        Controls that then have no label are left out.

        Args:
            data: the task's data.
            typed: to be looked for in place of the labels, on its image alone.

        Raises:
            BadTask: if a threshold in the data is no number, or there are too many
                labels.
        """
        controls = tuple(
            self._for_task(control, data)
            for control in (self._with_dynamic_labels(data))
            if control.labels
        )
        if too_many := _too_many(controls):
            raise BadTask(f"With the labels of its own, the task {too_many}.")
        return controls if typed is None else controls_for(controls, typed)

    def click_target(
        self,
        data: Mapping[str, Any],
        *,
        from_name: str,
        to_name: str,
        label: str | None,
    ) -> ClickTarget | str:
        """What draws a label that was clicked with, or why nothing does.

        Args:
            data: the task's data.
            from_name: the tag that was clicked with.
            to_name: the image.
            label: as that tag answers it, None where none was chosen.

        Raises:
            BadTask: as `for_task`.
        """
        return click_target(
            self.for_task(data),
            self.shown_labels,
            from_name=from_name,
            to_name=to_name,
            label=label,
        )

    def _with_dynamic_labels(self, data: Mapping[str, Any]) -> list[Control]:
        try:
            return [
                replace(
                    control, labels=tuple(dynamic_labels(control.labels_value, data))
                )
                if control.labels_value
                else control
                for control in self.controls
            ]
        except BadLabelConfig as error:
            # One task's data is wrong, not the project's config.
            reason = str(error).partition(". One that works")[0]
            raise BadTask(
                f"The task brings labels of its own; as if it were the label config's: "
                f"{reason}."
            ) from error

    def _for_task(self, control: Control, data: Mapping[str, Any]) -> Control:
        if not self._has_texts_of_tasks and not control.labels_value:
            return control
        labels = tuple(with_texts_of(label, data) for label in control.labels)
        return replace(control, labels=labels)

    @cached_property
    def _has_texts_of_tasks(self) -> bool:
        return any(
            refers_to_data(prompt)
            for control in self.controls
            for label in control.labels
            for prompt in label.prompts
        )


def read_label_config(label_config: str, defaults: ControlDefaults) -> LabelConfig:
    """Find every control that draws regions on an `Image`.

    That is the tags that `regions.control_tags` finds, with labels of their own
    (`BrushLabels`) or beside a `Labels` (`Brush`). Controls of other kinds are left
    alone, and so are those with `model_skip="true"` and those that annotators ask a
    backend with.

    Args:
        label_config: labeling XML of the project.
        defaults: what holds for what a control does not say.

    Raises:
        BadLabelConfig: if the XML cannot be read, there is nothing to segment, or
            too much, or an attribute of ours has an impossible value. The message
            shows a config that works.
    """
    interface, root = parse_xml(label_config)
    reader = ControlReader(interface, root, defaults)
    controls = tuple(reader.controls())
    if not controls:
        raise reader.refusal()
    if too_many := _too_many(controls):
        raise refusal(
            f"{too_many}; keep the labels that the pictures show, or give the others "
            f'model_skip="true"'
        )
    return LabelConfig(
        controls=controls,
        notes=tuple(reader.notes),
        inputs=tuple(reader.inputs),
        text_areas=reader.text_areas,
        shown_labels=reader.shown_labels,
        _interface=interface,
    )


def parse_xml(label_config: str) -> tuple[LabelInterface, ElementTree.Element]:
    """The SDK's view of a config, and its XML.

    Raises:
        BadLabelConfig: if either cannot be had.
    """
    text = _XML_DECLARATION.sub("", label_config, count=1)
    try:
        # The first refuses what a malicious document may hold, so it comes first.
        return LabelInterface(text), ElementTree.fromstring(text)
    # The SDK raises its own, lxml's and pydantic's exceptions here, and KeyError or
    # AttributeError for tags without names; all mean the same to our caller.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise refusal(f"cannot be read ({reason})") from error


def _too_many(controls: Iterable[Control]) -> str | None:
    """What there is too much of, None if there is not: one image is read for all."""
    prompts: dict[tuple[str, Mode], set[str]] = {}
    for control in controls:
        found = prompts.setdefault((control.image.name, control.mode), set())
        for label in control.labels:
            # One without words costs a map as well.
            found.update(label.prompts or [f"without words: {label.name}"])
    for (image, _), found in prompts.items():
        if len(found) > MAX_PROMPTS:
            return (
                f"has {len(found)} different labels, or texts for them, on the image "
                f"{image!r}, and at most {MAX_PROMPTS} can be looked for in one"
            )
    return None


def _lightened(region: Any) -> Any:
    """The region with a byte in place of its run lengths, where those are bytes.

    Others are left for the SDK to complain of.
    """
    value = region.get("value") if isinstance(region, Mapping) else None
    rle = value.get("rle") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(rle, list) or not rle:
        return region
    try:
        bytearray(rle)
    except (TypeError, ValueError):
        return region
    return {**region, "value": {**value, "rle": rle[:1]}}


def _told(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in fields if name not in _NOT_IN_FINGERPRINT}
