"""Streams that get worse: sensors that drift slowly, and labels of which some are wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.continual_peers import PEERS, accuracy
from benchmarks.features import FeatureSet, Labels
from benchmarks.streams.kept import digest, kept
from benchmarks.streams.learners import Baseline, StreamLearner, samples_of
from benchmarks.streams.signals import RAMPS, encode_windows, imu_taps, imu_windows
from benchmarks.streams.tables import Column, Measured
from edge_runtime import EdgeRuntime, Prediction
from edge_runtime.evaluation.prequential import evaluate
from examples.datasets import hapt

N_FIRST, N_RAMP, N_PLATEAU, N_TEST = 1_200, 1_000, 500, 600
LABELS_PER_CLASS, LABEL_SPAN = 5, 1_000
POISON_FIRST, POISON_STREAM, POISON_TEST = 600, 1_000, 1_500
SHARES = (0.0, 0.1, 0.3)
RUNTIME = "edge-runtime"
BOUND = "no peer: all 500 labels of the end"  # what the encoder and a slot allow at the most
BASELINES = ("frozen after the first", "fine-tuning", "replay", "nearest class mean", "SLDA",
             "RanPAC-2000", "backprop MLP")  # fmt: skip
# Labels that a peer learns at once: few in a drift, more of a long stream; joint ones all.
DRIFT_BATCH, POISON_BATCH = 15, 250

DRIFT = (
    Column("clean", "before %"),
    Column("frozen", "unadapted %"),
    Column("adapted", "adapted %"),
    Column("recovered", "recovered %"),
    Column("while", "in the stream %"),
    Column("labels", "labels", 1, 0),
    Column("slots", "slots", 1, 1),
)
POISON = (
    Column("accuracy_0", "all right %"),
    Column("accuracy_10", "10 % wrong"),
    Column("accuracy_30", "30 % wrong"),
    Column("loss_10", "lost at 10 %"),
    Column("loss_30", "lost at 30 %"),
    Column("found_10", "of the wrong suspected, at 10 %"),
    Column("found_30", "at 30 %"),
    Column("blamed_10", "of the right suspected, at 10 %"),
    Column("blamed_30", "at 30 %"),
)


def baselines(data: FeatureSet, seed: int, learn_every: int) -> dict[str, Baseline]:
    """The peers that a stream of labels is given to, with their first settings."""
    chosen = [peer for peer in PEERS if peer.name.partition(",")[0] in BASELINES]
    return {
        peer.name: Baseline(
            peer, data, seed, learn_every=POISON_STREAM if peer.is_joint else learn_every
        )
        for peer in chosen
    }


# -- gradual drift ----------------------------------------------------------------------------


class Budget:
    """Answers label requests, at most so many labels of each class in so many samples."""

    def __init__(self, labels: Sequence[int]) -> None:
        self._labels, self._given = labels, Counter[tuple[int, int]]()

    def __call__(self, index: int, prediction: Prediction) -> bool:
        """Whether the label of this sample is given."""
        key = index // LABEL_SPAN, self._labels[index]
        if not prediction.wants_label or self._given[key] >= LABELS_PER_CLASS:
            return False
        self._given[key] += 1
        return True


def ramp(name: str, seed: int, part: float = 1.0) -> tuple[FeatureSet, Mapping[str, Labels]]:
    """Features of a drift, and the rows of its stages: first, stream, clean and drifted test."""
    windows, y, _ = imu_windows()
    sizes = [round(part * n) for n in (N_FIRST, N_RAMP, N_PLATEAU, N_TEST)]
    n_first, n_ramp, n_plateau, n_test = sizes
    order = np.random.default_rng(seed).permutation(len(y))[: sum(sizes)]
    first, stream, test = np.split(order, [n_first, n_first + n_ramp + n_plateau])
    rows = np.concatenate([first, stream, test, test])
    progress = np.concatenate(
        [np.zeros(n_first), np.linspace(0, 1, n_ramp), np.ones(n_plateau), np.zeros(n_test)]
    )
    progress = np.concatenate([progress, np.ones(n_test)]).astype(np.float32)
    X = encode_windows(RAMPS[name](windows[rows], progress))
    names = ("first", "stream", "clean", "drifted")
    ends = np.cumsum([n_first, n_ramp + n_plateau, n_test])
    stages = dict(zip(names, np.split(np.arange(len(rows)), ends), strict=True))
    domain = np.zeros(len(rows), np.int64)
    classes = hapt.ACTIVITIES[: hapt.N_BASIC]
    return FeatureSet(X, y[rows], domain, imu_taps(), classes, (name,)), stages


def gradual_drift(name: str, seeds: Sequence[int], into: Measured, part: float = 1.0) -> None:
    """Learn before the drift, go through it with few labels, be tested under all of it."""
    for seed in seeds:
        data, stages = ramp(name, seed, part)
        learners: dict[str, StreamLearner] = {RUNTIME: EdgeRuntime(random_state=seed)}
        learners |= baselines(data, seed, DRIFT_BATCH)
        for method, learner in learners.items():
            call = partial(_through, learner, data, stages)
            what = ("drift", method, seed, DRIFT_BATCH, digest(data), len(stages["stream"]))
            found = call() if method == RUNTIME else kept(what, call)
            into.add(seed, f"{name}: {method}", found)
        into.add(seed, f"{name}: {BOUND}", _bound(seed, data, stages))


def _bound(seed: int, data: FeatureSet, stages: Mapping[str, Labels]) -> dict[str, float]:
    """What a slot reaches that learns every window of the ramp's end, and nothing else."""
    samples = {stage: samples_of(data, rows) for stage, rows in stages.items()}
    truth = {stage: data.y[rows].tolist() for stage, rows in stages.items()}
    before, after = EdgeRuntime(random_state=seed), EdgeRuntime(random_state=seed)
    before.learn_many(samples["first"], truth["first"])
    end = len(truth["stream"]) * N_RAMP // (N_RAMP + N_PLATEAU)
    after.learn_many(samples["stream"][end:], truth["stream"][end:])
    clean, frozen = (score(before, samples[k], truth[k]) for k in ("clean", "drifted"))
    adapted, lost = score(after, samples["drifted"], truth["drifted"]), clean - frozen
    recovered = (adapted - frozen) / lost if lost > 0 else np.nan
    return {
        "clean": clean,
        "frozen": frozen,
        "adapted": adapted,
        "recovered": recovered,
        "while": np.nan,
        "labels": float(len(truth["stream"]) - end),
        "slots": 1.0,
    }


