"""Disk of an install on aarch64, extra by extra: wheels cross-installed by pip, nothing run.

Whole wheels, as `pip install` leaves them, without bytecode (compiling adds about a quarter).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import main
from benchmarks.options import Options
from benchmarks.reporting import Report

PROJECT = Path(__file__).parents[1]
EXTRAS = ("", "litert", "onnx", "litert,fast", "onnx,fast")
PYTHON = "3.11"
MB = 2**20


def run(options: Options) -> Report | None:
    """Install every extra into a folder, and weigh it."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _pip("wheel", "--no-deps", "--wheel-dir", folder, PROJECT) and next(
            Path(folder).glob("edge_runtime-*.whl")
        )
        if not wheel:
            return None
        records = [_record(wheel, extra) for extra in EXTRAS]
    return Report(
        name="disk",
        title="Disk of an install on aarch64, MB",
        protocol=f"`pip install`, Python {PYTHON}, wheels of this day, no bytecode.",
        columns=("extra", "MB", "largest"),
        rows=[
            [record["extra"] or "none", f"{record['bytes'] / MB:.0f}", record["largest"]]
            for record in records
        ],
        records=records,
    )


def _record(wheel: Path, extra: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        tag = PYTHON.replace(".", "")
        platforms = [f"--platform=manylinux_2_{n}_aarch64" for n in range(36, 16, -1)]
        _pip(
            "install", "--target", folder, "--no-compile", "--only-binary=:all:",
            "--implementation=cp", f"--python-version={PYTHON}", f"--abi=cp{tag}", "--abi=abi3",
            "--abi=none", *platforms, "--platform=manylinux2014_aarch64",
            f"{wheel}[{extra}]" if extra else wheel,
        )  # fmt: skip
        parts = {path.name: _bytes_of(path) for path in Path(folder).iterdir()}
    largest = sorted(parts, key=lambda name: -parts[name])[:4]
    named = ", ".join(f"{name} {parts[name] / MB:.0f}" for name in largest)
    return {"extra": extra, "bytes": sum(parts.values()), "largest": named}


def _bytes_of(path: Path) -> int:
    """What it takes on a disk of 4 KiB blocks."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(-(-each.stat().st_size // 4096) * 4096 for each in files)


def _pip(*words: object) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(f"SKIPPED: pip: {done.stderr.strip()[-200:]}", file=sys.stderr)
    return done.returncode == 0


if __name__ == "__main__":
    main(run, __doc__)
