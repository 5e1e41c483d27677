"""A folder in VOC layout in, a report on how good a model's masks of it are out.

The `evaluate` command. Refuses to know how masks come about: it asks a segmenter as any
caller would.
"""

from segmenter.evaluation.command import evaluate_folder

__all__ = ["evaluate_folder"]
