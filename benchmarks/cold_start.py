"""From the start of the process to the first answer and the first learned label, cold and warm.

A process like the agent's worker opens a Lite0 int8 pack's parts: an encoder and learned state of
four slots, then answers one sample and learns its label. Times are processor time of the process (a
board starts with nothing else to do, this machine has), by part. `no bytecode` and `kernels not
compiled` are the first start ever: an empty bytecode cache, an empty kernel cache. A second label
must find everything there: what it takes is the proof that nothing is compiled after the first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.command import main
from benchmarks.encoder_files import lite0_files
from benchmarks.options import Options
from benchmarks.reporting import Report
from benchmarks.step import LABELS, N_DOMAINS, made_up, taught
from edge_runtime import open_encoder
from edge_runtime.board.profiles import ENVIRONMENT, PROFILES

PROJECT = Path(__file__).parents[1]
CHILD = """
import json, sys, time
marks = [time.process_time()]
profile, encoder_path, learned, sample = sys.argv[1:]
import numpy as np
marks.append(time.process_time())
import edge_runtime.board.service, edge_runtime.board.deploying
from edge_runtime.board.profiles import PROFILES
from edge_runtime import EdgeRuntime, open_encoder
marks.append(time.process_time())
PROFILES[profile].apply()
marks.append(time.process_time())
encoder = open_encoder(encoder_path, lean=PROFILES[profile].lean)
marks.append(time.process_time())
runtime = EdgeRuntime.load(learned, encoder)
x = np.load(sample)
marks.append(time.process_time())
first = runtime.step(x)
marks.append(time.process_time())
runtime.learn(first.sample_id, 0)
marks.append(time.process_time())
second = runtime.step(x)
runtime.learn(second.sample_id, 0)
marks.append(time.process_time())
print(json.dumps(marks))
"""
PARTS = (
    "import numpy", "import runtime", "kernels", "encoder", "state", "first answer", "first label",
    "next answer and label",
)  # fmt: skip


def run(options: Options) -> Report:
    """Time every profile and format warm, and the first starts."""
    repeats = 1 if options.quick else 5
    records = []
    for name, path in lite0_files(int8_only=True).items():
        with tempfile.TemporaryDirectory() as folder:
            words = prepare(path, Path(folder), 200 if options.quick else LABELS)
            for profile in PROFILES:
                start(profile, words, folder)  # fills the caches
                times = [start(profile, words, folder) for _ in range(repeats)]
                records.append(_record(f"{name}, {profile}", times))
            if path.suffix == ".tflite":
                fresh = [start("standard", words, f"{folder}/a{i}") for i in range(3)]
                records.append(_record(f"{name}, standard, no bytecode", fresh))
                cold = [start("fast", words, f"{folder}/b{i}") for i in range(3)]
                name = f"{name}, fast, no bytecode, kernels not compiled"
                records.append(_record(name, cold))
    return Report(
        name="cold_start",
        title="From the start of the process to the first answer, seconds",
        protocol=(
            f"{N_DOMAINS} slots with adaptors; processor time, medians of {repeats} starts (first "
            "starts: of 3). `answered` is all up to the first answer, `beyond the encoder` the "
            "same without opening the encoder. The last column is in milliseconds."
        ),
        columns=("start", *PARTS[:7], "answered", "beyond the encoder", f"{PARTS[7]}, ms"),
        rows=[_row(record) for record in records],
        records=records,
    )


def prepare(encoder_path: Path, folder: Path, labels: int) -> list[str]:
    """The arguments of a start: encoder, learned state, sample."""
    encoder = open_encoder(encoder_path)
    assert encoder.input_spec is not None
    rng = np.random.default_rng(0)
    runtime = taught([made_up(rng, labels) for _ in range(N_DOMAINS)], 8192, encoder)
    runtime.save(folder / "learned")
    sample = rng.normal(size=encoder.input_spec.shape).astype(np.float32)
    np.save(folder / "sample.npy", sample)
    return [str(encoder_path.resolve()), str(folder / "learned"), str(folder / "sample.npy")]


def start(profile: str, words: list[str], caches: str) -> list[float]:
    """Seconds of each part of one start, with its caches in this folder."""
    environment = {
        **os.environ, **ENVIRONMENT, "PYTHONPATH": str(PROJECT),
        "PYTHONPYCACHEPREFIX": f"{caches}/bytecode", "NUMBA_CACHE_DIR": f"{caches}/kernels",
    }  # fmt: skip
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else no start would be warm
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, profile, *words], capture_output=True,
        text=True, check=True, env=environment,
    )  # fmt: skip
    marks = json.loads(child.stdout.splitlines()[-1])
    return [after - before for before, after in pairwise(marks)]


def _record(name: str, times: list[list[float]]) -> dict[str, Any]:
    parts = {
        part: median(column) for part, column in zip(PARTS, zip(*times, strict=True), strict=True)
    }
    answered = sum(parts[part] for part in PARTS[:6])
    return {
        "start": name, **parts, "answered": answered, "beyond": answered - parts["encoder"]
    }  # fmt: skip


def _row(record: dict[str, Any]) -> list[str]:
    cells = [f"{record[part]:.2f}" for part in (*PARTS[:7], "answered", "beyond")]
    return [record["start"], *cells, f"{1000 * record[PARTS[7]]:.1f}"]


if __name__ == "__main__":
    main(run, __doc__)
