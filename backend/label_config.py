"""Labeling XML in, controls with their labels and prompts out. Pure.

The label names are the open vocabulary: what a project's annotators see is what
the segmenter is asked for.
"""

import logging
import re
from typing import Any, Final

from label_studio_sdk.label_interface.interface import LabelInterface

from backend.errors import BadLabelConfig
from backend.values import Control, Label

logger = logging.getLogger(__name__)

EXAMPLE: Final = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="tag" toName="image">
    <Label value="cat"/>
    <Label value="dog"/>
  </BrushLabels>
</View>"""

# Label Studio takes a config that starts with one; lxml refuses it in a str.
_XML_DECLARATION: Final = re.compile(r"\A\s*<\?xml\s[^>]*\?>")


def read_controls(label_config: str) -> tuple[Control, ...]:
    """Find every `BrushLabels` control that paints on an `Image`.

    Controls of other kinds are left alone. Labels that hold no readable character
    are left out with a warning, because no prompt can be made of them.

    Args:
        label_config: labeling XML of the project.

    Returns:
        At least one control with at least one label, in the config's order.

    Raises:
        BadLabelConfig: if the XML cannot be read, there is nothing to segment, or
            a threshold is no number between 0 and 1. The message shows a config
            that works.
    """
    interface = _parse(label_config)
    images = {tag.name: tag for tag in interface.objects if tag.tag == "Image"}
    brushes = [tag for tag in interface.controls if tag.tag == "BrushLabels"]
    if not images:
        raise _refusal("has no <Image> tag")
    if not brushes:
        raise _refusal("has no <BrushLabels> tag")
    controls = tuple(
        control
        for brush in brushes
        for to_name in brush.to_name
        if to_name in images
        if (control := _control(brush, images[to_name])).labels
    )
    if not controls:
        raise _refusal(
            "has no <BrushLabels> with a named <Label> whose toName is an <Image>"
        )
    return controls


def _parse(label_config: str) -> LabelInterface:
    try:
        return LabelInterface(_XML_DECLARATION.sub("", label_config, count=1))
    # The SDK raises its own, lxml's and pydantic's exceptions here, and KeyError or
    # AttributeError for tags without names; all mean the same to our caller.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _refusal(f"cannot be read ({reason})") from error


def _control(brush: Any, image: Any) -> Control:
    value = image.value or ""
    if not value.startswith("$") or not value[1:]:
        raise _refusal(
            f'has an <Image name="{image.name}"> whose value is {value!r}, which '
            f'names no field of the task; write value="$image"'
        )
    return Control(
        from_name=brush.name,
        to_name=image.name,
        data_key=value[1:],
        labels=tuple(_labels(brush)),
        threshold_01=_threshold(brush.attr, f"<BrushLabels name={brush.name!r}>"),
    )


def _labels(brush: Any) -> list[Label]:
    labels = []
    for name, tag in (brush.labels_attrs or {}).items():
        prompt = tag.attr.get("model_prompt") or tag.attr.get("value") or name
        if not any(character.isprintable() for character in prompt.strip()):
            logger.warning(
                "The control %r has a label without a name (%r); it is left out. Give "
                "its <Label> a value.",
                brush.name,
                name,
            )
            continue
        threshold = _threshold(tag.attr, f"<Label value={prompt!r}>")
        labels.append(Label(name=name, prompt=prompt.strip(), threshold_01=threshold))
    return labels


def _threshold(attributes: dict[str, str], where: str) -> float | None:
    text = attributes.get("model_score_threshold")
    if text is None or not text.strip():
        return None
    try:
        threshold = float(text)
    except ValueError:
        threshold = float("nan")
    if not 0 < threshold < 1:
        raise _refusal(
            f"has model_score_threshold={text!r} on {where}; give a number between "
            f"0 and 1, for example 0.5"
        )
    return threshold


def _refusal(what: str) -> BadLabelConfig:
    return BadLabelConfig(f"The label config {what}. One that works:\n{EXAMPLE}")
