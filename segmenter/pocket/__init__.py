"""The bundled model: its world of 24 words, its training, its weights."""
