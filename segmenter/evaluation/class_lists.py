"""A name or a file in, the classes that the truth's numbers stand for out.

A list is a text file with one class a line, in the order of the truth's numbers from 1
on (0 is the background and has no line):

    bicycle
    tvmonitor: tv monitor, television

Behind the colon stand the prompts that the segmenter is asked for, where they differ
from the name; what any of them finds is the class's. `#` begins a comment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segmenter.evaluation.counts import IGNORED
from segmenter.evaluation.errors import BadClassList
from segmenter.evaluation.text_lines import read_lines
from segmenter.pocket import WORDS

BUNDLED_DIR: Final = Path(__file__).parent / "class_lists"
BUNDLED: Final = ("voc21", "context60", "coco-object", "pocket")


@dataclass(frozen=True, kw_only=True)
class ClassList:
    """The classes of a data set.

    Attributes:
        title: what it was asked for by.
        prompts_of: the classes from number 1 on, each with its prompts, at least
            one; no name and no prompt occurs twice.
    """

    title: str
    prompts_of: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all classes by number, the background's first."""
        return "background", *(name for name, _ in self.prompts_of)

    def __len__(self) -> int:
        """How many classes there are, with the background."""
        return 1 + len(self.prompts_of)

    def to_lines(self) -> list[str]:
        """The lines of a file that would be read as this list."""
        return [
            name if prompts == (name,) else f"{name}: {', '.join(prompts)}"
            for name, prompts in self.prompts_of
        ]


def load_class_list(title: str) -> ClassList:
    """Read a bundled list by its name, or the file at that path.

    Raises:
        BadClassList: if there is neither, or a line cannot be read.
    """
    if title == "pocket":
        return ClassList(title=title, prompts_of=tuple((w, (w,)) for w in WORDS))
    path = BUNDLED_DIR / f"{title}.txt" if title in BUNDLED else Path(title)
    try:
        lines = read_lines(path)
    except UnicodeDecodeError as e:
        raise BadClassList(f"{path} is not UTF-8 text; save it as such.") from e
    except (OSError, ValueError) as e:
        raise BadClassList(
            f"There is no class list {title!r} ({e}). Give {', '.join(BUNDLED)}, or a "
            f"text file with one class a line."
        ) from e
    return ClassList(title=title, prompts_of=_parse(lines, path))


def _parse(lines: Sequence[str], path: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    classes: dict[str, tuple[str, ...]] = {}
    asked_by: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        name, prompts = _split(content)
        problem = _problem(name, prompts, classes, asked_by)
        if problem:
            raise BadClassList(f"{path}, line {number}: {problem}")
        classes[name] = prompts
        asked_by.update(dict.fromkeys(prompts, name))
    if not 1 <= len(classes) < IGNORED:
        raise BadClassList(
            f"{path} holds {len(classes)} classes; give 1 to {IGNORED - 1}, one a line."
        )
    return tuple(classes.items())


def _split(content: str) -> tuple[str, tuple[str, ...]]:
    """A line's name and prompts."""
    name, colon, rest = (part.strip() for part in content.partition(":"))
    prompts = tuple(prompt.strip() for prompt in rest.split(",")) if colon else (name,)
    return name, prompts


def _problem(
    name: str,
    prompts: tuple[str, ...],
    classes: dict[str, tuple[str, ...]],
    asked_by: dict[str, str],
) -> str:
    """What is wrong with a line, in words; nothing when it is right."""
    if not name or not all(prompts):
        return "a name or a prompt is empty; write NAME or NAME: PROMPT, PROMPT."
    if name == "background":
        return "the background is number 0 and has no line; remove it."
    if name in classes:
        return f"the class {name!r} stands in an earlier line; remove one of them."
    if len(set(prompts)) < len(prompts):
        return "a prompt stands here twice; remove one of them."
    shared = next((prompt for prompt in prompts if prompt in asked_by), None)
    if shared is not None:
        return (
            f"the prompt {shared!r} is that of {asked_by[shared]!r} already; a prompt "
            f"can find one class only."
        )
    return ""
