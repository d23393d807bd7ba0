"""Run on the board: steps, and steps with a label, each between two marks for the counter.

``python steps.py STATE SAMPLES``: a directory of generations, and features with labels in .npz.
"""

from __future__ import annotations

import gc
import os
import sys

import numpy as np

from benchmarks.step import as_taps
from edge_runtime import EdgeRuntime

WARM, COUNTED = 4, 15


def main(state: str, samples: str) -> None:
    runtime = EdgeRuntime.load(state)
    with np.load(samples) as arrays:
        pairs = [(as_taps(x), int(k)) for x, k in zip(arrays["X"], arrays["y"], strict=True)]
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
