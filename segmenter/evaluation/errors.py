"""What an evaluation refuses. Each says what happened, where, and the remedy.

EvaluationError
├── BadClassList  no list of that name, or a line that cannot be read
├── BadFolder     the data set's folder or its split is not as VOC has it
├── BadSample     one image or its truth; the run goes on without it
└── OtherRun      the records beside the report are of another run, or damaged
"""

from segmenter.errors import SegmenterError


class EvaluationError(SegmenterError):
    """Root of everything an evaluation refuses on purpose."""


class BadClassList(EvaluationError):
    """The classes that the truth's numbers stand for cannot be read."""


class BadFolder(EvaluationError):
    """The folder holds no data set in VOC layout."""


class BadSample(EvaluationError):
    """One image that cannot be counted; the others can."""


class OtherRun(EvaluationError):
    """Records that the run to come must not be mixed with."""
