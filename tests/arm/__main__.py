"""The core suite on emulated boards: ``python -m tests.arm [aarch64] [armhf]``.

``--short`` runs the golden bits alone, ``--instructions`` counts a step as well.

Makes each board, warms its kernels, runs the suite without what `left_out` names, and the first
example. What cannot be made here is skipped with its reason; a test that fails is a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.arm import instructions
from tests.arm.debian import PROJECT, Unavailable
from tests.arm.roots import BOARDS, Root, make, named

SUITE = (
    "hdc", "adaptors", "edge_runtime", "tests/hdc", "tests/adaptors", "tests/protocol",
    "tests/inputs", "tests/memory", "tests/model", "tests/policy", "tests/runtime", "tests/state",
    "tests/board", "tests/test_same_bits.py", "tests/evaluation/test_recording.py",
    "tests/evaluation/test_figures.py",
)  # fmt: skip
# An older core has fewer instructions: a wheel that uses more than there are dies here.
OLD_CORE = "cortex-a53"
SHORT = ("tests/test_same_bits.py", "tests/inputs/encoders/test_open_encoder.py")
PYTEST = (
    "-m", "pytest", "-p", "tests.arm.left_out", "-p", "no:cacheprovider", "-m", "not slow", "-q",
    "--hypothesis-profile=emulated", "--timeout", "300", "-r", "fEs",
)  # fmt: skip


def run(root: Root, what: str, *arguments: str, cpu: str = "", **environment: str) -> bool:
    """Whether the board's Python ends well; says how long it took."""
    print(f"--- {root.board.name}, {cpu or root.board.cpu}: {what}", flush=True)
    begin = time.monotonic()
    command = root.command(*arguments, cpu=cpu)
    done = subprocess.run(command, env=root.environment(**environment), cwd=PROJECT, check=False)
    took = f"{time.monotonic() - begin:.0f} s"
    print(f"--- {'ended well' if done.returncode == 0 else 'FAILED'} after {took}", flush=True)
    return done.returncode == 0


def suite(root: Root, more: tuple[str, ...]) -> bool:
    """Everything for one board; goes on after a failure."""
    results = [
        run(root, "kernels are made", "-c", "import adaptors; adaptors.warm_up()"),
        run(root, "the first example", str(Path("examples/01_first_steps.py"))),
    ]
    if root.board.name == "aarch64":
        results.append(run(root, "an older core", *PYTEST, *SHORT, cpu=OLD_CORE))
    results.append(run(root, "the core suite", *PYTEST, *(more or SUITE)))
    return all(results)


def short(root: Root) -> bool:
    """The golden bits alone, by the NumPy twins: what fits into every run of CI."""
    bits = (*PYTEST, "tests/test_same_bits.py")
    return run(root, "the same bits", *bits, NUMBA_DISABLE_JIT="1")


def main(arguments: list[str]) -> int:
    """Exit code 1 if anything failed."""
    boards = [named(word) for word in arguments if word in BOARDS] or list(BOARDS.values())
    more = tuple(word for word in arguments if word not in BOARDS and not word.startswith("--"))
    failed = False
    for board in boards:
        try:
            root = make(board)
            failed |= not (short(root) if "--short" in arguments else suite(root, more))
        except Unavailable as why:
            print(f"SKIPPED: {board.name} is not emulated: {why}", flush=True)
    if "--instructions" in arguments:
        failed |= bool(instructions.main([]))
    return int(failed)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
