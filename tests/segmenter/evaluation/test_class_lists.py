import tomllib
from pathlib import Path

import pytest

from segmenter.evaluation.class_lists import BUNDLED, BUNDLED_DIR, load_class_list
from segmenter.evaluation.errors import BadClassList
from segmenter.pocket.words import WORDS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("title", "length", "numbered"),
    [
        (
            "voc21",
            21,
            {1: "aeroplane", 11: "diningtable", 15: "person", 20: "tvmonitor"},
        ),
        ("context60", 60, {1: "aeroplane", 11: "building", 50: "table", 59: "wood"}),
        ("coco-object", 81, {1: "person", 12: "stop sign", 63: "tv", 80: "toothbrush"}),
        ("pocket", 25, dict(enumerate(WORDS, start=1))),
    ],
)
def test_a_bundled_list_has_its_classes_at_their_numbers(
    title: str, length: int, numbered: dict[int, str]
) -> None:
    classes = load_class_list(title)

    assert len(classes) == len(classes.names) == length
    assert classes.names[0] == "background"
    assert {number: classes.names[number] for number in numbered} == numbered


def test_context_s_classes_are_in_the_order_of_the_alphabet() -> None:
    names = load_class_list("context60").names[1:]

    assert list(names) == sorted(names)


def test_names_that_are_no_words_have_prompts_that_are() -> None:
    prompts = dict(load_class_list("voc21").prompts_of)

    assert prompts["aeroplane"] == ("airplane",)
    assert prompts["diningtable"] == ("dining table",)
    assert prompts["pottedplant"] == ("potted plant",)
    assert prompts["tvmonitor"] == ("tv monitor",)
    assert prompts["bicycle"] == ("bicycle",)


def test_every_bundled_list_is_packaged() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaged = declared["tool"]["setuptools"]["package-data"]["segmenter.evaluation"]

    files = {f"class_lists/{path.name}" for path in BUNDLED_DIR.iterdir()}

    assert files == {f"class_lists/{title}.txt" for title in BUNDLED[:-1]}
    assert packaged == ["class_lists/*"]


@pytest.fixture
def own_list(tmp_path: Path) -> Path:
    return tmp_path / "animals.txt"


def test_an_own_file_gives_names_and_prompts(own_list: Path) -> None:
    own_list.write_text("# pets\ncat: cat, kitten  # both\n\n  big dog \nÉlan\n")

    classes = load_class_list(str(own_list))

    assert classes.names == ("background", "cat", "big dog", "Élan")
    assert classes.prompts_of[0] == ("cat", ("cat", "kitten"))
    assert classes.prompts_of[1] == ("big dog", ("big dog",))


def test_the_lines_of_a_list_are_read_as_the_same_list(own_list: Path) -> None:
    voc = load_class_list("voc21")
    own_list.write_text("\n".join(voc.to_lines()))

    assert load_class_list(str(own_list)).prompts_of == voc.prompts_of


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "cat\n: dog\n", "line 2: a name or a prompt is empty", id="no-name"
        ),
        pytest.param("cat:\n", "line 1: a name or a prompt is empty", id="no-prompt"),
        pytest.param("a: b,,c\n", "line 1: a name or a prompt is", id="a-gap"),
        pytest.param("cat\n\ncat\n", "line 3: the class 'cat' stands", id="name-twice"),
        pytest.param("a: b, b\n", "line 1: a prompt stands here twice", id="in-a-line"),
        pytest.param("a: b\nb\n", "line 2: the prompt 'b' is that of 'a'", id="shared"),
        pytest.param("background\ncat\n", "line 1: the background is", id="background"),
        pytest.param("# none\n", "holds 0 classes", id="empty"),
        pytest.param("\n".join(map(str, range(255))), "255 classes", id="too-many"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(
    own_list: Path, text: str, message: str
) -> None:
    own_list.write_text(text)

    with pytest.raises(BadClassList, match=message) as caught:
        load_class_list(str(own_list))

    assert str(own_list) in str(caught.value)


def test_254_classes_are_the_most(own_list: Path) -> None:
    own_list.write_text("\n".join(map(str, range(254))))

    assert len(load_class_list(str(own_list))) == 255


@pytest.mark.parametrize("title", ["voc", "", "a\0b"])
def test_a_list_that_is_not_there_is_refused_with_those_that_are(title: str) -> None:
    with pytest.raises(BadClassList, match="voc21, context60, coco-object, pocket"):
        load_class_list(title)


def test_a_file_of_another_encoding_is_refused(own_list: Path) -> None:
    own_list.write_bytes("Élan".encode("latin-1"))

    with pytest.raises(BadClassList, match="UTF-8"):
        load_class_list(str(own_list))
