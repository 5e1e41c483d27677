"""One file for each format, with its `FORMAT`; see `format.py`."""
