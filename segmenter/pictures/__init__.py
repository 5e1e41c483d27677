"""Bytes of an image file in, the pixels that a browser would show out.

Pure: no network, no file, no settings; no torch either. Refuses to know where a file
comes from and what its pixels are for.
"""

from segmenter.formats import DECODER_FAULTS, IMAGE_FORMATS, MAX_IMAGE_PIXELS
from segmenter.pictures.decoding import Picture, decode_image
from segmenter.pictures.png import keep_picture_chunks

__all__ = [
    "DECODER_FAULTS",
    "IMAGE_FORMATS",
    "MAX_IMAGE_PIXELS",
    "Picture",
    "decode_image",
    "keep_picture_chunks",
]
