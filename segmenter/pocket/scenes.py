"""Render the pocket world: a seed in, a picture with exact masks and words out.

Everything the pocket models are trained and measured on comes from here. A
scene is a pure function of its arguments, so no data set is stored: a seed
names a picture. Seeds from `TEST_SEED_START` up are the test split and are
never trained on.

Glyphs are Noto Color Emoji pictures (`glyphs/LICENSE`).
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segmenter.pocket.words import GLYPHS_DIR, WORDS

TEST_SEED_START: Final = 1_000_000

# Long side of an object as a share of the picture's short side.
_SIZE_ALONE_01: Final = (0.40, 0.85)
_SIZE_AMONG_OTHERS_01: Final = (0.30, 0.55)
_ROTATION_DEG: Final = 20.0
# Per-channel colour factors, so that colour alone does not name the object.
_COLOUR_FACTOR: Final = (0.65, 1.35)
# At most this share of an object's box may be covered by another's.
_OVERLAP_01: Final = 0.10
_PLACEMENT_TRIES: Final = 100
# Beside the seed, so that twins are drawn from numbers of their own.
_OF_TWINS: Final = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One rendered picture and the truth about it.

    Attributes:
        image: uint8 (Y, X, 3), RGB.
        words: one word per object, in drawing order, all different but for twins.
        visible: bool (N, Y, X), the pixels of each object that are not covered
            by a later one; same order as `words`.
    """

    image: NDArray[np.uint8]
    words: tuple[str, ...]
    visible: NDArray[np.bool_]

    @property
    def class_map(self) -> NDArray[np.uint8]:
        """uint8 (Y, X): 0 is background, otherwise 1 + index in `WORDS`."""
        classes = np.zeros(self.image.shape[:2], np.uint8)
        for word, mask in zip(self.words, self.visible, strict=True):
            classes[mask] = 1 + WORDS.index(word)
        return classes


def render_scene(
    seed: int,
    *,
    n_objects: int | None = None,
    size_yx: tuple[int, int] = (128, 128),
) -> Scene:
    """Render the scene that `seed` names.

    Args:
        seed: any non-negative integer; from `TEST_SEED_START` up it belongs to
            the test split.
        n_objects: how many objects, 1 to 24; None draws 1 to 4 with equal odds.
        size_yx: picture size in pixels, rows first.

    Returns:
        The scene. An object that finds no free place in a crowded picture is
        left out of picture and words alike, so `words` may be shorter than
        `n_objects`, never empty.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(1, 5)
    n_wanted = int(drawn) if n_objects is None else n_objects
    picture = _background(rng, size_yx)
    words: list[str] = []
    alphas: list[NDArray[np.float32]] = []
    boxes: list[tuple[int, int, int, int]] = []
    for index in rng.choice(len(WORDS), n_wanted, replace=False):
        glyph = _posed_glyph(rng, WORDS[index], size_yx, alone=n_wanted == 1)
        box = _free_box(rng, glyph.size, size_yx, boxes)
        if box is None:
            continue
        rgba = np.asarray(glyph, np.float32)
        alpha = np.zeros(size_yx, np.float32)
        rows, columns = slice(box[0], box[2]), slice(box[1], box[3])
        alpha[rows, columns] = rgba[..., 3] / 255
        colour = rgba[..., :3] * rng.uniform(*_COLOUR_FACTOR, size=3)
        cover = alpha[rows, columns, None]
        picture[rows, columns] = picture[rows, columns] * (1 - cover) + colour * cover
        words.append(WORDS[index])
        alphas.append(alpha)
        boxes.append(box)
    return Scene(
        image=np.clip(picture, 0, 255).astype(np.uint8),
        words=tuple(words),
        visible=_visible(np.stack(alphas)),
    )


def render_twins(seed: int, *, size_yx: tuple[int, int] = (128, 128)) -> Scene:
    """Render two objects of one word that touch, each in a pose and colour of its own.

    Args:
        seed: as for `render_scene`, whose scenes these are not among.
        size_yx: picture size in pixels, rows first.
    """
    rng = np.random.default_rng((seed, _OF_TWINS))
    picture = _background(rng, size_yx)
    word = WORDS[int(rng.integers(len(WORDS)))]
    placed = None
    while placed is None:
        glyphs = [_posed_glyph(rng, word, size_yx, alone=False) for _ in range(2)]
        placed = _touching(rng, glyphs, size_yx)
    alphas = []
    for glyph, (top, left) in zip(glyphs, placed, strict=True):
        rgba = np.asarray(glyph, np.float32)
        alpha = np.zeros(size_yx, np.float32)
        area = slice(top, top + glyph.height), slice(left, left + glyph.width)
        alpha[area] = rgba[..., 3] / 255
        colour = rgba[..., :3] * rng.uniform(*_COLOUR_FACTOR, size=3)
        cover = alpha[area][..., None]
        picture[area] = picture[area] * (1 - cover) + colour * cover
        alphas.append(alpha)
    return Scene(
        image=np.clip(picture, 0, 255).astype(np.uint8),
        words=(word, word),
        visible=_visible(np.stack(alphas)),
    )


def _touching(
    rng: np.random.Generator, glyphs: list[Image.Image], size_yx: tuple[int, int]
) -> list[tuple[int, int]] | None:
    """Top left corners at which two glyphs just touch; None where they do not fit."""
    first, second = (np.asarray(np.asarray(g)[..., 3] > 127) for g in glyphs)
    angle = rng.uniform(0, 2 * np.pi)
    far = sum(first.shape) + sum(second.shape)
    for distance in range(far, 0, -1):
        apart = (
            round(float(np.sin(angle)) * distance),
            round(float(np.cos(angle)) * distance),
        )
        if _overlaps(first, second, apart):
            break
    starts = []
    for axis in (0, 1):
        first_at = max(0, -apart[axis])
        second_at = first_at + apart[axis]
        room = size_yx[axis] - max(
            first_at + first.shape[axis], second_at + second.shape[axis]
        )
        if room < 0:
            return None
        shift = int(rng.integers(0, room + 1))
        starts.append((first_at + shift, second_at + shift))
    return list(zip(*starts, strict=True))


def _overlaps(
    first: NDArray[np.bool_], second: NDArray[np.bool_], apart_yx: tuple[int, int]
) -> bool:
    """Whether a mask meets another one that lies so far down and right of it."""
    down, right = apart_yx
    one = first[max(0, down) :, max(0, right) :]
    other = second[max(0, -down) :, max(0, -right) :]
    rows = min(one.shape[0], other.shape[0])
    columns = min(one.shape[1], other.shape[1])
    return bool((one[:rows, :columns] & other[:rows, :columns]).any())


def _visible(alphas: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Masks of what later objects leave uncovered; float (N, Y, X) in."""
    opaque = alphas > 0.5
    for i in range(len(opaque) - 1):
        opaque[i] &= ~opaque[i + 1 :].any(axis=0)
    return opaque


