"""Checks of an interactive set-up: can people mend masks by clicks, and with what?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

from backend.doctor.findings import Check, Finding, ok, skipped, warning
from backend.doctor.labels import EDITOR
from backend.doctor.project import NO_PROJECT, Project
from backend.label_config import LabelConfig, is_skipped

_MODEL_PAGE: Final = "Settings > Model"
_PAGE: Final = "docs/interactive.md has a config and the four gestures"
# What people click with, unless the label config has it draw.
_ASKING: Final = ("keypointlabels", "keypoint", "rectanglelabels", "rectangle")


@dataclass(frozen=True, kw_only=True)
class _Tool:
    """A tag that people ask a backend with."""

    name: str
    element: str
    to_name: str


def check_clicks(
    project: Project | None,
    config: LabelConfig | None,
    rows: Sequence[Mapping[str, Any]] | None,
    *,
    no_project: str = NO_PROJECT,
) -> Check[None]:
    """Say what a set-up for clicks still lacks.

    Args:
        project: whose label config it is.
        config: the same, read; None where it draws nothing.
        rows: the project's backends as Label Studio lists them; None if it does not.
        no_project: why there is none.
    """
    if project is None:
        yield skipped("clicks", no_project)
        return
    if config is None:
        yield skipped("clicks", "the label config draws nothing")
        return
    tools = list(_tools(project.label_config, config))
    is_asked = None if rows is None else any(row.get("is_interactive") for row in rows)
    lacks = [
        *_lacks_connection(tools, is_asked),
        *_lacks_tools(tools, config, is_asked),
        *_lacks_labels(tools, config),
    ]
    yield from lacks
    if lacks:
        return
    if tools and is_asked is not False:
        names = ", ".join(f"<{tool.element} name={tool.name!r}>" for tool in tools)
        yield ok("clicks", f"masks can be mended with {names}")
    elif not tools:
        yield ok("clicks", "not set up", _PAGE)


def _tools(label_config: str, config: LabelConfig) -> Iterator[_Tool]:
    """Key points and smart rectangles that are left to people, on images drawn on."""
    drawing = {control.from_name for control in config.controls}
    images = {control.image.name for control in config.controls}
    for element in ElementTree.fromstring(label_config.strip()).iter():
        tag = str(element.tag)
        attributes = {name.lower(): value for name, value in element.attrib.items()}
        name, to_name = attributes.get("name", ""), attributes.get("toname", "")
        is_tool = tag.lower() in _ASKING and name not in drawing
        if not is_tool or is_skipped(attributes):
            continue
        for image in sorted(images & set(to_name.split(","))):
            yield _Tool(name=name, element=tag, to_name=image)


def _lacks_connection(
    tools: Sequence[_Tool], is_asked: bool | None
) -> Iterator[Finding]:
    if is_asked is False and tools:
        yield warning(
            "clicks",
            f"the label config has a tool for clicks, {tools[0].name!r}, and no "
            f"backend of the project is connected for interactive preannotations, so "
            f"that a click asks nobody",
            f"Under {_MODEL_PAGE} edit the connection and switch on Interactive "
            f"preannotations.",
        )


def _lacks_tools(
    tools: Sequence[_Tool], config: LabelConfig, is_asked: bool | None
) -> Iterator[Finding]:
    if is_asked and not tools and not config.text_areas:
        control = config.controls[0]
        yield warning(
            "clicks",
            "the backend is connected for interactive preannotations, and the label "
            "config has no tool to ask it with",
            f'Add <KeyPointLabels name="points" toName="{control.image.name}" '
            f'smart="true"> with the labels of {control.from_name!r} under {EDITOR}; '
            f"{_PAGE}.",
        )


def _lacks_labels(tools: Sequence[_Tool], config: LabelConfig) -> Iterator[Finding]:
    """Labels of a tool that nothing draws; the others can be clicked."""
    if any(control.labels_value for control in config.controls):
        return  # labels come with the tasks
    for tool in tools:
        names = [
            name
            for name in config.shown_labels.get(tool.name, {})
            if isinstance(
                config.click_target(
                    {}, from_name=tool.name, to_name=tool.to_name, label=name
                ),
                str,
            )
        ]
        if names:
            yield warning(
                "clicks",
                f"<{tool.element} name={tool.name!r}> has labels that no brush, "
                f"bitmask or polygon of {tool.to_name!r} has, so that a click is "
                f"answered with nothing: {', '.join(map(repr, names))}",
                f"Give both the same values under {EDITOR}.",
            )
