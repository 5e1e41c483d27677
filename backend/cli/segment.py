"""`diffsegmenter segment`: the segmenter's own command, `python -m segmenter`."""

from segmenter.cli import segment_picture as command

__all__ = ["command"]
