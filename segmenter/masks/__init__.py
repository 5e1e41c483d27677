"""Score maps in, masks out."""
