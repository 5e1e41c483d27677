"""Frozen heads, and their bytes. Axis letter: D numbers a cell of the layers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segmenter.heads.packing import pack, unpack

_KIND: Final = "heads 1"
_Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelHead:
    """What corrections taught of one label.

    Attributes:
        label: its name.
        n_positive: examples that show it.
        n_negative: examples that do not, though it was looked for.
        weight_01: of what examples say beside what words say; 0 is words alone.
        expected_gain: in IoU, of images that the head was not fitted on.
        direction: float32 (D,), of the layers.
        offset: added to layers @ direction: above 0 is the label.
        presence: float32 (3,): bias, and weights of the words' log-odds and of the
            head's highest scores, in a logistic regression.
    """

    label: str
    n_positive: int
    n_negative: int
    weight_01: float
    expected_gain: float
    direction: _Floats
    offset: float
    presence: _Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Heads:
    """The heads of a project's labels.

    Attributes:
        labels: one each, ordered by name.
    """

    labels: tuple[LabelHead, ...]

    def to_bytes(self) -> bytes:
        """Pack them; see `from_bytes`."""
        return self._packed

    @property
    def fingerprint(self) -> str:
        """8 hex digits of the bytes."""
        return hashlib.sha256(self._packed).hexdigest()[:8]

    @cached_property
    def _packed(self) -> bytes:
        fields = [
            [
                one.label,
                one.n_positive,
                one.n_negative,
                one.weight_01,
                one.expected_gain,
                one.offset,
            ]
            for one in self.labels
        ]
        return pack(
            _KIND,
            {"labels": fields},
            {
                "directions": _stacked([one.direction for one in self.labels]),
                "presences": _stacked([one.presence for one in self.labels]),
            },
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Heads":
        """Unpack what `to_bytes` gave.

        Raises:
            ValueError: if it cannot be read.
        """
        fields, arrays = unpack(_KIND, data)
        try:
            return cls(
                labels=tuple(
                    LabelHead(
                        label=str(label),
                        n_positive=int(n_positive),
                        n_negative=int(n_negative),
                        weight_01=float(weight_01),
                        expected_gain=float(expected_gain),
                        direction=direction,
                        offset=float(offset),
                        presence=presence,
                    )
                    for (
                        label,
                        n_positive,
                        n_negative,
                        weight_01,
                        expected_gain,
                        offset,
                    ), direction, presence in zip(
                        fields["labels"],
                        arrays["directions"],
                        arrays["presences"],
                        strict=True,
                    )
                )
            )
        except (LookupError, TypeError) as error:
            raise ValueError(f"This is no {_KIND}: {error!r}.") from error


def _stacked(rows: Sequence[_Floats]) -> _Floats:
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, 0), np.float32)
