"""`diffsegmenter evaluate`: the segmenter's own measurement of a folder."""

from segmenter.evaluation import evaluate_folder as command

__all__ = ["command"]
