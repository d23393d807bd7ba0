"""The same encoder in every library: milliseconds, memory, and whether they agree.

EfficientNet-Lite0, float32 and int8, by ONNX Runtime, LiteRT and tflite-runtime, each in a process
of its own, one thread. Crops of photographs that calibration has not seen. Agreement: cosine
between embeddings, the worst over images, to those of the float32 model by ONNX Runtime. Memory is
what the process holds beyond NumPy after it has run. tflite-runtime needs NumPy 1 and Python 3.11
at most: `--tflite-python` names the interpreter of an environment that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.encoder_files import HELD_OUT_SEED, in_layout, lite0_files, photo_crops
from benchmarks.options import Options, from_arguments, parser
from benchmarks.reporting import ABSENT, Report
from edge_runtime.board.profiles import ENVIRONMENT

PROJECT = Path(__file__).parents[1]
LEGACY_PYTHON = PROJECT / ".venv-legacy/bin/python"
REFERENCE = "Lite0 ONNX float32"
# In a child: open, answer all images, and time one at a time.
CHILD = """
import json, os, sys, time
import numpy as np

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

path, lean, images, out, rounds = sys.argv[1:]
before = resident()
from edge_runtime.inputs.encoders import open_encoder
start = time.process_time()
encoder = open_encoder(path, lean=lean == "lean")
opened = time.process_time() - start
X = np.load(images)
np.save(out, encoder(X)[encoder.embedding])
times = []
for i in range(int(rounds)):
    x = X[i % len(X)][None]
    start = time.process_time()
    encoder(x)
    times.append(time.process_time() - start)
held = resident() - before - X.nbytes
print(json.dumps([encoder.backend, opened, float(np.median(times)), held]))
"""


def run(options: Options, tflite_python: Path = LEGACY_PYTHON) -> Report:
    """Measure every file in every interpreter that can open it."""
    crops = photo_crops(HELD_OUT_SEED, n=4 if options.quick else 16)
    rounds = 5 if options.quick else 100
    records: list[dict[str, Any]] = []
    vectors: dict[str, npt.NDArray[Any]] = {}
    for name, path in lite0_files().items():
        for python in _interpreters(path, tflite_python):
            for lean in ("", "lean"):
                record, found = _measure(python, path, lean, in_layout(crops, path.suffix), rounds)
                record["model"] = name
                records.append(record)
                vectors.setdefault(name, found)
                record["cosine"] = _worst_cosine(found, vectors[REFERENCE])
                record["same format"] = _worst_cosine(found, vectors[name])
    return Report(
        name="encoders",
        title="EfficientNet-Lite0 in every library",
        protocol=(
            f"{len(crops)} crops of photographs, one thread, medians of {rounds} runs of one image "
            "at a time, processor time; each row a process of its own, started as the agent does. "
            "`lean`: `open_encoder(lean=True)`. Agreement is the worst cosine of embeddings: to "
            "float32 by ONNX Runtime, and to the first row of the same file. Memory: resident, "
            "beyond NumPy."
        ),
        columns=(
            "model",
            "library",
            "ms",
            "open, s",
            "memory, MB",
            "against float32",
            "same file",
        ),
        rows=[_row(record) for record in records],
        records=records,
    )


def _interpreters(path: Path, tflite_python: Path) -> list[Path]:
    here = Path(sys.executable)
    if path.suffix != ".tflite":
        return [here]
    if not tflite_python.exists():
        print("SKIPPED: tflite-runtime: no environment has it (`make test-legacy`)", flush=True)
        return [here]
    return [here, tflite_python]


def _measure(
    python: Path, path: Path, lean: str, images: npt.NDArray[np.float32], rounds: int
) -> tuple[dict[str, Any], npt.NDArray[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "images.npy", Path(folder) / "out.npy"
        np.save(source, images)
        words = [python, "-c", CHILD, path.resolve(), lean or "usual", source, out, rounds]
        child = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, check=True, cwd=folder,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip
        backend, opened, took, held = json.loads(child.stdout.splitlines()[-1])
        record = {"library": backend + (", lean" if lean else ""), "open_s": opened}
        return {**record, "ms": took * 1000, "bytes": held}, np.load(out)


def _worst_cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float((np.einsum("nd,nd->n", a, b) / norms).min())


def _row(record: dict[str, Any]) -> list[str]:
    held = f"{record['bytes'] / 2**20:.0f}" if record["bytes"] > 0 else ABSENT
    return [
        record["model"], record["library"], f"{record['ms']:.1f}", f"{record['open_s']:.2f}", held,
        f"{record['cosine']:.4f}", f"{record['same format']:.6f}",
    ]  # fmt: skip


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--tflite-python", type=Path, default=LEGACY_PYTHON)
    parsed = arguments.parse_args()
    chosen = from_arguments(parsed)
    run(chosen, parsed.tflite_python).publish(chosen.out, record=chosen.record)
