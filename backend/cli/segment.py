"""`diffsegmenter segment`: the segmenter's own command, `python -m segmenter`."""

from segmenter.commands import segment_picture as command

__all__ = ["command"]
