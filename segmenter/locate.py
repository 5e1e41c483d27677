"""Where a model's weights are, and what there is to run it on. Loads nothing."""

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from segmenter.source import DENOISER_FOLDERS, ModelSource
from segmenter.types import Devices, WeightsLocation

_HUB_TIMEOUT_S = 10.0


def find_weights(source: ModelSource) -> WeightsLocation:
    """Look for weights on this machine, then ask the hub; nothing is downloaded."""
    if source.is_directory:
        bundled = source.is_bundled
        return WeightsLocation.BUNDLED if bundled else WeightsLocation.FOLDER
    if _is_cached(source):
        return WeightsLocation.DOWNLOADED
    if constants.HF_HUB_OFFLINE:
        return WeightsLocation.OFFLINE
    try:
        HfApi().model_info(
            source.location, revision=source.revision, timeout=_HUB_TIMEOUT_S
        )
    except GatedRepoError:
        return WeightsLocation.GATED
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return WeightsLocation.NOT_FOUND
    # For a network that fails the hub's library raises what its HTTP client does, and
    # that client has changed from release to release.
    except Exception:
        return WeightsLocation.HUB_UNREACHABLE
    return WeightsLocation.ON_HUB


def _is_cached(source: ModelSource) -> bool:
    """Whether the denoiser's configuration was downloaded before."""
    files = (f"{folder}/config.json" for folder in DENOISER_FOLDERS)
    return any(
        isinstance(
            try_to_load_from_cache(source.location, file, revision=source.revision), str
        )
        for file in files
    )


def find_devices() -> Devices:
    """See what torch can run a model on."""
    # Whoever looks for weights alone does without.
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Devices(
        torch_version=str(torch.__version__),
        cuda=tuple(_describe_cuda(number) for number in range(count)),
        has_mps=torch.backends.mps.is_available(),
    )


def _describe_cuda(number: int) -> str:
    import torch

    free_bytes, total_bytes = torch.cuda.mem_get_info(number)
    return (
        f"cuda:{number}, {torch.cuda.get_device_name(number)}, {free_bytes / 1e9:.0f} "
        f"of {total_bytes / 1e9:.0f} GB free"
    )
