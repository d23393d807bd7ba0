"""Run on the board: a start, steps, and steps with a label, each between two marks for the counter.

``python steps.py STATE SAMPLES``: a directory of generations, and features with labels in .npz.
"""

from __future__ import annotations

import gc
import os
import sys

os.getppid()
import numpy as np  # noqa: E402

from edge_runtime import EdgeRuntime  # noqa: E402

os.getppid()
from benchmarks.step import as_taps  # noqa: E402

WARM, COUNTED = 4, 15
# What the first spaces between marks are; None: of no interest.
START = ("import", None, "read the state", "first answer", None)


def main(state: str, samples: str) -> None:
    with np.load(samples) as arrays:
        pairs = [(as_taps(x), int(k)) for x, k in zip(arrays["X"], arrays["y"], strict=True)]
    os.getppid()
    runtime = EdgeRuntime.load(state)
    os.getppid()
    runtime.step(pairs[0][0])
    os.getppid()
    for x, k in pairs[:WARM]:
        runtime.learn(runtime.step(x).sample_id, k)
    gc.collect()
    gc.disable()
    os.getppid()
    for x, _ in pairs[WARM:][:COUNTED]:
        runtime.step(x)
        os.getppid()
    for x, k in pairs[WARM + COUNTED :][:COUNTED]:
        runtime.learn(runtime.step(x).sample_id, k)
        os.getppid()


if __name__ == "__main__":
    main(*sys.argv[1:])
