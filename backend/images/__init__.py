"""Addresses of a task's images in, upright RGB pixels out.

Refuses to know label configs and models. What cannot be had is an `ImageError` whose
message says who must do what.
"""

from backend.images.fetcher import ImageFetcher

__all__ = ["ImageFetcher"]
