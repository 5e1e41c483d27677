"""The pictures that the tests and the demo put into Label Studio.

Test-split scenes of the pocket world, so that the true masks are known. A
project's labels are exactly the words of each of its scenes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmenter.pocket.scenes import Scene, render_scene

_EXIF_ORIENTATION: Final = 0x0112
# "Turn me 90 degrees clockwise to see me upright."
_TURN_CLOCKWISE: Final = 6
_JPEG_QUALITY: Final = 95

CONTROL_NAME: Final = "tag"
IMAGE_NAME: Final = "image"
# Far from each other and, at full saturation, from every scene's background.
LABEL_COLOURS: Final = ((255, 0, 255), (0, 90, 255))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One scene as a file.

    Attributes:
        seed: the scene's name in the test split.
        size_yx: upright size in pixels.
        turned: whether the file is a JPEG that lies on its side and says so in
            its EXIF orientation; a PNG otherwise.
    """

    seed: int
    size_yx: tuple[int, int] = (128, 128)
    turned: bool = False

    @property
    def file_name(self) -> str:
        """What the upload is called; Label Studio puts a prefix before it."""
        return f"scene-{self.seed}.{'jpg' if self.turned else 'png'}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """An example's pixels and the truth about them.

    Attributes:
        example: what it was made from.
        pixels: uint8 (Y, X, 3), RGB, upright.
        truth: word to bool mask (Y, X) of what is seen of that object.
    """

    example: Example
    pixels: NDArray[np.uint8]
    truth: Mapping[str, NDArray[np.bool_]]

    @property
    def size_yx(self) -> tuple[int, int]:
        """Upright size in pixels."""
        rows, columns, _ = self.pixels.shape
        return rows, columns

    @property
    def content(self) -> bytes:
        """The file."""
        return encode_file(self.example, self.pixels)


@dataclass(frozen=True, kw_only=True)
class ExampleProject:
    """A Label Studio project: its labels and its pictures."""

    title: str
    labels: tuple[str, ...]
    examples: tuple[Example, ...]

    def scene(self, example: Example) -> Scene:
        """Render one of the examples.

        Raises:
            ValueError: the scene holds something else than the labels.
        """
        return _render(example, self.labels)

    @property
    def label_config(self) -> str:
        """The labeling config, one colour of `LABEL_COLOURS` per label."""
        return (
            f'<View><Image name="{IMAGE_NAME}" value="$image"/>'
            f'<BrushLabels name="{CONTROL_NAME}" toName="{IMAGE_NAME}">'
            f"{self._labels}</BrushLabels></View>"
        )

    @property
    def clickable_config(self) -> str:
        """The same with the tools that masks are mended with by clicks."""
        return (
            f'<View><Image name="{IMAGE_NAME}" value="$image"/>'
            f'<BrushLabels name="{CONTROL_NAME}" toName="{IMAGE_NAME}" smart="false">'
            f"{self._labels}</BrushLabels>"
            f'<KeyPointLabels name="points" toName="{IMAGE_NAME}" smart="true">'
            f"{self._labels}</KeyPointLabels>"
            f'<RectangleLabels name="boxes" toName="{IMAGE_NAME}" smart="true">'
            f"{self._labels}</RectangleLabels></View>"
        )

    @property
    def _labels(self) -> str:
        return "".join(
            f'<Label value="{label}" background="#{bytes(colour).hex()}"/>'
            for label, colour in zip(self.labels, LABEL_COLOURS, strict=False)
        )


PROJECTS: Final = (
    ExampleProject(
        title="Boats",
        labels=("boat",),
        examples=(
            Example(seed=1_000_047),
            Example(seed=1_000_072, size_yx=(120, 200)),
            Example(seed=1_000_089),
        ),
    ),
    ExampleProject(
        title="Pets",
        labels=("cat", "dog"),
        examples=(
            Example(seed=1_000_559),
            Example(seed=1_001_502),
            Example(seed=1_002_310),
        ),
    ),
    ExampleProject(
        title="Street",
        labels=("car", "bicycle"),
        examples=(
            Example(seed=1_000_740),
            Example(seed=1_001_570),
            Example(seed=1_002_280),
        ),
    ),
    ExampleProject(
        title="Meadow",
        labels=("horse", "tree"),
        examples=(
            Example(seed=1_000_244),
            Example(seed=1_002_324),
            Example(seed=1_002_347, size_yx=(176, 112), turned=True),
        ),
    ),
)


# The pets again, in sizes of which no two are alike and none is square.
CATS_AND_DOGS: Final = (
    Example(seed=1_002_310, size_yx=(112, 144)),
    Example(seed=1_001_502, size_yx=(120, 200)),
    Example(seed=1_000_559, size_yx=(176, 112)),
)


def render_picture(example: Example, *words: str) -> Picture:
    """Render an example.

    Raises:
        ValueError: the scene holds something else than the words.
    """
    scene = _render(example, words)
    truth = dict(zip(scene.words, scene.visible, strict=True))
    return Picture(example=example, pixels=scene.image, truth=truth)


def side_by_side(picture: Picture) -> Picture:
    """The picture and, right of it, its mirror image: two of each object."""
    rows, columns = picture.size_yx
    return Picture(
        example=replace(picture.example, size_yx=(rows, 2 * columns)),
        pixels=np.concatenate([picture.pixels, picture.pixels[:, ::-1]], axis=1),
        truth={
            word: np.concatenate([mask, mask[:, ::-1]], axis=1)
            for word, mask in picture.truth.items()
        },
    )


def encode_file(example: Example, pixels: NDArray[np.uint8]) -> bytes:
    """The upright pixels as the file that the example describes."""
    upright = Image.fromarray(pixels)
    file = BytesIO()
    if example.turned:
        exif = Image.Exif()
        exif[_EXIF_ORIENTATION] = _TURN_CLOCKWISE
        on_its_side = upright.transpose(Image.Transpose.ROTATE_90)
        on_its_side.save(file, "JPEG", quality=_JPEG_QUALITY, exif=exif)
    else:
        upright.save(file, "PNG")
    return file.getvalue()


def _render(example: Example, words: Sequence[str]) -> Scene:
    scene = render_scene(example.seed, n_objects=len(words), size_yx=example.size_yx)
    if set(scene.words) != set(words):
        raise ValueError(
            f"Scene {example.seed} holds {scene.words}, not {tuple(words)}. "
            f"Choose another seed."
        )
    return scene
