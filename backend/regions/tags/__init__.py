"""One file for each control tag, with its `TAG`; see `control_tags.py`."""
