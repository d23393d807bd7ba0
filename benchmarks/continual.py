"""Continual learning on a stream of domains: PACS, photo to art to cartoon to sketch.

The runtime gets the stream sample by sample (`step`, then `learn` with the true label) and is never
told where a domain ends; the peers get one batch per domain, or everything at once. Protocol and
caveats: see the README of this folder. Not here: the peers themselves (`continual_peers`).
"""

from __future__ import annotations

import copy
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.continual_peers import PEERS, Candidate, Outcome, accuracy
from benchmarks.features import FeatureSet, Labels, pacs_features
from benchmarks.options import Options, parse
from benchmarks.reporting import Report, mean_and_sd
from benchmarks.splits import Stream, domain_stream, first_of_each_class
from edge_runtime import EdgeRuntime
from examples.datasets.pacs import DataAbsentError

QUICK_ROWS = 60  # per class and domain


def run(options: Options) -> Report | None:
    """Run every method on every seed; None, said loudly, where PACS is absent."""
    try:
        data = pacs_features(options.data_dir)
    except DataAbsentError as error:
        print(f"SKIPPED continual: {error}", file=sys.stderr)
        return None
    return compare(thinned(data, QUICK_ROWS) if options.quick else data, options)


def compare(data: FeatureSet, options: Options) -> Report:
    """Return the table of all methods on one feature set."""
    outcomes: list[tuple[int, Outcome]] = []
    first = domain_stream(data, 0)  # peers are tuned once, on its training rows alone
    chosen = [None if options.quick else peer.choose(data, first, 0) for peer in PEERS]
    for seed in options.seed_range:
        stream = domain_stream(data, seed)
        for outcome in _of_all_methods(data, stream, seed, options, chosen):
            outcomes.append((seed, outcome))
            print(f"seed {seed}: {outcome.method}: {outcome.average:.3f}", file=sys.stderr)
    suffix = "" if options.labels is None else f"_{options.labels}_labels"
    return Report(
        name=f"continual{suffix}",
        title="Continual learning: accuracy on each domain at the end of the stream, %",
        protocol=_protocol(data, options),
        columns=_columns(data),
        rows=_rows([outcome for _, outcome in outcomes]),
        records=[_record(seed, outcome, data) for seed, outcome in outcomes],
    )


def _of_all_methods(
    data: FeatureSet,
    stream: Stream,
    seed: int,
    options: Options,
    chosen: Sequence[Candidate | None],
) -> Iterator[Outcome]:
    if options.labels is None:
        yield run_batches(data, stream, seed)
    yield run_runtime(data, stream, seed, options.labels)
    if options.labels is not None:
        parts = [rows[first_of_each_class(data.y[rows], options.labels)] for rows in stream.train]
        stream = Stream(tuple(parts), stream.test)
    for peer, candidate in zip(PEERS, chosen, strict=True):
        yield peer.run(data, stream, seed, candidate)


# -- the runtime ------------------------------------------------------------------------------


def run_batches(data: FeatureSet, stream: Stream, seed: int) -> Outcome:
    """EdgeRuntime given each domain as one labelled batch; whether to grow is its own decision."""
    runtime = EdgeRuntime(random_state=seed)
    home: dict[int, int] = {}
    learned, seconds = [], 0.0
    for domain, rows in enumerate(stream.train):
        start = time.process_time()
        runtime.learn_many([_sample(data, row) for row in rows], data.y[rows].tolist())
        seconds += time.process_time() - start
        for slot in runtime.slots:
            home.setdefault(slot.number, domain)
        learned.append(_answer(runtime, data, stream.test[domain])[0])
    n_labels = sum(len(rows) for rows in stream.train)
    return _outcome(
        "edge-runtime, batches", runtime, data, stream, home, learned, n_labels, seconds
    )


def run_runtime(
    data: FeatureSet, stream: Stream, seed: int, n_labels: int | None = None, **options: Any
) -> Outcome:
    """EdgeRuntime on the stream; `options` go to its constructor.

    With `n_labels` a sample's label is given only if the runtime asks for it, and at most so many
    times per class and domain.
    """
    runtime = EdgeRuntime(random_state=seed, **options)
    home: dict[int, int] = {}  # slot -> the domain in which it was grown
    learned, seconds, n_given = [], 0.0, 0
    for domain, rows in enumerate(stream.train):
        start = time.process_time()
        given: Counter[int] = Counter()
        for row in rows:
            label = int(data.y[row])
            prediction = runtime.step(_sample(data, row))
            if n_labels is None or (prediction.wants_label and given[label] < n_labels):
                runtime.learn(prediction.sample_id, label)
                given[label] += 1
        seconds += time.process_time() - start
        n_given += given.total()
        for slot in runtime.slots:
            home.setdefault(slot.number, domain)
        learned.append(_answer(runtime, data, stream.test[domain])[0])
    name = "edge-runtime, one by one"
    return _outcome(name, runtime, data, stream, home, learned, n_given, seconds)


