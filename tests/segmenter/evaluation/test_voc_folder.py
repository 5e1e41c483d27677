import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.evaluation.errors import BadFolder, BadSample
from segmenter.evaluation.voc_folder import open_voc_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
CLASSES = np.arange(40, dtype=np.uint8).reshape(5, 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One image, named "one", and its truth."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    Image.fromarray(PIXELS).save(tmp_path / "JPEGImages" / "one.png")
    Image.fromarray(CLASSES).save(tmp_path / "SegmentationClass" / "one.png")
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("one\n")
    return tmp_path


def test_image_and_truth_come_as_they_were_written(root: Path) -> None:
    folder = open_voc_folder(root)

    assert folder.names == ("one",)
    np.testing.assert_array_equal(folder.read_image("one"), PIXELS)
    np.testing.assert_array_equal(folder.read_truth("one"), CLASSES)
    assert folder.read_truth("one").dtype == np.uint8


def test_a_palette_s_numbers_are_the_classes_not_its_colours(root: Path) -> None:
    classes = CLASSES.copy()
    classes[0, :3] = 255
    picture = Image.fromarray(classes)
    picture.putpalette([7 * level % 256 for level in range(768)])
    picture.save(root / "SegmentationClass" / "one.png")

    found = open_voc_folder(root).read_truth("one")

    np.testing.assert_array_equal(found, classes)


def test_a_truth_s_palette_can_be_looked_at(root: Path) -> None:
    path = root / "SegmentationClass" / "one.png"
    picture = Image.fromarray(CLASSES)
    picture.putpalette([0, 0, 0, 1, 2, 3])
    picture.save(path)
    folder = open_voc_folder(root)

    palette = folder.read_palette("one")
    Image.fromarray(CLASSES).save(path)

    assert palette is not None
    assert palette.shape == (256, 3)
    assert palette[1].tolist() == [1, 2, 3]
    assert folder.read_palette("one") is None


def test_a_mark_before_the_first_name_is_no_part_of_it(root: Path) -> None:
    path = root / "ImageSets" / "Segmentation" / "val.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n")

    assert open_voc_folder(root).names == ("one",)


def test_black_and_white_are_background_and_class_1(root: Path) -> None:
    Image.fromarray(CLASSES > 20).save(root / "SegmentationClass" / "one.png")

    found = open_voc_folder(root).read_truth("one")

    np.testing.assert_array_equal(found, CLASSES > 20)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG"])
def test_images_have_the_usual_suffixes(root: Path, suffix: str) -> None:
    (root / "JPEGImages" / "one.png").unlink()
    Image.fromarray(PIXELS).save(root / "JPEGImages" / f"one{suffix}")

    assert open_voc_folder(root).read_image("one").shape == (5, 8, 3)


def test_a_grey_image_is_made_rgb(root: Path) -> None:
    Image.fromarray(CLASSES).save(root / "JPEGImages" / "one.png")

    found = open_voc_folder(root).read_image("one")

    np.testing.assert_array_equal(found, np.repeat(CLASSES[..., None], 3, axis=2))


def test_an_image_stays_as_it_lies_in_the_file(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(PIXELS).save(root / "JPEGImages" / "one.png", exif=exif)

    assert open_voc_folder(root).read_image("one").shape == (5, 8, 3)


def test_pixels_under_full_transparency_are_white_as_in_a_browser(root: Path) -> None:
    alpha = np.full((5, 8, 1), 255, np.uint8)
    alpha[:, :3] = 0
    cutout = np.concatenate([PIXELS, alpha], axis=2)
    Image.fromarray(cutout).save(root / "JPEGImages" / "one.png")

    found = open_voc_folder(root).read_image("one")

    np.testing.assert_array_equal(found[:, 3:], PIXELS[:, 3:])
    assert (found[:, :3] == 255).all()


def test_16_bit_grey_keeps_its_shades(root: Path) -> None:
    deep = CLASSES.astype(np.uint16) * 257
    Image.fromarray(deep).save(root / "JPEGImages" / "one.png")

    found = open_voc_folder(root).read_image("one")

    np.testing.assert_array_equal(found, np.repeat(CLASSES[..., None], 3, axis=2))


def test_an_image_that_ends_early_is_refused_though_browsers_show_it(
    root: Path,
) -> None:
    (root / "JPEGImages" / "one.png").unlink()
    path = root / "JPEGImages" / "one.jpg"
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[:-4])

    with pytest.raises(
        BadSample, match=r"one\.jpg cannot be read as an image: it ends"
    ):
        open_voc_folder(root).read_image("one")