def _background(
    rng: np.random.Generator, size_yx: tuple[int, int]
) -> NDArray[np.float32]:
    """A two-colour gradient with a little smooth noise, float (Y, X, 3)."""
    rows, columns = size_yx
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 0.5 + (y - 0.5) * np.sin(angle) + (x - 0.5) * np.cos(angle)
    ramp = np.clip(ramp, 0, 1)[..., None]
    first, second = rng.uniform(20, 235, size=(2, 3))
    coarse = rng.normal(0, 1, size=(6, 6)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize((columns, rows), Image.Resampling.BICUBIC)
    noise = np.asarray(smooth)[..., None] * rng.uniform(0, 8)
    return np.asarray(first * (1 - ramp) + second * ramp + noise, np.float32)


@cache
def _glyph(word: str) -> Image.Image:
    with Image.open(GLYPHS_DIR / f"{word}.png") as picture:
        return picture.convert("RGBA")


def _posed_glyph(
    rng: np.random.Generator, word: str, size_yx: tuple[int, int], *, alone: bool
) -> Image.Image:
    """The word's glyph, flipped, scaled and turned by chance, cropped, RGBA."""
    # Alpha-premultiplied ("RGBa") while resampling: no dark fringe at the edge.
    glyph = _glyph(word).convert("RGBa")
    if rng.random() < 0.5:
        glyph = glyph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    share = rng.uniform(*(_SIZE_ALONE_01 if alone else _SIZE_AMONG_OTHERS_01))
    scale = share * min(size_yx) / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    glyph = glyph.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    degrees = rng.uniform(-_ROTATION_DEG, _ROTATION_DEG)
    glyph = glyph.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    glyph = glyph.convert("RGBA")
    glyph = glyph.crop(glyph.getchannel("A").getbbox())
    # A turned glyph's box may outgrow the picture; the overhang is corner air.
    overhang_x = max(0, glyph.width - size_yx[1])
    overhang_y = max(0, glyph.height - size_yx[0])
    left, top = overhang_x // 2, overhang_y // 2
    return glyph.crop(
        (
            left,
            top,
            glyph.width - (overhang_x - left),
            glyph.height - (overhang_y - top),
        )
    )


def _free_box(
    rng: np.random.Generator,
    glyph_size_xy: tuple[int, int],
    size_yx: tuple[int, int],
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int] | None:
    """A (top, left, bottom, right) that overlaps the taken boxes little, or None."""
    width, height = glyph_size_xy
    for _ in range(_PLACEMENT_TRIES):
        top = int(rng.integers(0, size_yx[0] - height + 1))
        left = int(rng.integers(0, size_yx[1] - width + 1))
        box = (top, left, top + height, left + width)
        if all(_overlap_01(box, other) <= _OVERLAP_01 for other in taken):
            return box
    return None


def _overlap_01(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Shared area over the smaller box's area."""
    rows = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    columns = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    smaller = min(
        (a[2] - a[0]) * (a[3] - a[1]),
        (b[2] - b[0]) * (b[3] - b[1]),
    )
    return rows * columns / smaller
