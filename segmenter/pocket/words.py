"""The vocabulary of the pocket world: 24 words, each with the emoji that draws it.

Most of them are VOC's, so that an evaluation in VOC layout means something.
The order is the class order of every label map (class 0 is background) and of
the colours in every picture; append, never reorder.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Final

EMOJI: Final = MappingProxyType(
    {
        "airplane": "\N{AIRPLANE}",
        "bicycle": "\N{BICYCLE}",
        "bird": "\N{BIRD}",
        "boat": "\N{SAILBOAT}",
        "bottle": "\N{BOTTLE WITH POPPING CORK}",
        "bus": "\N{BUS}",
        "car": "\N{AUTOMOBILE}",
        "cat": "\N{CAT}",
        "chair": "\N{CHAIR}",
        "cow": "\N{COW}",
        "dog": "\N{DOG}",
        "horse": "\N{HORSE}",
        "motorbike": "\N{RACING MOTORCYCLE}",
        "person": "\N{STANDING PERSON}",
        "plant": "\N{POTTED PLANT}",
        "sheep": "\N{SHEEP}",
        "sofa": "\N{COUCH AND LAMP}",
        "train": "\N{TRAIN}",
        "tv": "\N{TELEVISION}",
        "apple": "\N{RED APPLE}",
        "banana": "\N{BANANA}",
        "tree": "\N{DECIDUOUS TREE}",
        "house": "\N{HOUSE BUILDING}",
        "fish": "\N{FISH}",
    }
)

WORDS: Final = tuple(EMOJI)

GLYPHS_DIR: Final = Path(__file__).parent / "glyphs"
"""The emoji as pictures, `WORD.png` each; see `glyphs`."""
