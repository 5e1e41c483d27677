from pathlib import Path

import pytest

from segmenter import ModelSource, find_terms
from segmenter.presence.models import CAPTIONER, IMAGE_TEXT
from segmenter.terms import CAPTIONER_TERMS, IMAGE_TEXT_TERMS

RAIL = "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_terms_of_a_hub_id_are_those_of_any_of_its_revisions() -> None:
    assert find_terms(ModelSource.parse(f"{RAIL}@abc")) == find_terms(
        ModelSource.parse(RAIL)
    )


def test_companions_have_terms_too() -> None:
    assert IMAGE_TEXT_TERMS.model == IMAGE_TEXT
    assert CAPTIONER_TERMS.model == CAPTIONER


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: openrail++\ntags:\n- x\n---\n# Card", "openrail++ (says"),
        (
            "---\nlicense: other\nlicense_name: sai-nc-community\n---\n",
            "sai-nc-community (says",
        ),
        ("# Card\nlicense: mit\n", "not known here"),
        ("---\ntags: []\n---\nlicense: mit\n", "not known here"),
        (None, "not known here"),
    ],
)
def test_terms_of_a_folder_are_what_its_card_says(
    tmp_path: Path, card: str | None, expected: str
) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)

    terms = find_terms(ModelSource.parse(str(tmp_path)))

    assert terms.licence.startswith(expected)
    assert "gated" not in str(terms)
