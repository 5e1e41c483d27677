"""Grey values of more than 8 bits in, 8 bits out. Pure; Y, X are image pixels."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Floats beyond are no measurements: 1e20, 9.97e36 and 3.4e38 are usual fillings.
_MOST: Final = 1e20
# Usual fillings of what was not measured, where the file does not say so.
_FILLINGS: Final = frozenset({-9999.0, -99999.0, -32767.0, -32768.0, -2147483648.0})


def to_8_bit(grey: NDArray[Any], nodata: float | None = None) -> NDArray[np.uint8]:
    """Scale deep grey values to 0..255.

    16-bit values keep their scale, 65535 becoming 255. Others have no white of
    their own: they are stretched, so that the least is black and the largest white.
    What stands for no data takes no part in that and becomes black.

    Args:
        grey: (Y, X), integer or float, of any range.
        nodata: the value that the file names as no data, None if it names none.

    Returns:
        uint8 (Y, X).
    """
    if grey.dtype.kind in "iu" and grey.min() >= 0 and grey.max() <= 65535:
        # Rounds value * 255 / 65535 without a float copy of a large image.
        return ((grey.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
    known = _find_known(grey, nodata)
    if not known.any():
        return np.zeros(grey.shape, np.uint8)
    values = np.where(known, grey, 0).astype(np.float64)
    low = float(values.min(where=known, initial=np.inf))
    high = float(values.max(where=known, initial=-np.inf))
    span = high - low if high > low else 1.0
    stretched = np.rint((values - low) * (255 / span))
    return np.where(known, stretched, 0).astype(np.uint8)


def _find_known(grey: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Where there is a value: bool (Y, X)."""
    known: NDArray[np.bool_] = np.isfinite(grey)
    if grey.dtype.kind == "f":
        known &= np.abs(grey) < _MOST
    if nodata is not None:
        # The tag is decimal text; the pixels have the precision of their type.
        known &= grey != (grey.dtype.type(nodata) if grey.dtype.kind == "f" else nodata)
    if known.any():
        known &= ~_is_filling(grey, known)
    return known


def _is_filling(grey: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the least is a usual filling, and further off than all others lie apart."""
    values = grey[known]
    low = values.min()
    others = values[values != low]
    if float(low) not in _FILLINGS or not others.size:
        return np.zeros(grey.shape, np.bool_)
    least, most = float(others.min()), float(others.max())
    is_apart = least - float(low) > most - least
    return np.asarray((grey == low) & is_apart)
