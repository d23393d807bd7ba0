"""Times of several functions side by side, in turn, so that a busy machine slows all alike."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

WARM_UP = 3


def medians(
    functions: Mapping[str, Callable[[], object]],
    rounds: int,
    seconds: float = 2e-3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median time of each function in seconds.

    Parameters
    ----------
    functions : name -> what to time
    rounds : every function is timed once in each round
    seconds : a function that is quicker than this is called several times in a round
    clock : `time.process_time` counts the time of this process alone, whatever else runs
    """
    calls = {name: _calls(function, seconds) for name, function in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = clock()
            for _ in range(calls[name]):
                function()
            times[name].append((clock() - start) / calls[name])
    return {name: float(np.median(taken)) for name, taken in times.items()}


def import_costs(statement: str) -> tuple[float, float]:
    """Seconds and MB of resident memory that a statement costs a fresh interpreter with NumPy."""
    code = (
        "import os, time, numpy\n"
        "def resident():\n"
        "    with open('/proc/self/statm') as file:\n"
        "        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6\n"
        f"before, start = resident(), time.perf_counter()\n{statement}\n"
        "print(time.perf_counter() - start, resident() - before)\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True
        )
        for _ in range(3)
    ]
    costs = np.array([[float(cost) for cost in run.stdout.split()] for run in runs])
    seconds, megabytes = np.median(costs, axis=0)
    return float(seconds), float(megabytes)


def _calls(function: Callable[[], object], seconds: float) -> int:
    for _ in range(WARM_UP):
        start = time.perf_counter()
        function()
        taken = time.perf_counter() - start
    return max(1, round(seconds / max(taken, 1e-7)))
