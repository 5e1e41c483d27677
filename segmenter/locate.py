"""Where a model's weights are, and what there is to run it on. Loads nothing."""

import torch
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from segmenter.source import POCKET_DIR, ModelSource
from segmenter.types import Devices, Whereabouts

# Without which no part of a model in diffusers layout loads.
_FIRST_FILE = "unet/config.json"
_HUB_TIMEOUT_S = 10.0


def find_weights(source: ModelSource) -> Whereabouts:
    """Look for weights on this machine, then ask the hub; nothing is downloaded."""
    if source.is_directory:
        is_pocket = source.location == str(POCKET_DIR)
        return Whereabouts.BUNDLED if is_pocket else Whereabouts.FOLDER
    found = try_to_load_from_cache(
        source.location, _FIRST_FILE, revision=source.revision
    )
    if isinstance(found, str):
        return Whereabouts.DOWNLOADED
    if constants.HF_HUB_OFFLINE:
        return Whereabouts.FORBIDDEN
    try:
        HfApi().model_info(
            source.location, revision=source.revision, timeout=_HUB_TIMEOUT_S
        )
    except GatedRepoError:
        return Whereabouts.GATED
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return Whereabouts.NOWHERE
    # For a network that fails the hub's library raises what its HTTP client does, and
    # that client has changed from release to release.
    except Exception:
        return Whereabouts.OUT_OF_REACH
    return Whereabouts.ON_HUB


def find_devices() -> Devices:
    """See what torch can run a model on."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Devices(
        torch_version=str(torch.__version__),
        cuda=tuple(_describe_cuda(number) for number in range(count)),
        has_mps=torch.backends.mps.is_available(),
    )


def _describe_cuda(number: int) -> str:
    free_bytes, total_bytes = torch.cuda.mem_get_info(number)
    return (
        f"cuda:{number}, {torch.cuda.get_device_name(number)}, {free_bytes / 1e9:.0f} "
        f"of {total_bytes / 1e9:.0f} GB free"
    )