def _outcome(
    method: str,
    runtime: EdgeRuntime,
    data: FeatureSet,
    stream: Stream,
    home: Mapping[int, int],
    learned: list[float],
    n_labels: int,
    seconds: float,
) -> Outcome:
    answers = [_answer(runtime, data, rows) for rows in stream.test]
    at_home = [[home.get(slot) == k for slot in slots] for k, (_, slots) in enumerate(answers)]
    return Outcome(
        method,
        final=[score for score, _ in answers],
        learned=learned,
        routing=float(np.mean([np.mean(domain) for domain in at_home])),
        n_bytes=int(runtime.status()["bytes"]),
        n_labels=n_labels,
        seconds=seconds,
        detail=f"{len(runtime.slots)} slots",
    )


def _answer(runtime: EdgeRuntime, data: FeatureSet, rows: Labels) -> tuple[float, list[int]]:
    """Accuracy on test rows, and the slot of each, by a copy that is given no label."""
    predictions = copy.deepcopy(runtime).step_many([_sample(data, row) for row in rows])
    predicted = np.array([-1 if each.label is None else each.label for each in predictions])
    slots = [-1 if each.slot is None else each.slot for each in predictions]
    return accuracy(predicted, data.y[rows]), slots


def _sample(data: FeatureSet, row: int) -> Mapping[str, Any]:
    edges = np.cumsum(list(data.taps.values()))[:-1]
    return dict(zip(data.taps, np.split(data.X[row], edges), strict=True))


def thinned(data: FeatureSet, n_rows: int) -> FeatureSet:
    """Return the first `n_rows` of each class and domain."""
    group = data.domain * len(data.classes) + data.y
    kept = first_of_each_class(group, n_rows)
    return FeatureSet(
        data.X[kept], data.y[kept], data.domain[kept], data.taps, data.classes, data.domains
    )


# -- the table --------------------------------------------------------------------------------


def _protocol(data: FeatureSet, options: Options) -> str:
    labels = "all" if options.labels is None else f"{options.labels} per class and domain"
    return (
        f"{len(data.y)} samples, {data.X.shape[1]} features, {len(data.classes)} classes; "
        f"{' -> '.join(data.domains)}; labels: {labels}; 80/20 split per class and domain; "
        f"{len(options.seed_range)} seeds, mean ± standard deviation"
        f"{'; quick: a part of the data, no tuning' if options.quick else ''}."
    )


def _columns(data: FeatureSet) -> Sequence[str]:
    measures = ("average", "forgetting", "routing", "kB", "labels", "CPU s")
    return ("method", *data.domains, *measures)


def _rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    rows = []
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        runs = [outcome for outcome in outcomes if outcome.method == method]
        finals = np.array([outcome.final for outcome in runs])
        rows.append(
            [
                method,
                *(f"{100 * value:.1f}" for value in finals.mean(axis=0)),
                mean_and_sd(finals.mean(axis=1)),
                mean_and_sd([outcome.forgetting for outcome in runs]),
                mean_and_sd([outcome.routing for outcome in runs]),
                f"{np.mean([outcome.n_bytes for outcome in runs]) / 1000:,.0f}",
                f"{np.mean([outcome.n_labels for outcome in runs]):.0f}",
                f"{np.mean([outcome.seconds for outcome in runs]):.1f}",
            ]
        )
    return rows


def _record(seed: int, outcome: Outcome, data: FeatureSet) -> dict[str, Any]:
    fields = asdict(outcome)
    final = dict(zip(data.domains, fields.pop("final"), strict=True))
    learned = fields.pop("learned")
    after = {f"{d} learned": a for d, a in zip(data.domains, learned, strict=False)}
    derived = {"average": outcome.average, "forgetting": outcome.forgetting}
    return {"seed": seed, **fields, **final, **after, **derived}


if __name__ == "__main__":
    options = parse(__doc__)
    report = run(options)
    if report is not None:
        report.publish(options.out, record=options.record)
