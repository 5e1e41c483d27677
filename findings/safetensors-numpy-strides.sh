#!/usr/bin/env bash
# safetensors 0.8.0 (numpy 2.2.6): `safetensors.numpy.save` writes an array's memory, not
# its values, where the two are not in one order.
#
# Maps and latents are turned and cut before they are kept: channels first, every other
# cell. We guessed that `save` copies what does not lie in row-major order, as numpy's own
# `tobytes` does, or refuses it, as `safetensors.torch.save` does ("non contiguous
# tensor").
# Seen: neither. The shape is that of the view, the bytes are those that lie where it
# begins, so what is loaded has the right shape and dtype and other values, without a word.
# Of a transposed array the same numbers come back in another order, of a slice with a step
# numbers that are no part of it. Give it `numpy.ascontiguousarray` of each array.
#
# Exits with another status than 0 once that changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    safetensors==0.8.0 numpy==2.2.6 2>/dev/null
cd "$folder"

"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from safetensors.numpy import load, save

cells = np.arange(12, dtype=np.float32).reshape(3, 4)
views = {"turned": cells.T, "every other column": cells[:, ::2]}
for name, view in views.items():
    found = load(save({"x": view}))["x"]
    print(f"{name}: given {view[0].tolist()} ..., loaded {found[0].tolist()} ...")
    assert (found.shape, found.dtype) == (view.shape, view.dtype)
    assert not np.array_equal(found, view), "values are kept now"
    assert np.array_equal(load(save({"x": np.ascontiguousarray(view)}))["x"], view)
PYTHON
