"""Checks of a label config: what each control will draw, and how labels are read."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from xml.etree import ElementTree

from backend.doctor.findings import Check, Finding, ok, problem, skipped, warning
from backend.doctor.project import NO_PROJECT, Project
from backend.errors import BadLabelConfig
from backend.label_config import (
    LabelConfig,
    is_skipped,
    labels_by_control,
    read_label_config,
)
from backend.regions import control_tags
from backend.types import Control, ControlDefaults, Label

_LABELS_SHOWN: Final = 60
_THRESHOLDS: Final = frozenset({"model_score_threshold", "score_threshold"})
EDITOR: Final = "Settings > Labeling Interface > Code"


def check_label_config(
    project: Project | None, defaults: ControlDefaults, *, no_project: str = NO_PROJECT
) -> Check[LabelConfig | None]:
    """Say what each control will draw and what each label is looked for as.

    Args:
        project: whose config it is.
        defaults: what holds for what a control does not say.
        no_project: why there is none.
    """
    if project is None:
        yield skipped("label config", no_project)
        return None
    try:
        config = read_label_config(project.label_config, defaults)
    except BadLabelConfig as error:
        reason, _, example = str(error).partition(" One that works:\n")
        yield problem(
            "label config",
            reason,
            f"Change it under {EDITOR}; one that works:",
            *example.splitlines(),
        )
        return None
    root = ElementTree.fromstring(project.label_config.strip())
    shown = _shown_names(root)
    for control in config.controls:
        yield ok(
            "label config",
            _describe_control(control),
            *_label_lines(
                control, shown.get(control.labels_from_name or control.from_name, {})
            ),
            *_threshold_lines(control, root),
        )
    yield from _judge_notes(config.notes, config.inputs)
    yield from _foreign_prompts(config)
    return config


def _judge_notes(notes: Sequence[str], inputs: Sequence[str]) -> Iterator[Finding]:
    """Tell what the config itself leaves out from what it hardly means."""
    # Notes are plain sentences; these words are in those of a choice, and alone
    # "model_skip" also is in one that suggests it for a misspelt attribute.
    chosen = [note for note in notes if "has model_skip" in note]
    if chosen or inputs:
        yield ok("label config", "left out:", *chosen, *inputs)
    for note in notes:
        if note not in chosen:
            yield warning(
                "label config", note.removesuffix("."), f"Change it under {EDITOR}."
            )


def _shown_names(root: ElementTree.Element) -> Mapping[str, Mapping[str, str]]:
    """What annotators see instead of an alias, by control and alias."""
    return {
        control: {
            name: " and ".join(
                repr(tag["value"])
                for tag in tags
                if tag.get("value") not in {None, "", name} and not is_skipped(tag)
            )
            for name, tags in labels.items()
        }
        for control, labels in labels_by_control(root).items()
    }


def _describe_control(control: Control) -> str:
    cut = control.cut
    shape = "one per label" if cut.regions == "label" else "one per connected part"
    if control_tags()[control.shape].one_region_per_part:
        shape = "one per connected part"
    return (
        f"{control.from_name!r} draws {control.shape} regions on "
        f"{control.image.name!r} ({control.image.value}), {shape}, {cut.overlap}, "
        f"read in {control.mode} mode"
    )


def _label_lines(control: Control, shown: Mapping[str, str]) -> list[str]:
    lines = [
        _describe_label(label, shown.get(label.name), control.threshold_of(label))
        for label in control.labels[:_LABELS_SHOWN]
    ]
    if len(control.labels) > _LABELS_SHOWN:
        lines.append(f"and {len(control.labels) - _LABELS_SHOWN} more labels")
    if control.labels_value:
        lines.append(f"labels come from each task's data, {control.labels_value}")
    return lines


def _threshold_lines(control: Control, root: ElementTree.Element) -> list[str]:
    """Tell those who come from the yolo example what its attribute means here."""
    names = {control.from_name, control.labels_from_name or control.from_name}
    own = [element for element in root.iter() if element.get("name") in names]
    written = {name.lower() for element in own for name in element.attrib}
    if not written & _THRESHOLDS:
        return []
    return [
        "model_score_threshold is the background score of pixels here; in Label "
        "Studio's yolo example it is the confidence of a detection"
    ]


def _describe_label(label: Label, shown: str | None, threshold_01: float) -> str:
    name = f"{shown} (answered as {label.name!r})" if shown else repr(label.name)
    prompts = " and ".join(repr(prompt) for prompt in label.prompts)
    if not prompts:
        prompts = "what its corrected masks show alone"
    return f"{name} is looked for as {prompts}, threshold {threshold_01:g}"


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
            f"{', '.join(map(repr, foreign.values()))}: not in Latin letters, and text "
            f"encoders were trained on hardly anything else",
            f'Give such labels an English prompt under {EDITOR}: <Label value="{name}"'
            f' model_prompt="..."/>',
        )


def _is_foreign(character: str) -> bool:
    return character.isalpha() and "LATIN" not in unicodedata.name(character, "")
