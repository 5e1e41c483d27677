"""Score maps and a control in, Label Studio's regions out.

Pure. Refuses to know where maps come from, and what becomes of regions.
"""

from backend.regions.painting import Canvas, paint
from backend.regions.results import prediction

__all__ = ["Canvas", "paint", "prediction"]
