"""Clicks, boxes and the mask that a person sees in, that object's new mask out.

No torch and no pass of the model: a click is answered from the picture and what one
pass left behind (`ScoreMaps`). Refuses to know who clicks, and where masks are kept.
"""

from segmenter.clicks.refine import refine_mask

__all__ = ["refine_mask"]
