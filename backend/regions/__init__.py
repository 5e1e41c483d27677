"""Score maps and a control in, Label Studio's regions out; and regions to masks.

Pure. Refuses to know where maps come from, and what becomes of regions.
"""

from backend.regions.components import Part, parts
from backend.regions.control_maps import maps_of_labels
from backend.regions.control_tags import ControlTag, control_tags
from backend.regions.drawings import DrawnRegion, drawn_regions
from backend.regions.painting import Canvas, paint
from backend.regions.polygons import outline
from backend.regions.redrawing import new_region_id, redraw
from backend.regions.results import prediction
from backend.regions.seen import SeenRegion, seen_regions

__all__ = [
    "Canvas",
    "ControlTag",
    "DrawnRegion",
    "Part",
    "SeenRegion",
    "control_tags",
    "drawn_regions",
    "maps_of_labels",
    "new_region_id",
    "outline",
    "paint",
    "parts",
    "prediction",
    "redraw",
    "seen_regions",
]