def test_damaged_texts_of_a_truth_are_passed_over(root: Path) -> None:
    path = root / "SegmentationClass" / "one.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + b"\0\0\0\3tEXtk\0aBAD!" + whole[33:])

    np.testing.assert_array_equal(open_voc_folder(root).read_truth("one"), CLASSES)


def test_the_truth_may_lie_in_another_folder(root: Path) -> None:
    (root / "SegmentationClass").rename(root / "SegmentationClassAug")

    folder = open_voc_folder(root, truth_folder="SegmentationClassAug")

    np.testing.assert_array_equal(folder.read_truth("one"), CLASSES)


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("ImageSets/Segmentation/test.txt", "test"),
        ("ImageSets/test.txt", "test"),
        ("ImageSets/SegmentationContext/test.txt", "SegmentationContext/test"),
    ],
)
def test_a_split_is_a_list_of_names_each_counted_once(
    root: Path, place: str, split: str
) -> None:
    path = root / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("b\n\n a b \r\nb\n")

    assert open_voc_folder(root, split=split).names == ("b", "a b")


def test_a_split_that_is_not_there_is_refused_with_those_that_are(root: Path) -> None:
    (root / "ImageSets" / "all.txt").write_text("one\n")
    (root / "ImageSets" / "SegmentationContext").mkdir()
    (root / "ImageSets" / "SegmentationContext" / "val.txt").write_text("one\n")

    with pytest.raises(BadFolder, match=r"Segmentation/test.txt") as caught:
        open_voc_folder(root, split="test")

    assert "--split one of val, SegmentationContext/val, all." in str(caught.value)


def test_a_folder_without_any_list_is_told_how_to_write_one(root: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()

    with pytest.raises(BadFolder, match=r"one a line without suffix\.$"):
        open_voc_folder(root)


@pytest.mark.parametrize("content", [b"\n \n", b"caf\xe9\n"])
def test_a_list_that_names_nothing_is_refused(root: Path, content: bytes) -> None:
    path = root / "ImageSets" / "Segmentation" / "val.txt"
    path.write_bytes(content)

    with pytest.raises(BadFolder) as caught:
        open_voc_folder(root)

    assert str(path) in str(caught.value)


@pytest.mark.parametrize("missing", ["", "JPEGImages", "SegmentationClass"])
def test_a_missing_folder_is_named(root: Path, missing: str) -> None:
    gone = root / missing
    shutil.rmtree(gone)

    with pytest.raises(BadFolder) as caught:
        open_voc_folder(root)

    assert f"There is no folder {gone}." in str(caught.value)


def test_a_missing_file_is_named(root: Path) -> None:
    folder = open_voc_folder(root)

    with pytest.raises(BadSample, match=r"JPEGImages/two\.jpg, nor \.jpeg or \.png"):
        folder.read_image("two")
    with pytest.raises(BadSample, match=r"SegmentationClass/two\.png"):
        folder.read_truth("two")


@pytest.mark.parametrize("content", [b"", b"not a picture", "half"])
def test_a_damaged_file_is_named(root: Path, content: bytes | str) -> None:
    for part in ("JPEGImages", "SegmentationClass"):
        path = root / part / "one.png"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)  # type: ignore[arg-type]
    folder = open_voc_folder(root)

    with pytest.raises(BadSample, match=r"JPEGImages/one\.png cannot be read"):
        folder.read_image("one")
    with pytest.raises(BadSample, match=r"SegmentationClass/one\.png cannot be read"):
        folder.read_truth("one")


def test_an_image_too_large_to_decode_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)

    with pytest.raises(BadSample, match="too many pixels: 40"):
        open_voc_folder(root).read_image("one")


def test_a_truth_of_colours_is_refused(root: Path) -> None:
    Image.fromarray(PIXELS).save(root / "SegmentationClass" / "one.png")

    with pytest.raises(BadSample, match=r"has the mode RGB; .* palettes and 8-bit"):
        open_voc_folder(root).read_truth("one")
