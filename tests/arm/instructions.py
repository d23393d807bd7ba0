"""Instructions of one step on ARM, counted: a slower step shows without a board on the desk.

``python -m tests.arm.instructions [--record]`` compares the medians with the recorded ones, or
writes them to ``benchmarks/results/instructions.md``. Counts repeat to some ten thousandths with
the pinned packages; they are no times: there are no caches, no memory and no branches to miss.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.reporting import RESULTS, Report
from benchmarks.step import LABELS, N_DOMAINS, TAPS, made_up, taught
from tests.arm.debian import Unavailable, cache, host_program, run
from tests.arm.roots import AARCH64, ARMHF, Board, make
from tests.arm.steps import COUNTED, START, WARM

BAND = 0.02
RECORDED = RESULTS / "instructions.md"
GETPPID = {"aarch64": 173, "armhf": 64}
STEP, LEARN = "step", "step and one label"
MILLION = 1e6


def plugin(folder: Path) -> Path:
    """The counter, compiled; Unavailable without a compiler."""
    target = folder / "insn_count.so"
    run("cc", "-O2", "-shared", "-fPIC", "-o", target, Path(__file__).with_name("insn_count.c"))
    return target


def taught_state(folder: Path) -> tuple[Path, Path]:
    """Four mature slots of 8,192 dimensions, learned on the host, and samples of their domains."""
    rng = np.random.default_rng(0)
    domains = [made_up(rng, LABELS) for _ in range(N_DOMAINS)]
    state, samples = folder / "state", folder / "samples.npz"
    shutil.rmtree(state, ignore_errors=True)
    taught(domains, 8192).save(state)
    n = WARM + 2 * COUNTED
    X = np.stack([domains[i % N_DOMAINS][0][i] for i in range(n)])
    y = np.array([domains[i % N_DOMAINS][1][i] for i in range(n)])
    np.savez(samples, X=X, y=y)
    return state, samples


def counts(board: Board, folder: Path, state: Path, samples: Path, **environment: str) -> dict:
    """Instructions of a start, and the medians of a step and of a step with a label."""
    root = make(board)
    out = folder / f"{board.name}.txt"
    qemu = host_program(f"qemu-{board.qemu}", "qemu-user")
    fresh = folder / "fresh"  # a run notes its labels there: each begins with the same files
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(state, fresh)
    steps = Path(__file__).with_name("steps.py")
    # Uncounted, and on other files: bytecode and kernels are compiled then, as an install does.
    first = folder / "first"
    shutil.rmtree(first, ignore_errors=True)
    shutil.copytree(state, first)
    _run(root.command(steps, first, samples), board, root.environment(**environment))
    options = f"{plugin(folder)},out={out},mark={GETPPID[board.name]}"
    command = root.command(steps, fresh, samples, qemu=[*qemu, "-plugin", options])
    _run(command, board, root.environment(**environment))
    costs = np.diff([int(line) for line in out.read_text().split()]).tolist()
    start, costs = costs[: len(START)], costs[len(START) :]
    return {
        **{name: cost for name, cost in zip(START, start, strict=True) if name},
        STEP: median(costs[:COUNTED]),
        LEARN: median(costs[COUNTED:]),
    }


def _run(command: list[str], board: Board, environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"steps ended with {done.returncode} on {board.name}")


def measured() -> list[tuple[str, str, float]]:
    """Rows of board, work, and instructions."""
    folder = cache() / "instructions"
    folder.mkdir(parents=True, exist_ok=True)
    state, samples = taught_state(folder)
    boards = (
        ("aarch64", AARCH64, {}),
        ("aarch64 without numba", AARCH64, {"NUMBA_DISABLE_JIT": "1"}),
        ("armhf (no numba)", ARMHF, {}),
    )
    rows = []
    for name, board, environment in boards:
        counted = counts(board, folder, state, samples, **environment)
        rows += [(name, work, count) for work, count in counted.items()]
    return rows


def recorded() -> dict[tuple[str, str], float]:
    """What the table of results holds; nothing before it is recorded."""
    if not RECORDED.exists():
        return {}
    lines = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d.]+) \|", RECORDED.read_text(), re.MULTILINE)
    return {(board, work): float(count) * MILLION for board, work, count in lines}


def compare(rows: list[tuple[str, str, float]], old: dict[tuple[str, str], float]) -> list[str]:
    """One line for each row; those outside the band end with what is wrong."""
    lines = []
    for board, work, count in rows:
        before = old.get((board, work))
        change = "" if before is None else f" ({count / before - 1:+.2%} of the recorded one)"
        verdict = "" if before is None or abs(count / before - 1) <= BAND else " OUTSIDE THE BAND"
        lines.append(f"{board}, {work}: {count / MILLION:.3f} million{change}{verdict}")
    return lines


def report(rows: list[tuple[str, str, float]]) -> Report:
    versions = ", ".join(name for name in AARCH64.wheels if name.startswith(("numpy", "numba")))
    return Report(
        name="instructions",
        title="Instructions of a start and of one step on ARM, millions",
        protocol=(
            f"{sum(TAPS.values())} features, {N_DOMAINS} mature slots with adaptors, 8,192 "
            f"dimensions, no encoder; counted by a plugin of qemu-user 7.2 in Debian's Python "
            f"3.11 ({versions}; 32 bits: Debian's NumPy 1.24), one thread; steps: medians of "
            f"{COUNTED} after {WARM}; a start: NumPy and the runtime, bytecode and kernels "
            "compiled before, as an install does; the first answer loads numba where there is one. "
            "No times: an emulated board has no caches. `make test-arm` fails where a count moves "
            f"by more than {BAND:.0%}."
        ),
        columns=("board", "work", "million instructions"),
        rows=[[board, work, f"{count / MILLION:.3f}"] for board, work, count in rows],
        records=[{"board": b, "work": w, "instructions": n} for b, w, n in rows],
    )


def main(arguments: list[str]) -> int:
    """Exit code 1 where a count has left its band."""
    try:
        rows = measured()
    except Unavailable as why:
        print(f"SKIPPED: instructions are not counted: {why}")
        return 0
    if "--record" in arguments:
        report(rows).publish(None, record=True)
        return 0
    lines = compare(rows, recorded())
    print("\n".join(lines))
    return int(any("OUTSIDE" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
