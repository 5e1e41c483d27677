"""Label Studio requests in, Label Studio predictions out.

Knows HTTP, Redis and Label Studio; sees only `segmenter`'s public door.
"""
