"""Names, numbers and arrays in, bytes out, and back. No pickle: bytes may be anybody's.

A digest, then deflated: the length of a header, the header (JSON: the fields, and type
and shape of each array), the arrays one after the other.
"""

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
# What a damaged or hostile packet may grow to.
_MOST_BYTES: Final = 64 << 20
_TYPES: Final = frozenset({"float16", "float32", "int8", "uint8"})

Arrays = Mapping[str, NDArray[Any]]


def pack(kind: str, fields: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Pack what `unpack` of the same kind gives back.

    Args:
        kind: what it is, and the version of its form.
        fields: anything that JSON holds.
        arrays: of float16, float32, int8 or uint8.
    """
    header = json.dumps(
        {
            "kind": kind,
            "fields": dict(fields),
            "arrays": {
                name: [array.dtype.name, list(array.shape)]
                for name, array in arrays.items()
            },
        },
        sort_keys=True,
    ).encode()
    # In the order that the header lists them.
    bodies = [np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays)]
    size = len(header).to_bytes(_LENGTH_BYTES, "little")
    body = zlib.compress(b"".join([size, header, *bodies]), 6)
    return _digest(body) + body


def unpack(kind: str, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Fields and arrays of a packet.

    Raises:
        ValueError: if it is damaged, or of another kind.
    """
    try:
        return _unpack(kind, data)
    except (zlib.error, LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"This is no {kind}: {error!r}.") from error


def _unpack(kind: str, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if digest != _digest(body):
        raise ValueError(f"This is no {kind}, or a damaged one: its digest is wrong.")
    inflater = zlib.decompressobj()
    plain = inflater.decompress(body, _MOST_BYTES)
    if not inflater.eof:
        raise ValueError(f"This {kind} is cut short, or above {_MOST_BYTES} bytes.")
    start = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES], "little")
    header = json.loads(plain[_LENGTH_BYTES:start])
    if header["kind"] != kind:
        raise ValueError(f"This is a {header['kind']!r}, and no {kind}.")
    arrays = {}
    for name, (type_name, shape) in sorted(header["arrays"].items()):
        if type_name not in _TYPES:
            raise ValueError(f"An array of this {kind} is of type {type_name!r}.")
        count = math.prod(shape)
        dtype = np.dtype(type_name)
        found = np.frombuffer(plain, dtype, count, start)
        arrays[name] = found.reshape(shape)
        start += count * dtype.itemsize
    if start != len(plain):
        raise ValueError(f"This {kind} has {len(plain) - start} bytes too many.")
    return header["fields"], arrays


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:_DIGEST_BYTES]
