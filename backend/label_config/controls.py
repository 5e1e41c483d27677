"""The tags of a label config in, the controls that draw regions on images out. Pure.

Which tags belong together is read here, what their attributes ask for in
`attributes.py`. Tags are read as the editor reads them (`tags.py`); what strict
validation would refuse is left out and named, because one region of it would cost a
whole batch.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from xml.etree import ElementTree

from label_studio_sdk.label_interface.interface import LabelInterface

from backend.errors import BadLabelConfig
from backend.label_config.attributes import (
    is_asked_for,
    is_skipped,
    is_smart,
    read_cut_options,
    read_mode,
    refusal,
    unknown_attributes,
)
from backend.label_config.labels import (
    answered_name,
    editors_name,
    label_tags,
    merge_labels,
    strict_name,
)
from backend.label_config.tags import Tag, read_tags
from backend.label_config.task_data import loose_end, refers_to_data
from backend.regions import ControlTag, control_tags
from backend.types import Control, ControlDefaults, ImageTag, Label

# Misspelt labels that a note names before it breaks off.
_MOST_NAMED: Final = 5


class ControlReader:
    """Reads one config; gathers notes on the way.

    Attributes:
        notes: what is left out or hardly meant, one sentence each.
        inputs: which tools are left to the annotators, one sentence each.
        shown_labels: of every control, what its labels answer and what people see.
    """

    def __init__(
        self,
        interface: LabelInterface,
        root: ElementTree.Element,
        defaults: ControlDefaults,
    ) -> None:
        self.notes: list[str] = []
        self.inputs: list[str] = []
        self._defaults = defaults
        # What each tag draws, with labels of its own or for a <Labels>.
        self._known = {known.shape: known for known in control_tags().values()}
        self._with_labels = {
            known.labels_type: known for known in control_tags().values()
        }
        # By name, with the labels of each; all that strict validation knows.
        self._strict = {tag.name: set(tag.labels or ()) for tag in interface.controls}
        tags = list(read_tags(root))
        self._labels: defaultdict[str, list[Tag]] = defaultdict(list)
        for label in label_tags(iter(tags)):
            self._labels[label.control].append(label)
        self._images = self._read_images(tags, {tag.name for tag in interface.objects})
        self._controls = [
            tag
            for tag in {tag.name: tag for tag in tags if tag.name}.values()
            if self._is_spelled_for_all(tag)
        ]
        self.shown_labels = {
            control: _shown(labels) for control, labels in self._labels.items()
        }
        self.text_areas = frozenset(
            tag.name
            for tag in tags
            if tag.kind == "textarea" and not is_skipped(tag.attributes)
        )

    def controls(self) -> Iterator[Control]:
        """Every control that can be answered, in the config's order."""
        for tag in self._controls:
            if tag.kind not in self._with_labels and tag.kind != "labels":
                continue
            if tag.is_repeated:
                self._note(tag, "is inside a <Repeater>, which cannot be answered")
            elif is_skipped(tag.attributes):
                self._note(tag, "has model_skip")
            else:
                yield from self._controls_of(tag)

    def refusal(self) -> BadLabelConfig:
        """Why there is no control."""
        reasons = " ".join([*self.notes, *self.inputs])
        because = f" ({reasons})" if reasons else ""
        if not self._images:
            return refusal(f"has no <Image> tag{because}")
        if any(image.is_repeated for image, _ in self._images.values()):
            return refusal(
                "has its <Image> inside a <Repeater>, whose regions Label Studio "
                'loses; show pages with <Image valueList="$pages"/>'
            )
        names = _alternatives(
            f"<{known.element}Labels>"
            for known in self._with_labels.values()
            if known.is_input != "always"
        )
        return refusal(
            f"has no {names} with a named <Label> whose toName is an <Image>{because}"
        )

    def _read_images(
        self, tags: Sequence[Tag], strict: set[str]
    ) -> dict[str, tuple[Tag, ImageTag]]:
        """Every image that can be drawn on, by its name."""
        found = {}
        for tag in tags:
            is_list = "valuelist" in tag.attributes
            value = tag.attributes.get("valuelist" if is_list else "value", "").strip()
            if tag.kind != "image" or not tag.name or not value:
                continue
            if tag.name not in strict:
                self._note(
                    tag,
                    "is left out: its attributes are spelled so that Label Studio's "
                    'editor alone reads them; write <Image name="..." value="$...">',
                )
                continue
            if tag.element != "Image":
                self._note(
                    tag,
                    "has another spelling than <Image>, which Label Studio's editor "
                    "refuses: annotators see an error in place of the picture",
                )
            if said := loose_end(value):
                self._note(tag, f"names no field: {said}")
            found[tag.name] = (
                tag,
                ImageTag(name=tag.name, value=value, is_list=is_list),
            )
        return found

    def _is_spelled_for_all(self, tag: Tag) -> bool:
        """Whether a control on an image is one for Label Studio's server as well."""
        draws = tag.kind in self._with_labels or tag.kind == "labels"
        if not tag.to_name and tag.kind in self._with_labels and self._images:
            self._note(
                tag,
                f"is left out: it has no toName; write "
                f'toName="{next(iter(self._images))}"',
            )
        if not set(tag.to_name) & self._images.keys():
            return False
        if tag.name in self._strict:
            return True
        if draws:
            self._note(
                tag,
                f"is left out: its attributes are spelled so that Label Studio's "
                f'editor alone reads them; write name="{tag.name}" '
                f'toName="{",".join(tag.to_name)}"',
            )
        return False

    def _controls_of(self, tag: Tag) -> Iterator[Control]:
        """One control per image that the tag draws on."""
        labels = tuple(self._read_labels(tag))
        labels_value = self._labels_value(tag)
        if not labels and labels_value is None:
            self._note(tag, "has no named label")
            return
        for to_name in tag.to_name:
            if to_name not in self._images:
                continue
            drawing = self._drawing_tag(tag, to_name)
            if drawing is None:
                continue
            on, image = self._images[to_name]
            if on.is_repeated:
                self._note(tag, f"draws on {to_name!r}, which is in a <Repeater>")
                continue
            control = Control(
                from_name=drawing.name,
                image=_checked(image),
                shape=self._drawn_by(drawing).shape,
                labels=labels,
                labels_from_name=None if drawing is tag else tag.name,
                labels_value=labels_value,
                **self._read_attributes(tag, drawing),
            )
            if control.cut.overlap == "exclusive":
                self._note_same_prompts(tag, labels)
            yield control

    def _labels_value(self, tag: Tag) -> str | None:
        """Where the labels are in a task's data, None if the config holds them."""
        value = tag.attributes.get("value", "")
        if not refers_to_data(value):
            return None
        if not self._labels[tag.name]:
            if said := loose_end(value):
                self._note(tag, f"names no field: {said}")
            return value
        self._note(
            tag,
            f"has labels of its own, therefore those in {value} of the tasks are not "
            f"used: Label Studio's validation knows the config's alone. Keep all "
            f"labels in one of the two places",
        )
        return None

    def _read_attributes(self, tag: Tag, drawing: Tag) -> dict[str, Any]:
        """The control's mode and cut; notes what its attributes do in vain."""
        of_labels = [label.attributes for label in self._labels[tag.name]]
        for name in unknown_attributes(
            [tag.attributes, drawing.attributes, *of_labels]
        ):
            self._note(tag, f"has an attribute that is not known: {name}")
        where = f"<{drawing.element} name={drawing.name!r}>"
        attributes = {**tag.attributes, **drawing.attributes}
        mode = read_mode(attributes, self._defaults.mode, where)
        cut = read_cut_options(attributes, self._defaults.cuts[mode], where)
        return {"mode": mode, "cut": cut}

    def _drawing_tag(self, tag: Tag, to_name: str) -> Tag | None:
        """The tag itself, or what draws for a <Labels>; None if nothing may."""
        if tag.kind != "labels":
            return None if self._is_input(tag, to_name) else tag
        tools = {
            tool.kind: tool
            for tool in reversed(self._controls)
            if to_name in tool.to_name
            and tool.kind in self._known
            and not is_skipped(tool.attributes)
            and not self._is_input(tool, to_name)
        }
        for shape in self._known:
            if shape in tools:
                return tools[shape]
        names = _alternatives(
            f"<{known.element}>"
            for known in self._known.values()
            if known.is_input != "always"
        )
        has_wand = any(
            tool.kind == "magicwand" and to_name in tool.to_name
            for tool in self._controls
        )
        instead = (
            "; <MagicWand> alone will not do, because Label Studio's strict "
            "validation refuses its labelled regions: add "
            f'<Brush name="brush" toName="{to_name}"/>'
        )
        self._note(tag, f"has no {names} beside it" + (instead if has_wand else ""))
        return None

    def _is_input(self, tag: Tag, to_name: str) -> bool:
        """Whether annotators show a backend with this tool what they want."""
        known = self._drawn_by(tag)
        if known.is_input == "never" or is_asked_for(tag.attributes):
            return False
        beside = ""
        if known.is_input == "smart":
            masks = self._masks_on(to_name) if is_smart(tag.attributes) else None
            if masks is None:
                return False
            beside = (
                f", as it is smart and beside <{masks.element} name={masks.name!r}>"
            )
        said = (
            f"<{tag.element} name={tag.name!r}> is left to the annotators as a tool to "
            f'ask a backend with{beside}; model_skip="false" has it pre-annotated.'
        )
        if said not in self.inputs:
            self.inputs.append(said)
        return True

    def _masks_on(self, to_name: str) -> Tag | None:
        """A tag that draws masks on this image, None if there is none."""
        beside = [
            tag
            for tag in self._controls
            if to_name in tag.to_name and not is_skipped(tag.attributes)
        ]
        has_labels = any(tag.kind == "labels" for tag in beside)
        for tag in beside:
            known = self._with_labels.get(tag.kind)
            if known is None and has_labels:
                known = self._known.get(tag.kind)
            if known is not None and known.draws_masks:
                return tag
        return None

    def _drawn_by(self, tag: Tag) -> ControlTag:
        return self._with_labels.get(tag.kind) or self._known[tag.kind]

    def _read_labels(self, tag: Tag) -> Iterator[Label]:
        for name, tags in self._named_labels(tag).items():
            asked = [
                label.attributes for label in tags if not is_skipped(label.attributes)
            ]
            if not asked:
                self._note(tag, f"has model_skip on its label {name!r}")
                continue
            merged = merge_labels(name, asked, f"<Label> {name!r} of {tag.name!r}")
            if merged is None:
                self._note(
                    tag,
                    f"has a label without a name ({name!r}), which is left out; give "
                    f"its <Label> a value",
                )
            else:
                yield merged

    def _named_labels(self, tag: Tag) -> dict[str, list[Tag]]:
        """Labels by what regions answer with; notes those of doubtful spelling."""
        named: dict[str, list[Tag]] = {}
        doubtful, left_out = [], []
        for label in self._labels[tag.name]:
            name = answered_name(label, self._strict[tag.name])
            if name is None:
                left_out.append(label)
                continue
            named.setdefault(name, []).append(label)
            if editors_name(label) not in {"", strict_name(label)}:
                doubtful.append(label)
        example = 'write <Label value="...">'
        if doubtful:
            self._note(
                tag,
                f"has labels that Label Studio's editor reads and its server and "
                f"exports do not, as they are spelled: {_listed(doubtful)}; {example}",
            )
        if left_out:
            self._note(
                tag,
                f"has labels that are left out, since Label Studio's server does not "
                f"know them as they are spelled and may refuse all predictions for "
                f"one of them: {_listed(left_out)}; {example}",
            )
        return named

    def _note_same_prompts(self, tag: Tag, labels: Sequence[Label]) -> None:
        """Labels that can never win a pixel, because another one is asked the same."""
        first: dict[frozenset[str], str] = {}
        for label in labels:
            prompts = frozenset(label.prompts)
            if prompts and prompts in first:
                self._note(
                    tag,
                    f"looks for {label.name!r} with the same words as for "
                    f"{first[prompts]!r}, which therefore gets all their pixels; give "
                    f"one of them another model_prompt, or write model_overlap="
                    f'"independent"',
                )
            first.setdefault(prompts, label.name)

    def _note(self, tag: Tag, what: str) -> None:
        note = f"<{tag.element} name={tag.name!r}> {what}."
        if note not in self.notes:
            self.notes.append(note)


def _checked(image: ImageTag) -> ImageTag:
    if refers_to_data(image.value):
        return image
    raise refusal(
        f'has an <Image name="{image.name}"> whose value is {image.value!r}, which '
        f'names no field of the task; write value="$image"'
    )


def _shown(labels: Iterable[Tag]) -> dict[str, frozenset[str]]:
    """Values of labels by what regions answer with; two may share an alias."""
    shown: defaultdict[str, set[str]] = defaultdict(set)
    for label in labels:
        shown[editors_name(label)].add(label.attributes.get("value", ""))
    return {name: frozenset(filter(None, values)) for name, values in shown.items()}


def _listed(tags: Sequence[Tag]) -> str:
    more = len(tags) - _MOST_NAMED
    shown = ", ".join(map(str, tags[:_MOST_NAMED]))
    return shown + (f" and {more} more" if more > 0 else "")


def _alternatives(names: Iterable[str]) -> str:
    """As a person lists them: a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}"
