"""What an image-text model knew of each patch, by the pass that is made anyway."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmenter.presence import Calibration, ImageText, PresenceScorer
from segmenter.presence.patches import join_parts, look_at


def test_patches_come_with_the_embeddings_of_one_pass(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    embeddings, patches = look_at(image_text, [picture, picture[:, ::-1].copy()])

    config = image_text.model.config.vision_config
    side = config.image_size // config.patch_size
    assert patches.shape == (2, config.hidden_size, side, side)
    assert embeddings.shape[0] == 2
    assert not torch.equal(patches[0], patches[1])
    assert not image_text.model.vision_model._forward_hooks


def test_a_picture_that_was_judged_is_not_looked_at_again(
    image_text: ImageText, picture: NDArray[np.uint8]
) -> None:
    judge = PresenceScorer(image_text, Calibration())
    passes = []
    hook = image_text.model.vision_model.register_forward_hook(
        lambda *_: passes.append(1)
    )
    try:
        judge.margins(picture, ["cat"])
        same = judge.patches(picture)
        assert len(passes) == 1
        other = judge.patches(picture[::-1].copy())
        assert len(passes) == 2
        fresh = PresenceScorer(image_text, Calibration()).patches(picture)
    finally:
        hook.remove()

    torch.testing.assert_close(same, fresh)
    assert not torch.equal(same, other)


@pytest.mark.parametrize("is_wide", [True, False])
def test_parts_of_an_oblong_picture_lie_where_they_are_of(is_wide: bool) -> None:
    size_yx = (100, 200) if is_wide else (200, 100)
    ramp = torch.arange(4.0).expand(1, 4, 4)  # rises along a part's last axis
    parts = torch.stack([ramp, 4 + ramp])
    if not is_wide:
        parts = parts.transpose(2, 3)

    found = join_parts(parts, size_yx, crops_centre=True)

    wanted = torch.arange(8.0).expand(1, 4, 8)
    torch.testing.assert_close(found, wanted if is_wide else wanted.transpose(1, 2))


def test_what_a_crop_does_not_show_is_as_what_is_next_to_it() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)

    cropped = join_parts(ramp, (100, 120), crops_centre=True)
    squashed = join_parts(ramp, (100, 120), crops_centre=False)

    assert cropped[0, 0, [0, -1]].tolist() == [0, 4]
    assert cropped[0, 0].tolist() != squashed[0, 0].tolist()
    assert (squashed[0, 0].diff() > 0).all()
    assert squashed.shape == cropped.shape == (1, 5, 6)
