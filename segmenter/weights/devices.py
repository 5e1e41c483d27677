"""Where a model runs, and in which precision."""

from typing import Any, Final

import torch
from torch.nn import functional as F

from segmenter.errors import UnusableDevice, UnusablePrecision

DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def pick_device(wanted: str) -> torch.device:
    """Choose the device: "auto" (CUDA when there is one), "cpu", "cuda:1", "mps"."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(wanted)
    except RuntimeError as error:
        raise UnusableDevice(wanted, first_line(error)) from error


def pick_dtype(device: torch.device, wanted: str) -> torch.dtype:
    """Choose the precision of the diffusion model.

    Args:
        device: where it will run.
        wanted: "float32", "bfloat16", "float16", or "auto": float16 on CUDA, as
            published, and float32 elsewhere, where half precision is slower on most
            machines.

    Raises:
        UnusablePrecision: if it is none of these, or float16 on a CPU, which computes
            it slowly or not at all.
    """
    if wanted == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if wanted not in DTYPES:
        raise UnusablePrecision(f"dtype is {wanted!r}, not auto, {', '.join(DTYPES)}")
    if wanted == "float16" and device.type == "cpu":
        raise UnusablePrecision(
            "dtype is float16, which CPUs do not compute in; use float32, or bfloat16 "
            "where the processor has it."
        )
    return DTYPES[wanted]


def try_out(device: torch.device, dtype: torch.dtype) -> None:
    """Compute a little of what models compute: the device's faults show here.

    What fails later is the model's fault, or memory's (`is_device_error`).

    Raises:
        UnusableDevice: if the device is not there, or does not compute in `dtype`.
    """
    try:
        picture = torch.ones(1, 1, 4, 4, device=device, dtype=dtype)
        kernel = torch.ones(1, 1, 3, 3, device=device, dtype=dtype)
        (F.conv2d(picture, kernel)[0, 0] @ picture[0, 0, :2, :2]).softmax(-1).cpu()
    # Of a device that torch was not built for it says one or another of these.
    except (RuntimeError, AssertionError, ImportError) as error:
        raise UnusableDevice(str(device), first_line(error)) from error


def is_device_error(error: BaseException) -> bool:
    """Whether torch says that a device failed or is too small, whatever it ran."""
    # torch's own classes for it differ between versions and devices; texts do not.
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(
            sign in text
            for sign in ("out of memory", "not enough memory", "cuda error")
        )
    )


def first_line(error: BaseException) -> str:
    """What a library says, without the pages below it."""
    return (str(error).splitlines() or [type(error).__name__])[0]


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
