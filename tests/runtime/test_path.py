"""How many files a sample and a label travel through: what a reader has to open to follow them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import edge_runtime
from tests.domains import domain
from tests.runtime.teaching import SMALL, taught

PROJECT = Path(edge_runtime.__file__).parents[1]
PACKAGES = tuple(str(PROJECT / name) for name in ("edge_runtime", "hdc", "adaptors"))


def visited(act: Callable[[], object]) -> set[str]:
    """Files of the project in which a function is called while `act` runs."""
    found = set()

    def trace(frame, event, arg):
        if frame.f_code.co_filename.startswith(PACKAGES):
            found.add(frame.f_code.co_filename)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return found


def test_a_sample_and_a_label_visit_few_files():
    runtime = taught(200, **SMALL)
    X, y = domain(0, 12, 3)
    for x in X[:10]:
        runtime.step(x)
    assert len(visited(lambda: runtime.step(X[10]))) <= 18
    sample_id = runtime.step(X[11]).sample_id
    assert len(visited(lambda: runtime.learn(sample_id, int(y[11])))) <= 19
