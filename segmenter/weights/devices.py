"""Where a model runs, and in which precision."""

from typing import Any, Final

import torch

DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def pick_device(wanted: str) -> torch.device:
    """Choose the device: "auto" (CUDA when there is one), "cpu", "cuda:1", "mps"."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def pick_dtype(device: torch.device, wanted: str) -> torch.dtype:
    """Choose the precision of the diffusion model.

    Args:
        device: where it will run.
        wanted: "float32", "bfloat16", "float16", or "auto": float16 on CUDA, as
            published, and float32 elsewhere, where half precision is slower on most
            machines.

    Raises:
        ValueError: if it is none of these, or float16 on a CPU, which computes it
            slowly or not at all.
    """
    if wanted == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if wanted not in DTYPES:
        raise ValueError(f"dtype is {wanted!r}, not auto, {', '.join(DTYPES)}")
    if wanted == "float16" and device.type == "cpu":
        raise ValueError(
            "dtype is float16, which CPUs do not compute in; use float32, or bfloat16 "
            "where the processor has it."
        )
    return DTYPES[wanted]


def prepare(model: Any, device: torch.device, *, channels_last: bool = True) -> Any:
    """Put a model to work: on its device, without gradients.

    Args:
        model: of any of the libraries.
        device: where it will run.
        channels_last: keep convolutions' weights in the order that both CPUs and
            tensor cores compute fastest in (docs/benchmarks.md).
    """
    layout = torch.channels_last if channels_last else torch.preserve_format
    model = model.to(device).to(memory_format=layout)
    return model.eval().requires_grad_(False)
