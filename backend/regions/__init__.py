"""Score maps and a control in, Label Studio's regions out.

Pure. Refuses to know where maps come from, and what becomes of regions.
"""

from backend.regions.control_tags import ControlTag, control_tags
from backend.regions.painting import Canvas, paint
from backend.regions.results import prediction

__all__ = ["Canvas", "ControlTag", "control_tags", "paint", "prediction"]
