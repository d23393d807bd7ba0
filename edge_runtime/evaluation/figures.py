"""Numbers of recorded runs: what one cost and reached, and several seeds side by side.

Pure. Shares are from 0 to 1 in numbers and in percent in tables. Not here: how a run comes about
(`prequential`), pictures and pages (`firmware_tools`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StreamError
from edge_runtime.evaluation.checkpoints import forgetting
from edge_runtime.evaluation.recording import Run

Floats = npt.NDArray[np.float64]

# Two-sided 95 % quantiles of Student's distribution for 1 to 30 degrees of freedom.
STUDENT: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
NORMAL: Final = 1.96
HOUR: Final = 3600.0
# A point of a band for each so many samples at least, and so many points at most.
MAX_POINTS: Final = 400


class Figures(NamedTuple):
    """One run in numbers; NaN where the run does not tell.

    Attributes
    ----------
    accuracy : while learning: every sample answered before its label.
    final, forgetting, routing : on probes, at the end, means over domains; see `checkpoints`.
    noticed, delay : share of changes answered, and median number of samples that it took.
    false_alarms : per hour.
    ood : share of samples called out of distribution.
    labels : learned.
    n_bytes : at the last checkpoint.
    microseconds : median of a step.
    """

    accuracy: float
    final: float
    forgetting: float
    routing: float
    noticed: float
    delay: float
    false_alarms: float
    ood: float
    labels: float
    n_bytes: float
    microseconds: float


# Heading, factor and digits of each figure in a table.
_STYLE: Final[Mapping[str, tuple[str, float, int]]] = {
    "accuracy": ("while learning %", 100, 1),
    "final": ("at the end %", 100, 1),
    "forgetting": ("forgetting", 100, 1),
    "routing": ("routing %", 100, 1),
    "noticed": ("changes noticed %", 100, 0),
    "delay": ("delay, samples", 1, 1),
    "false_alarms": ("false alarms/h", 1, 2),
    "ood": ("OOD %", 100, 1),
    "labels": ("labels", 1, 0),
    "n_bytes": ("kB", 1e-3, 0),
    "microseconds": ("us/step", 1, 0),
}


def figures(run: Run, sample_seconds: float = 1.0) -> Figures:
    """Return the figures of one run; `sample_seconds` is the time between two samples.

    Examples
    --------
    >>> from edge_runtime import EdgeRuntime
    >>> from edge_runtime.evaluation.prequential import evaluate
    >>> X = np.random.default_rng(0).normal(size=(60, 16)) + 3 * np.eye(16)[np.arange(60) % 2]
    >>> run = evaluate(EdgeRuntime(n_dims=1024), X, np.arange(60) % 2, answer="all")
    >>> figures(run).labels, figures(run).false_alarms
    (60.0, 0.0)
    """
    if not 0 < sample_seconds < math.inf:
        raise ValueError(f"sample_seconds is {sample_seconds}, expected a time above 0")
    changes = run.detection_delays()
    delays = [each.delay for each in changes if each.delay is not None]
    hours = (len(run.index) + run.n_rejected) * sample_seconds / HOUR
    last = run.checkpoints[-1] if run.checkpoints else None
    has_times = run.seconds is not None and len(run.seconds) > 0
    return Figures(
        accuracy=run.accuracy(),
        final=float(np.mean(list(last.accuracy.values()))) if last else math.nan,
        forgetting=forgetting(run.checkpoints),
        routing=last.routing(run.home_of_slots()) if last else math.nan,
        noticed=len(delays) / len(changes) if changes else math.nan,
        delay=float(np.median(delays)) if delays else math.nan,
        false_alarms=run.false_alarms() / hours if hours else math.nan,
        ood=run.alarm_rate(),
        labels=float(run.labels_used().total),
        n_bytes=float(last.n_bytes) if last else math.nan,
        microseconds=1e6 * float(np.median(run.seconds)) if has_times else math.nan,  # type: ignore[arg-type]
    )


def summary(
    runs: Mapping[str, Sequence[Run]], sample_seconds: float = 1.0
) -> list[dict[str, str | None]]:
    """Lay out learner -> its runs, one for each seed: mean ± standard deviation; None: unknown."""
    rows = []
    for learner, of_learner in runs.items():
        found = [figures(run, sample_seconds) for run in of_learner]
        cells = {
            heading: _mean_and_sd([scale * getattr(each, name) for each in found], n_digits)
            for name, (heading, scale, n_digits) in _STYLE.items()
        }
        rows.append({"learner": learner, **cells})
    known = [key for key in rows[0] if any(row[key] is not None for row in rows)] if rows else []
    return [{key: row[key] for key in known} for row in rows]


class Band(NamedTuple):
    """Accuracy along a stream over several seeds; `low` and `high` hold the mean in 95 of 100.

    `place` is the stream index.
    One run alone has no band: its bounds are its own curve.
    """

    place: Floats
    mean: Floats
    low: Floats
    high: Floats


def accuracy_band(runs: Sequence[Run], window: int = 100) -> Band:
    """Accuracy over the last `window` samples, at evenly spread places, of runs of one length.

    Raises
    ------
    StreamError
        There is no run, one that answered nothing, or they differ in length.
    """
    lengths = {len(run.is_correct) for run in runs}
    if len(lengths) != 1 or min(lengths) == 0 or window < 1:
        raise StreamError(
            f"runs of {sorted(lengths)} answered samples and a window of {window}: expected runs "
            "of one length over the same stream"
        )
    n = lengths.pop()
    ends = np.unique(np.linspace(1, n, min(n, MAX_POINTS)).round().astype(np.int64))
    begins = np.maximum(ends - window, 0)
    counts = np.stack([np.concatenate([[0], np.cumsum(run.is_correct)]) for run in runs])
    shares = (counts[:, ends] - counts[:, begins]) / (ends - begins)
    mean, half = shares.mean(axis=0), np.zeros(len(ends))
    if len(runs) > 1:
        half = student(len(runs) - 1) * shares.std(axis=0, ddof=1) / math.sqrt(len(runs))
    low, high = np.maximum(mean - half, 0), np.minimum(mean + half, 1)
    return Band(runs[0].index[ends - 1].astype(np.float64), mean, low, high)


def student(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's distribution.

    >>> student(4), student(100)
    (2.776, 1.96)
    """
    return STUDENT[degrees - 1] if degrees <= len(STUDENT) else NORMAL


def _mean_and_sd(values: Sequence[float], n_digits: int) -> str | None:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    mean = f"{np.mean(finite):,.{n_digits}f}"
    return mean if len(finite) == 1 else f"{mean} ± {np.std(finite, ddof=1):,.{n_digits}f}"
