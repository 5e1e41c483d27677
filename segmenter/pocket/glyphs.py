"""Draw the pocket world's glyphs once, from the font, into the package.

    python -m segmenter.pocket.glyphs /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf

Only a developer who adds a word runs this (Debian: `fonts-noto-color-emoji`).
Rendering scenes reads the cropped RGBA pictures beside this file and needs no
font. Their licence is in `glyphs/LICENSE`.
"""

import sys
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from segmenter.pocket.words import EMOJI, GLYPHS_DIR

# The bitmap font holds one size only; FreeType refuses any other.
_FONT_SIZE_PX: Final = 109


def render_glyph(emoji: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw one emoji in colour, cropped to its painted pixels, as RGBA."""
    canvas = Image.new("RGBA", (2 * _FONT_SIZE_PX, 2 * _FONT_SIZE_PX))
    ImageDraw.Draw(canvas).text(
        (20, 20), emoji, font=font, embedded_color=True, fill="white"
    )
    return canvas.crop(canvas.getchannel("A").getbbox())


def main(font_path: str) -> None:
    """Write one PNG per word into `GLYPHS_DIR`."""
    font = ImageFont.truetype(font_path, _FONT_SIZE_PX)
    for word, emoji in EMOJI.items():
        render_glyph(emoji, font).save(GLYPHS_DIR / f"{word}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
