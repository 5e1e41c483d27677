"""What a pass knew of an image beside its score maps in, the same out.

For clicks, and for what was learned of labels. Kept in memory, bounded in bytes, and in
slots of the cache, bounded in number, as the float16 that it came as. Only what
somebody may click on, or what heads are asked for, is put here: whole projects would
fill any store, at up to 0.25 MB an image for clicks and 0.5 MB for heads.
"""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from backend.cache.held import HeldValues
from backend.cache.slots import Slots

Features = NDArray[np.float16]

MAX_BYTES: Final = 1 << 18
MAX_LAYER_BYTES: Final = 1 << 19
_MAGIC: Final = b"DSF1"
_HEAD: Final = struct.Struct("<4sI3H")
# Stands for an image whose pass had none: it need not be asked for again.
NO_FEATURES: Final = np.zeros((0, 0, 0), np.float16)


class FeatureStore:
    """Features by the keys of score maps. Any thread may call; no call raises.

    Args:
        slots: those of all processes.
        max_bytes: in memory.
        largest_bytes: of one image; of those with more, none are kept.
    """

    def __init__(
        self, slots: Slots, *, max_bytes: int, largest_bytes: int = MAX_BYTES
    ) -> None:
        self._slots = slots
        self._largest_bytes = largest_bytes
        self._held: HeldValues[Features] = HeldValues(max_bytes, lambda one: one.nbytes)

    def get(self, key: str) -> Features | None:
        """What is kept, empty if its pass had none, None if there is nothing."""
        held = self._held.get(key)
        if held is not None:
            return held
        packed = self._slots.get(key)
        found = None if packed is None else decode_features(packed, self._largest_bytes)
        if found is not None:
            self._held.put(key, found)
        return found

    def put(self, key: str, features: Features | None) -> None:
        """Keep the features of one image, or that there are none."""
        kept = NO_FEATURES if features is None else features
        is_small = kept.ndim == 3 and kept.nbytes <= self._largest_bytes
        if not is_small or not np.isfinite(kept).all():
            kept = NO_FEATURES
        self._held.put(key, kept)
        self._slots.put(key, encode_features(kept))


def encode_features(features: Features) -> bytes:
    """Pack float16 (D, v, u)."""
    body = features.astype("<f2").tobytes()
    return _HEAD.pack(_MAGIC, zlib.crc32(body), *features.shape) + body


def decode_features(packed: bytes, largest_bytes: int = MAX_BYTES) -> Features | None:
    """What `encode_features` packed; None for anything else."""
    if not _HEAD.size <= len(packed) <= _HEAD.size + largest_bytes:
        return None
    magic, checksum, depth, rows, columns = _HEAD.unpack_from(packed)
    body = packed[_HEAD.size :]
    if magic != _MAGIC or len(body) != 2 * depth * rows * columns:
        return None
    if zlib.crc32(body) != checksum:
        return None
    features = np.frombuffer(body, "<f2").astype(np.float16)
    if not np.isfinite(features).all():
        return None
    return features.reshape(depth, rows, columns)
