"""Which block of a transformer is read, and a transformer that ends there."""

from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

import torch
from diffusers import SD3Transformer2DModel

from segmenter.backbones.joint.reading import conditions
from segmenter.errors import UnsupportedModel
from segmenter.text import TextEncoders

# The best of all 24 of Stable Diffusion 3 and 3.5, medium (Seg4Diff, NeurIPS 2025).
_BLOCKS_OF_MEDIUM: Final = 24
_BEST_OF_MEDIUM: Final = 9
# By which an unknown model is tried, and how noisy: the share that Seg4Diff reads at.
_TRIAL_TEXT: Final = "a photograph of a dog and a cat beside a tree"
_TRIAL_SIGMA_01: Final = 0.515


def known_block(config: Mapping[str, Any], hint: Mapping[str, Any]) -> int | None:
    """The block to read as far as files say; None where it has to be found.

    Args:
        config: the transformer's.
        hint: of `reading.json` beside the model's folders: `{"block": 3}`.

    Raises:
        UnsupportedModel: if the hint names no block of the model.
    """
    # diffusers' own where a configuration does not say.
    n_blocks = int(config.get("num_layers", 18))
    if "block" not in hint:
        return _BEST_OF_MEDIUM if n_blocks == _BLOCKS_OF_MEDIUM else None
    block = hint["block"]
    if not isinstance(block, int) or not 0 <= block < n_blocks:
        raise UnsupportedModel(
            f"reading.json names the block {block!r} of a transformer whose blocks are "
            f"0 to {n_blocks - 1}. Correct it, or remove the file."
        )
    return block


def ending_behind(block: int) -> Any:
    """A class of diffusers without the blocks behind one; nothing of them is loaded."""

    class FirstBlocks(SD3Transformer2DModel):  # type: ignore[misc]
        _keys_to_ignore_on_load_unexpected = (r"transformer_blocks\.\d+\.",)

        # The signature names what a configuration may hold.
        @wraps(SD3Transformer2DModel.__init__)  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            drop_behind(self, block)

    return FirstBlocks


def drop_behind(transformer: Any, block: int) -> None:
    """Forget the blocks behind one."""
    del transformer.transformer_blocks[block + 1 :]


@torch.inference_mode()
def find_block(transformer: Any, text: TextEncoders) -> int:
    """The block in which text says most beside the image.

    That is where the norm of the text's values is largest against the image's: of all
    blocks the one whose maps are best (Seg4Diff, NeurIPS 2025). Found by one pass over
    noise; the last block, which writes nothing into the text, does not count.
    """
    ratios: dict[int, float] = {}

    def listener(block: int) -> Any:
        def listen(attn: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
            words = attn.add_v_proj(kwargs["encoder_hidden_states"][:, :n_tokens])
            cells = attn.to_v(kwargs["hidden_states"])
            norms = [values.float().norm(dim=2).mean() for values in (words, cells)]
            ratios[block] = float(norms[0] / norms[1])

        return listen

    encoded = text.encode_texts([_TRIAL_TEXT])
    n_tokens = encoded.context.shape[1]
    config = transformer.config
    size = (1, int(config.in_channels), int(config.sample_size))
    noise = torch.randn(
        (*size, size[2]), generator=torch.Generator().manual_seed(0)
    ).to(transformer.device, transformer.dtype)
    handles = [
        one.attn.register_forward_pre_hook(listener(block), with_kwargs=True)
        for block, one in enumerate(transformer.transformer_blocks[:-1])
    ]
    try:
        transformer(
            hidden_states=noise,
            return_dict=False,
            **conditions(transformer, [encoded], sigma_01=_TRIAL_SIGMA_01),
        )
    finally:
        for handle in handles:
            handle.remove()
    return max(ratios, key=ratios.__getitem__, default=0)
