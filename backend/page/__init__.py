"""What people look at: pictures, labels and thresholds in, HTML and masks out.

A playground that draws what `/predict` would, and what projects and the backend are
like. Refuses to know how requests get here, and who may ask anything else.
"""

from backend.page.blueprint import Page
from backend.page.guard import PageGuard
from backend.page.project import Projects
from backend.page.state import Doctor, State

__all__ = ["Doctor", "Page", "PageGuard", "Projects", "State"]
