"""What people drew in Label Studio in, a data set to train on out, pixel by pixel.

In: a project's tasks, and where to write. Out: a folder in one of the formats, and what
was left out. Refuses to know models, predictions' making and command lines.
"""

from backend.export.data_set import INDEX_FILE, Choice, ExportReport, ExportSpec
from backend.export.exporter import Exporter
from backend.export.folder import whole_folder
from backend.export.format import Format, known_formats

__all__ = [
    "INDEX_FILE",
    "Choice",
    "ExportReport",
    "ExportSpec",
    "Exporter",
    "Format",
    "known_formats",
    "whole_folder",
]
