"""Streams without anything new: no drift at all, and domains that come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.continual_peers import PEERS, accuracy
from benchmarks.features import FeatureSet, Labels, Matrix
from benchmarks.splits import Stream, domain_stream
from benchmarks.streams.domains import BATCHES, ONE_BY_ONE, answer
from benchmarks.streams.kept import digest, kept
from benchmarks.streams.learners import Baseline, samples_of
from benchmarks.streams.tables import Column, Measured
from edge_runtime import EdgeRuntime
from edge_runtime.evaluation.prequential import evaluate
from edge_runtime.evaluation.recording import Run

VISITS, VISIT_ROWS = 20, 80
SAMPLE_SECONDS = 1.0  # for rates per hour
BASELINES = ("nearest class mean", "SLDA", "RanPAC-2000", "fine-tuning", "replay")

STILL = (
    Column("false_growths", "false growths", 1, 1),
    Column("false_alarms", "drift alarms", 1, 1),
    Column("per_hour", "alarms/h", 1, 2),
    Column("ood", "out of distribution %"),
    Column("promised", "promised %"),
    Column("labels", "labels requested", 1, 0),
    Column("accuracy", "accuracy %"),
)
RETURNS = (
    Column("no_new_slot", "without a new slot %"),
    Column("routed", "samples routed home %"),
    Column("first", "after the first visit %"),
    Column("again", "on return %"),
    Column("change", "change"),
    Column("slots", "slots", 1, 1),
    Column("labels", "labels on return", 1, 0),
)


def no_drift(
    name: str, X: Matrix, y: Labels, n_first: int, seeds: Sequence[int], into: Measured
) -> None:
    """One labelled batch, then the rest of the domain one by one; requests are answered."""
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(y))
        first, stream = order[:n_first], order[n_first:]
        runtime = EdgeRuntime(random_state=seed)
        runtime.learn_many(list(X[first]), y[first].tolist())
        run = evaluate(runtime, list(X[stream]), y[stream].tolist())
        into.add(seed, name, _still(run))


def _still(run: Run) -> dict[str, float]:
    alarms = run.false_alarms()
    return {
        "false_growths": sum(each.event.kind == "grown" for each in run.events),
        "false_alarms": alarms,
        "per_hour": alarms / (len(run.index) * SAMPLE_SECONDS / 3600),
        "ood": run.alarm_rate(),
        "promised": run.threshold,
        "labels": run.labels_used().total,
        "accuracy": run.accuracy(),
    }


def returning(data: FeatureSet, seeds: Sequence[int], into: Measured) -> None:
    """Every domain once, then twenty returns in random order, each of samples never learned."""
    for seed in seeds:
        stream = domain_stream(data, seed)
        visits = _visits(stream, seed)
        for method, learn in ((BATCHES, _in_batches), (ONE_BY_ONE, _one_by_one)):
            into.add(seed, method, _runtime_returns(data, stream, visits, seed, learn))
        for peer in PEERS:
            if peer.name.partition(",")[0] in BASELINES:
                learner = Baseline(peer, data, seed)
                places = [(at, rows.tobytes()) for at, rows in visits]
                what = ("returns", peer.name, seed, digest(data), *places)
                call = partial(_baseline_returns, data, stream, visits, learner)
                into.add(seed, peer.name, kept(what, call))


def _visits(stream: Stream, seed: int) -> list[tuple[int, Labels]]:
    """Domains and test rows of each return; no domain follows itself."""
    rng = np.random.default_rng([seed, 3])
    visits: list[tuple[int, Labels]] = []
    at = len(stream.test) - 1
    for _ in range(VISITS):
        at = int(rng.choice([k for k in range(len(stream.test)) if k != at]))
        rows = stream.test[at]
        visits.append((at, rng.permutation(rows)[:VISIT_ROWS]))
    return visits


Learn = Callable[[EdgeRuntime, FeatureSet, Labels], None]


def _in_batches(runtime: EdgeRuntime, data: FeatureSet, rows: Labels) -> None:
    runtime.learn_many(samples_of(data, rows), data.y[rows].tolist())


def _one_by_one(runtime: EdgeRuntime, data: FeatureSet, rows: Labels) -> None:
    evaluate(runtime, samples_of(data, rows), data.y[rows].tolist(), answer="all")


def _runtime_returns(
    data: FeatureSet,
    stream: Stream,
    visits: Sequence[tuple[int, Labels]],
    seed: int,
    learn: Learn,
) -> dict[str, float]:
    runtime = EdgeRuntime(random_state=seed)
    home: dict[int, int] = {}
    first = []
    for domain, rows in enumerate(stream.train):
        learn(runtime, data, rows)
        for slot in runtime.slots:
            home.setdefault(slot.number, domain)
        first.append(answer(runtime, data, stream.test[domain])[0])
    right, routed, is_quiet, labels, expected = [], [], [], 0, []
    for domain, rows in visits:
        n_before = len(runtime.slots)
        run = evaluate(runtime, samples_of(data, rows), data.y[rows].tolist())
        right.append(run.accuracy())
        routed.append(np.mean([home.get(slot) == domain for slot in run.slot.tolist()]))
        is_quiet.append(len(runtime.slots) <= n_before)
        labels += run.labels_used().total
        expected.append(first[domain])
    return {
        "no_new_slot": float(np.mean(is_quiet)),
        "routed": float(np.mean(routed)),
        "first": float(np.mean(expected)),
        "again": float(np.mean(right)),
        "change": float(np.mean(right) - np.mean(expected)),
        "slots": len(runtime.slots),
        "labels": labels,
    }


def _baseline_returns(
    data: FeatureSet, stream: Stream, visits: Sequence[tuple[int, Labels]], learner: Baseline
) -> dict[str, float]:
    def score(rows: Labels) -> float:
        answers = learner.peek_many(samples_of(data, rows))
        return accuracy(np.array([each.label for each in answers]), data.y[rows])

    first = []
    for domain, rows in enumerate(stream.train):
        learner.learn_many(samples_of(data, rows), data.y[rows].tolist())
        first.append(score(stream.test[domain]))
    before = float(np.mean([first[domain] for domain, _ in visits]))
    again = float(np.mean([score(rows) for _, rows in visits]))
    return {"first": before, "again": again, "change": again - before, "labels": 0}