def _through(
    learner: StreamLearner, data: FeatureSet, stages: Mapping[str, Labels]
) -> dict[str, float]:
    samples = {stage: samples_of(data, rows) for stage, rows in stages.items()}
    truth = {stage: data.y[rows].tolist() for stage, rows in stages.items()}
    learner.learn_many(samples["first"], truth["first"])
    clean, frozen = (score(learner, samples[k], truth[k]) for k in ("clean", "drifted"))
    budget = Budget(truth["stream"])
    run = evaluate(learner, samples["stream"], truth["stream"], answer=budget)
    flush(learner)
    adapted = score(learner, samples["drifted"], truth["drifted"])
    lost = clean - frozen
    return {
        "clean": clean,
        "frozen": frozen,
        "adapted": adapted,
        "recovered": (adapted - frozen) / lost if lost > 0 else np.nan,
        "while": run.accuracy(),
        "labels": run.labels_used().total,
        "slots": len(learner.slots) if isinstance(learner, EdgeRuntime) else np.nan,
    }


def score(learner: StreamLearner, X: Sequence[object], y: Sequence[int]) -> float:
    """Accuracy of answers without notice."""
    labels = [-1 if each.label is None else each.label for each in learner.peek_many(X)]
    return accuracy(np.array(labels), np.array(y))


def flush(learner: StreamLearner) -> None:
    """Let a baseline learn what still waits."""
    if isinstance(learner, Baseline):
        learner.flush()


# -- wrong labels -----------------------------------------------------------------------------


def poisoned(data: FeatureSet, seeds: Sequence[int], into: Measured, part: float = 1.0) -> None:
    """Learn right labels, then a stream of which some are wrong: another class, at random."""
    sizes = [round(part * n) for n in (POISON_FIRST, POISON_STREAM, POISON_TEST)]
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(data.y))[: sum(sizes)]
        rows = np.split(order, np.cumsum(sizes)[:2])
        makers: dict[str, Callable[[], StreamLearner]] = {
            RUNTIME: lambda seed=seed: EdgeRuntime(random_state=seed)  # type: ignore[misc]
        }
        makers |= {
            name: lambda name=name, seed=seed: baselines(data, seed, POISON_BATCH)[name]  # type: ignore[misc]
            for name in baselines(data, seed, POISON_BATCH)
            if not name.startswith("frozen")
        }
        for method, make in makers.items():
            call = partial(_at_all_shares, make, data, rows, seed)
            places = tuple(part.tobytes() for part in rows)
            what = ("poison", method, seed, POISON_BATCH, SHARES, digest(data), *places)
            into.add(seed, method, call() if method == RUNTIME else kept(what, call))


def _at_all_shares(
    make: Callable[[], StreamLearner], data: FeatureSet, rows: Sequence[Labels], seed: int
) -> dict[str, float]:
    found: dict[str, float] = {}
    for share in SHARES:
        key = round(100 * share)
        for name, value in _taught_wrongly(make(), data, rows, share, seed).items():
            found[f"{name}_{key}"] = value
        reached = found[f"accuracy_{key}"]
        found[f"loss_{key}"] = found["accuracy_0"] - reached
    return found


def _taught_wrongly(
    learner: StreamLearner, data: FeatureSet, rows: Sequence[Labels], share: float, seed: int
) -> dict[str, float]:
    """Accuracy in the end, and shares of wrong and of right labels that are suspected by then."""
    first, stream, test = rows
    rng = np.random.default_rng([seed, 4])
    said = data.y[stream].copy()
    is_wrong = rng.random(len(said)) < share
    away = rng.integers(1, len(data.classes), len(said))
    said[is_wrong] = (said[is_wrong] + away[is_wrong]) % len(data.classes)
    learner.learn_many(samples_of(data, first), data.y[first].tolist())
    evaluate(learner, samples_of(data, stream), said.tolist(), answer="all")
    flush(learner)
    reached = score(learner, samples_of(data, test), data.y[test].tolist())
    if not isinstance(learner, EdgeRuntime):
        return {"accuracy": reached, "found": np.nan, "blamed": np.nan}
    is_wrong = said != data.y[stream]
    is_suspected = np.zeros(len(first) + len(stream), bool)
    is_suspected[[sample for sample, _ in learner.suspected_labels()]] = True
    is_suspected = is_suspected[len(first) :]
    return {
        "accuracy": reached,
        "found": float(is_suspected[is_wrong].mean()) if is_wrong.any() else np.nan,
        "blamed": float(is_suspected[~is_wrong].mean()),
    }
