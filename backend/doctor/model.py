"""Checks of the model: whether its weights are here, and the device takes them."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from backend.doctor.findings import (
    Check,
    Finding,
    ok,
    problem,
    problem_of,
    skipped,
    warning,
)
from backend.doctor.running import RunningBackend
from backend.inference import Predictor
from backend.settings import Settings
from segmenter import (
    BUNDLED_MODELS,
    ModelSource,
    SegmenterError,
    WeightsLocation,
    find_devices,
    find_recipe,
    find_terms,
    find_weights,
)

# A day: what is not here yet is downloaded, and waiting needs a number.
_LOADING_LIMIT_S: Final = 86_400.0


def check_weights(settings: Settings) -> Check[bool]:
    """Whether MODEL leads to weights; returns whether they are on this machine.

    Nothing is downloaded. Licence and gate are named beside it, and by which recipe
    such a model is read.
    """
    try:
        source = ModelSource.parse(settings.model)
    except SegmenterError as error:
        yield problem_of("weights", error)
        return False
    found = find_weights(source)
    finding = _describe_weights(settings.model, found)
    terms, recipe = str(find_terms(source)), f"read by the recipe {find_recipe(source)}"
    yield replace(finding, details=(*finding.details, recipe, terms))
    return found.is_here


def check_device(settings: Settings) -> Check[bool]:
    """Whether DEVICE is there, and what "auto" becomes; returns whether it is."""
    asked, devices = settings.device, find_devices()
    if asked.startswith("cuda"):
        number = int(asked.partition(":")[2] or 0)
        if number >= len(devices.cuda):
            yield problem(
                "device",
                f"DEVICE={asked}, and torch {devices.torch_version} sees "
                f"{len(devices.cuda)} CUDA devices",
                "Set DEVICE=auto; for CUDA install its driver and a torch built for "
                "it, and in docker start the container with --gpus all.",
            )
            return False
        yield ok("device", devices.cuda[number])
        return True
    if asked == "mps" and not devices.has_mps:
        yield problem("device", "DEVICE=mps is not on this machine", "Set DEVICE=auto.")
        return False
    if asked == "auto" and devices.cuda:
        yield ok("device", f"auto takes {devices.cuda[0]}")
    elif asked == "auto" and settings.model not in BUNDLED_MODELS:
        yield warning(
            "device",
            f"auto takes the CPU, as torch {devices.torch_version} sees no CUDA "
            f"device: with Stable Diffusion expect 10 seconds or so for each image",
            "For speed run the backend where there is an NVIDIA GPU, with a torch "
            "built for CUDA. On a CPU that computes in bfloat16 (lscpu names amx_bf16 "
            "or avx512_bf16), DTYPE=bfloat16 takes about a third of the time.",
        )
    else:
        yield ok("device", f"{asked} takes the CPU" if asked == "auto" else asked)
    return True


def check_loading(
    build: Callable[[], Predictor],
    *,
    is_possible: bool,
    running: RunningBackend | None = None,
) -> Check[Predictor | None]:
    """Load the model; returns the predictor when that is done.

    Args:
        build: makes the predictor, without its model.
        is_possible: whether weights and device are there.
        running: has it loaded already, and will predict; None if nobody has.
    """
    if running is not None:
        yield ok(
            "loading",
            f"the backend at {running.url} has the model, and is asked instead of "
            f"loading it here",
        )
        return None
    if not is_possible:
        yield skipped("loading", "weights or device are not there")
        return None
    started = time.monotonic()
    try:
        predictor = build()
        predictor.segmenter(_LOADING_LIMIT_S)
    except SegmenterError as error:
        yield problem_of("loading", error)
        return None
    yield ok("loading", f"the model loads in {time.monotonic() - started:.1f} s")
    return predictor


def _describe_weights(model: str, found: WeightsLocation) -> Finding:
    """What that means, and what to do to have them here."""
    fetch = f"Download it once: diffsegmenter segment PICTURE.jpg cat --model {model}"
    match found:
        case WeightsLocation.BUNDLED:
            return warning(
                "weights",
                "the bundled pocket model, for trying out: it knows 24 words of a toy "
                "world, and paints noise for others and on photographs",
                "Set MODEL=stable-diffusion-v1-5/stable-diffusion-v1-5 for real "
                "pictures (downloads about 6 GB once).",
            )
        case WeightsLocation.FOLDER:
            return ok("weights", f"{model} is a folder")
        case WeightsLocation.DOWNLOADED:
            return ok("weights", f"{model} is on this machine")
        case WeightsLocation.ON_HUB:
            return warning("weights", f"{model} is on the hub, not here yet", fetch)
        case WeightsLocation.GATED:
            remedy = (
                f"Accept them on its page at the hub, type: hf auth login; then: "
                f"{fetch}"
            )
        case WeightsLocation.NOT_FOUND:
            remedy = (
                "Correct MODEL: a hub id such as "
                "stable-diffusion-v1-5/stable-diffusion-v1-5, with @revision if wanted."
            )
        case WeightsLocation.HUB_UNREACHABLE:
            remedy = (
                "Copy the weights here from a machine that reaches the hub, and set "
                "MODEL to their folder."
            )
        case WeightsLocation.OFFLINE:
            remedy = (
                "Unset HF_HUB_OFFLINE, or copy the weights here and set MODEL to their "
                "folder."
            )
    return problem("weights", f"{model} is {found.value}", remedy)
