"""A seed in, a picture of the pocket world with its truth out.

The world of 24 words that the bundled model knows. Its weights lie beside, its training
is a room on top (`pocket.train`), its scenes as a data set are a command
(`python -m segmenter.pocket.voc`). Refuses to know who looks at the pictures.
"""

from segmenter.pocket.scenes import TEST_SEED_START, Scene, render_scene, render_twins
from segmenter.pocket.words import WORDS

__all__ = ["TEST_SEED_START", "WORDS", "Scene", "render_scene", "render_twins"]
