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


@pytest.mark.parametrize(("columns", "n_looks"), [(48, 1), (72, 3)])
def test_one_pass_sees_a_picture_whole_and_its_square_parts(
    image_text: ImageText, picture: NDArray[np.uint8], columns: int, n_looks: int
) -> None:
    pixels = np.ascontiguousarray(picture[:, :columns])
    judge = PresenceScorer(image_text, Calibration())
    looks = []
    hook = image_text.model.vision_model.register_forward_hook(
        lambda _, __, output: looks.append(len(output[0]))
    )
    try:
        found = judge.look_at_whole(pixels)
    finally:
        hook.remove()

    assert looks == [n_looks]
    torch.testing.assert_close(found.embeddings, look_at(image_text, [pixels])[0])
    torch.testing.assert_close(found.patches, judge.look(pixels).patches)


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
