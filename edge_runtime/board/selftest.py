"""Does a deployment run on this board? Tried in a child process that may crash, hang or eat.

The child bounds its own address space before anything heavy is loaded, opens the deployment,
answers the pack's canaries, and lets the active deployment answer the same ones. The parent holds
the clock, kills the child's whole session when time is up, and judges the answer. Not here: what
follows from the verdict (`images`).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from edge_runtime.board.deploying import Place
    from edge_runtime.runtime import EdgeRuntime

TIMEOUT_S: Final = 60.0  # a Pi 3 needs a quarter of it with a cold SD card
# Address space, not use: inference libraries reserve far more than they touch.
MEMORY_BYTES: Final = 3 * 2**30
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_REASON_CHARS: Final = 300
COMMAND: Final = (sys.executable, "-m", "edge_runtime.board.selftest")


@dataclass(frozen=True)
class Places:
    """A deployment's parts as paths in text: what travels to the child."""

    model: str
    head: str | None
    learned: str
    unpacked: str


@dataclass(frozen=True)
class TestRequest:
    """The deployment to try, the active one to compare it with, and the child's memory."""

    __test__ = False  # no test class, whatever pytest makes of the name

    candidate: Places
    active: Places | None = None
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True)
class Verdict:
    """What came of a self-test.

    Attributes
    ----------
    reason
        Why it failed; empty if it passed.
    learned
        Where the learned state comes from, or why it is kept aside.
    accuracy, active_accuracy
        Share of the canaries answered right; None if there are none or nothing is learned yet.
    peak_bytes
        Largest resident memory of the child.
    """

    passed: bool
    reason: str = ""
    learned: str = ""
    accuracy: float | None = None
    active_accuracy: float | None = None
    peak_bytes: int = 0


def run_self_test(
    request: TestRequest, *, timeout_s: float = TIMEOUT_S, command: Sequence[str] = COMMAND
) -> Verdict:
    """Try a deployment in a child process; never raises for what the child does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out:
        asked.write(json.dumps(asdict(request)).encode())
        asked.seek(0)
        with tempfile.TemporaryFile() as log:
            try:
                child = subprocess.Popen(
                    command, stdin=asked, stdout=out, stderr=log, env=environment,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                return Verdict(False, f"cannot start the self-test: {error}")
            status = _wait(child, timeout_s)
            return _judge(status, _tail(out), _tail(log), timeout_s)


Job = Callable[[], "Verdict | None"]


def begin_self_test(request: TestRequest, timeout_s: float) -> Job:
    """Run a self-test beside the caller's loop; the job's answer is None until it has one."""
    verdicts: list[Verdict] = []

    def run() -> None:
        try:
            verdicts.append(run_self_test(request, timeout_s=timeout_s))
        except Exception as error:  # whatever it is: no verdict is no pass
            verdicts.append(Verdict(False, f"the self-test could not run: {error}"))

    threading.Thread(target=run, daemon=True).start()
    return lambda: verdicts[0] if verdicts else None


def _wait(child: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Status of the child, None if time was up; nothing of its session is left running."""
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _tail(file: IO[bytes]) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - MAX_ANSWER_BYTES))
    return file.read(MAX_ANSWER_BYTES)


def _judge(status: int | None, out: bytes, log: bytes, timeout_s: float) -> Verdict:
    if status is None:
        return Verdict(False, f"the self-test did not end within {timeout_s:g} s")
    if status < 0:
        return Verdict(False, f"the self-test died by {signal.Signals(-status).name}")
    try:
        verdict = Verdict(**json.loads(out))
    except (ValueError, TypeError, RecursionError):
        lines = log.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no answer")
        reason = f"the self-test ended with status {status}: {last}"
        return Verdict(False, reason[:MAX_REASON_CHARS])
    before = verdict.active_accuracy
    if verdict.passed and before is not None and (verdict.accuracy or 0.0) < before:
        found = "none" if verdict.accuracy is None else f"{verdict.accuracy:.1%}"
        worse = f"worse than before: {found} of the canaries right, {before:.1%} by the active pack"
        return Verdict(**{**asdict(verdict), "passed": False, "reason": worse})
    return verdict


# -- the child -------------------------------------------------------------------------------


def main() -> None:
    """Read a request on standard input, answer with a verdict on standard output."""
    request = json.load(sys.stdin)
    limit = int(request["memory_bytes"])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    from edge_runtime.errors import EdgeRuntimeError

    try:
        answer = Verdict(True, **_try(request))
    except (EdgeRuntimeError, OSError) as error:
        answer = Verdict(False, str(error)[:MAX_REASON_CHARS])
    except MemoryError:
        answer = Verdict(False, f"out of memory: more than {limit} bytes are needed")
    print(json.dumps(asdict(answer)))


def _try(request: dict[str, Any]) -> dict[str, Any]:
    from edge_runtime.board.deploying import open_deployment, place_of
    from edge_runtime.board.profiles import DEFAULT, PROFILES

    PROFILES[DEFAULT].apply()  # nothing is compiled against the clock
    active = request["active"]
    carry_from = Path(active["learned"]) if active else None
    place = place_of(request["candidate"])
    runtime, learned = open_deployment(place, carry_from=carry_from)
    answer: dict[str, Any] = {"learned": learned}
    canaries = _canaries(place)
    if canaries is not None:
        X, labels = canaries
        answer["accuracy"] = _accuracy(runtime, X, labels)
        del runtime  # before the other one comes: a board has no room for two
        answer["active_accuracy"] = _accuracy_of_active(active, X, labels)
    # Kilobytes on Linux.
    answer["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return answer


def _canaries(place: Place) -> tuple[Any, Sequence[Any]] | None:
    """Of the head if it has some, else of the model; shape and dtype checked before reading."""
    from edge_runtime.protocol.pack.canaries import read_canaries
    from edge_runtime.protocol.pack.manifest import CANARIES
    from edge_runtime.protocol.pack.verify import read_pack

    for path in (place.head, place.model):
        if path is None:
            continue
        with path.open("rb") as file:
            pack = read_pack(file, None)
            if CANARIES in pack.members:
                return read_canaries(pack.read(file, CANARIES)), pack.manifest.canary_labels
    return None


def _accuracy(runtime: EdgeRuntime, X: Any, labels: Sequence[Any]) -> float | None:
    """Share answered right; every canary runs even where nothing is learned yet."""
    predictions = runtime.peek_many(X)
    if not runtime.slots:
        return None
    right = [p.label == label for p, label in zip(predictions, labels, strict=True)]
    return float(sum(right) / len(right))


def _accuracy_of_active(active: Any, X: Any, labels: Sequence[Any]) -> float | None:
    """None if it has learned nothing, does not run, or takes other samples: nothing to compare."""
    from edge_runtime.board.deploying import has_state, open_deployment, place_of
    from edge_runtime.errors import EdgeRuntimeError

    if active is None or not has_state(Path(active["learned"])):
        return None
    try:
        return _accuracy(open_deployment(place_of(active))[0], X, labels)
    except (EdgeRuntimeError, OSError):
        return None


if __name__ == "__main__":
    main()
