"""Checks of a label config: what each control will draw, and how labels are read."""

import unicodedata
from collections.abc import Iterator
from typing import Final

from backend.doctor.findings import Check, Finding, ok, problem, skipped, warning
from backend.doctor.project import Project
from backend.errors import BadLabelConfig
from backend.label_config import LabelConfig, read_label_config
from backend.values import Control, CutOptions, Label

_LABELS_SHOWN: Final = 60
EDITOR: Final = "Settings > Labeling Interface > Code"


def check_label_config(
    project: Project | None, cut: CutOptions
) -> Check[LabelConfig | None]:
    """Say what each control will draw and what each label is looked for as.

    Args:
        project: whose config it is.
        cut: how regions are cut where the config does not say.
    """
    if project is None:
        yield skipped("label config", "there is no project to look at")
        return None
    try:
        config = read_label_config(project.label_config, cut)
    except BadLabelConfig as error:
        reason, _, example = str(error).partition(" One that works:\n")
        yield problem(
            "label config",
            reason,
            f"Change it under {EDITOR}; one that works:",
            *example.splitlines(),
        )
        return None
    for control in config.controls:
        yield ok("label config", _describe_control(control), *_label_lines(control))
    if config.notes:
        yield ok("label config", "left out:", *config.notes)
    yield from _foreign_prompts(config)
    return config


def _describe_control(control: Control) -> str:
    cut = control.cut
    shape = "one per label" if cut.regions == "label" else "one per connected part"
    if control.shape in {"polygon", "rectangle"}:
        shape = "one per connected part"
    return (
        f"{control.from_name!r} draws {control.shape} regions on "
        f"{control.image.name!r} ({control.image.value}), {shape}, {cut.overlap}"
    )


def _label_lines(control: Control) -> list[str]:
    lines = [
        _describe_label(label, control.cut.threshold_01)
        for label in control.labels[:_LABELS_SHOWN]
    ]
    if len(control.labels) > _LABELS_SHOWN:
        lines.append(f"and {len(control.labels) - _LABELS_SHOWN} more labels")
    if control.labels_value:
        lines.append(f"labels come from each task's data, {control.labels_value}")
    return lines


def _describe_label(label: Label, threshold_01: float) -> str:
    prompts = " and ".join(repr(prompt) for prompt in label.prompts)
    own = threshold_01 if label.threshold_01 is None else label.threshold_01
    return f"{label.name!r} is looked for as {prompts}, threshold {own:g}"


def _foreign_prompts(config: LabelConfig) -> Iterator[Finding]:
    """Warn of scripts that the text encoders hardly saw in training."""
    foreign = {
        label.name: prompt
        for control in config.controls
        for label in control.labels
        for prompt in label.prompts
        if any(_is_foreign(character) for character in prompt)
    }
    if foreign:
        name = next(iter(foreign))
        yield warning(
            "label config",
            f"text encoders read English, not {', '.join(map(repr, foreign.values()))}",
            f'Give such labels an English prompt under {EDITOR}: <Label value="{name}"'
            f' model_prompt="..."/>',
        )


def _is_foreign(character: str) -> bool:
    return character.isalpha() and "LATIN" not in unicodedata.name(character, "")
