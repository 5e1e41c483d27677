"""What the documents promise exists, and what they quote is what the code says."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from backend.label_config.attributes import (
    CONTROL_ATTRIBUTES,
    LABEL_ATTRIBUTES,
    read_cut_options,
    read_label,
    read_mode,
)
from backend.settings import Settings
from backend.types import CutOptions
from tests.reference_tables import PARTS, renewed, variable_names

ROOT: Final = Path(__file__).parents[1]
DOCUMENTS: Final = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES_OF_README: Final = 150


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def headings_of(document: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.M)
    anchors: Counter[str] = Counter()
    found = set()
    for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        found.add(f"{anchor}-{anchors[anchor]}" if anchors[anchor] else anchor)
        anchors[anchor] += 1
    return found


def leads_nowhere(link: str, document: Path) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if not target.is_file():
        return True
    return bool(anchor) and anchor not in headings_of(target)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_link_leads_to_a_file_or_heading(document: Path) -> None:
    links = [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text())
        if not link.startswith("http")
    ]

    assert [link for link in links if leads_nowhere(link, document)] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    to_read = [ROOT / "README.md"]
    while to_read:
        page = to_read.pop()
        seen.add(page)
        targets = re.findall(r"\]\(([^)\s#]+\.md)", page.read_text())
        found = {(page.parent / target).resolve() for target in targets}
        to_read += [path for path in found if path in DOCUMENTS and path not in seen]

    assert [name_of(page) for page in DOCUMENTS if page not in seen] == []


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()

    assert len(lines) <= MOST_LINES_OF_README


@pytest.mark.parametrize(
    ("page", "name"), PARTS, ids=lambda value: value.removeprefix("docs/")
)
def test_what_pages_take_from_the_code_is_what_the_code_says(
    page: str, name: str
) -> None:
    text = (ROOT / page).read_text()

    assert renewed(text, name, PARTS[page, name]()) == text, "type: make docs"


def test_the_settings_page_tells_of_every_variable_that_is_read() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    fields = Settings.model_fields.values()
    names = [name for field in fields for name in variable_names(field)]

    assert len(names) > 40
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_label_config_page_tells_of_every_attribute_that_is_read() -> None:
    text = (ROOT / "docs" / "label-config.md").read_text()
    asked: set[str] = set()

    class Recorder(dict[str, str]):
        def get(self, key: str, default: object = None) -> None:  # type: ignore[override]
            asked.add(key)

    read_cut_options(Recorder(), CutOptions(threshold_01=0.5), "a control")
    read_mode(Recorder(), "fast", "a control")
    read_label("name", Recorder(), "a label")

    assert len(asked) > 8
    assert [name for name in asked - {"value"} if f"`{name}`" not in text] == []


def test_every_variable_and_attribute_says_what_it_changes() -> None:
    silent = [
        name
        for name, field in Settings.model_fields.items()
        if not isinstance(field.json_schema_extra, dict)
        or not field.json_schema_extra["help"]
    ]
    attributes = (*CONTROL_ATTRIBUTES, *LABEL_ATTRIBUTES)

    assert silent == []
    assert [one.names for one in attributes if not one.help] == []


def test_troubleshooting_quotes_what_the_code_says() -> None:
    said = "\n".join(texts_of_the_code())
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quotes = re.findall(r"^> (.+)$", page, re.MULTILINE)

    unsaid = [
        (quote, piece)
        for quote in quotes
        for piece in pieces(quote.strip("` "))
        if piece not in said
    ]

    assert len(quotes) > 60
    assert unsaid == []


def pieces(quote: str) -> list[str]:
    """What is left of a message without values, sentence by sentence."""
    parts = re.split(r"…|(?<=[.:])\s", quote)
    return [part.strip() for part in parts if len(re.findall(r"\w", part)) > 2]


def texts_of_the_code() -> Iterator[str]:
    """Every text that the code holds, `…` in the place of values."""
    for package in ("backend", "segmenter"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(map(_written, node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield _written(node)


def _written(node: ast.expr) -> str:
    if not isinstance(node, ast.Constant):
        return "…"
    return re.sub(r"%[-\d.]*[a-z]", "…", str(node.value))
