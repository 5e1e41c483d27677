from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from segmenter.backbones.attention import AttentionCall
from segmenter.backbones.self_attention import refine_by_self_attention
from tests.segmenter.tiny_models import draw_inputs, make_unet, paper_style_maps


def random_calls(n_layers: int, cells: int) -> list[AttentionCall]:
    generator = torch.Generator().manual_seed(3)
    return [
        AttentionCall(
            layer=str(layer),
            kind="self",
            states=torch.zeros(1, cells, 8),
            query=3 * torch.randn(1, 2, cells, 4, generator=generator),
            key=torch.randn(1, 2, cells, 4, generator=generator),
            scale=0.5,
            project=lambda source: source,
        )
        for layer in range(n_layers)
    ]


@pytest.mark.parametrize(
    "size_yx", [(1, 1), (3, 5), (16, 16), (1, 257), (17, 30), (40, 64)]
)
def test_refine_is_the_product_with_the_whole_matrix(size_yx: tuple[int, int]) -> None:
    cells = size_yx[0] * size_yx[1]
    calls = random_calls(2, cells=cells)
    maps = torch.rand(3, *size_yx, generator=torch.Generator().manual_seed(4))

    found = refine_by_self_attention(maps, calls)

    matrix = torch.cat([call.probabilities()[0] for call in calls]).mean(dim=0)
    expected = (maps.flatten(1) @ matrix.T).view_as(maps)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_refine_leaves_a_constant_map_alone() -> None:
    maps = torch.full((1, 20, 20), 0.25)

    found = refine_by_self_attention(maps, random_calls(1, cells=400))

    torch.testing.assert_close(found, maps)


class LargestTensor(TorchDispatchMode):
    """Notes how many numbers the largest result of any operation holds."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.numel = max(self.numel, leaf.numel())
        return result


def test_no_step_forms_the_cells_by_cells_matrix() -> None:
    cells = 64 * 64
    unet = make_unet(("CrossAttnDownBlock2D",))
    latent, context, read = draw_inputs((64, 64), batch=1)

    with LargestTensor() as whole_run:
        paper_style_maps(unet, latent, context, read)
    with LargestTensor() as product_alone:
        refine_by_self_attention(torch.rand(1, 64, 64), random_calls(1, cells=cells))

    # Two heads of 256 rows at once, an eighth of one head's matrix.
    assert 0 < product_alone.numel <= cells**2 // 8
    assert 0 < whole_run.numel <= cells**2 // 8
