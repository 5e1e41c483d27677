"""What the documents promise exists."""

import re
from pathlib import Path
from typing import Final

import pytest

from backend.label_config.attributes import read_cut_options, read_label
from backend.settings import Settings
from backend.types import CutOptions

ROOT: Final = Path(__file__).parents[1]
DOCUMENTS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_or_heading(document: Path) -> None:
    text = document.read_text()
    headings = {
        re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    links = [
        link
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if not link.startswith("http")
    ]

    missing = [
        link
        for link in links
        if (link[1:] not in headings)
        and not (document.parent / link.partition("#")[0]).is_file()
    ]

    assert missing == []


def test_the_readme_names_every_variable_that_is_read() -> None:
    text = (ROOT / "README.md").read_text()
    names = [
        str(field.validation_alias.choices[0])  # type: ignore[union-attr]
        for field in Settings.model_fields.values()
    ]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_readme_names_every_attribute_that_is_read() -> None:
    text = (ROOT / "README.md").read_text()
    asked: set[str] = set()

    class Recorder(dict[str, str]):
        def get(self, key: str, default: object = None) -> None:  # type: ignore[override]
            asked.add(key)

    read_cut_options(Recorder(), CutOptions(threshold_01=0.5), "a control")
    read_label("name", Recorder(), "a label")

    assert len(asked) > 8
    assert [name for name in asked - {"value"} if f"`{name}`" not in text] == []
