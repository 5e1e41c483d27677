import shutil

import numpy as np
import pytest
from numpy.typing import NDArray

from segmenter import SegmenterOptions
from segmenter.backbones.unet import UNetBackbone
from segmenter.predictor import Segmenter
from tests.segmenter.tiny_models import NO_LATENT_LEVEL, make_parts


# torch's compiler uses parts of torch that it warns of itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.skipif(not shutil.which("g++"), reason="torch compiles with g++")
def test_a_compiled_model_gives_the_maps_of_one_that_is_not(
    picture: NDArray[np.uint8],
) -> None:
    def maps_of(parts: UNetBackbone) -> NDArray[np.float16]:
        segmenter = Segmenter(parts, SegmenterOptions(presence="off"))
        (found,) = segmenter.score([picture], [["cat", "dog"]])
        return found.maps

    compiled = make_parts(NO_LATENT_LEVEL)
    compiled.compile()

    assert compiled.vae.encoder._compiled_call_impl is not None
    np.testing.assert_allclose(
        maps_of(compiled), maps_of(make_parts(NO_LATENT_LEVEL)), atol=2e-3
    )
