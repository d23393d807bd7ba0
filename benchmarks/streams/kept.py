"""Results of peers, kept in the cache: they do not change while the runtime does.

A result is found again by the digest of what it was made of: the data, the method, its settings,
the seed, and the source files of the peers themselves. Anything else is measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.features import FeatureSet
from examples.datasets.archives import cache_dir
from firmware_tools.files import write_atomically

HERE = Path(__file__).parent
SOURCES = (
    *sorted((HERE.parent / "peers").glob("*.py")),
    HERE.parent / "continual_peers.py",
    HERE.parent / "splits.py",
    HERE / "learners.py",
)
# Set to measure every peer again.
FRESH = "EDGE_RUNTIME_FRESH_PEERS"


def kept(what: tuple[Any, ...], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was computed for the same `what` before, or compute it; plain JSON values."""
    key = hashlib.sha256(repr((sources(), what)).encode()).hexdigest()[:32]
    path = cache_dir() / "peers" / f"{key}.json"
    if not os.environ.get(FRESH):
        try:
            found: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):  # absent, or cut short: measured again
            pass
        else:
            return found
    found = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found).encode())
    return found


def digest(data: FeatureSet) -> str:
    """Digest of all samples, classes and domains of a feature set."""
    made = hashlib.sha256(repr((data.X.shape, dict(data.taps))).encode())
    for array in (data.X, data.y, data.domain, data.scene):
        made.update(b"" if array is None else array.tobytes())
    return made.hexdigest()[:16]


@cache
def sources() -> str:
    """Digest of the peers' own code."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]
