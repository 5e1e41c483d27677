"""How tests are spread over processes, and how many examples a property is tried with.

Every process has a Redis, a Label Studio, a backend and a browser of its own, so tests
that share what is slow to start belong together.
"""

import os
from typing import Any, Final

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests import examples

# Begun in this order: what takes longest first, short files to fill up with last.
_ORDER: Final = (
    "tests/e2e/test_outages.py",
    "tests/e2e/test_preannotate.py",
    "tests/e2e/",
    "tests/segmenter/",
    "",
)
# Workers that sleep and commands that watch them need neither backend nor browser.
_BATCHES: Final = _ORDER[:2]

examples.register()

# On a busy machine, threads of so small models wait longest for each other: a test of a
# second takes one and a half minutes. Before anybody imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "_ByFile":
    config.option.loadscopereorder = False
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):
    """Hands out whole files; the end-to-end tests in two parts."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if not file.startswith("tests/e2e/"):
            return file
        return "batches" if file in _BATCHES else "end to end"


def _rank(nodeid: str) -> int:
    return next(n for n, start in enumerate(_ORDER) if nodeid.startswith(start))
