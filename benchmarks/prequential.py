"""Learners side by side on one stream: `python -m benchmarks.prequential --out FOLDER`.

Every sample is answered before its label comes, late and not for every sample if told so. Table,
CSV, recorded runs and an HTML page with confidence bands over seeds. Digits in four hands; the
runtime gets its labels where it requests them, or like its peers for an even share of the samples.
A peer "joint" learns everything that it has seen anew with each batch of labels.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.continual import STREAM_ROWS, thinned
from benchmarks.continual_peers import PEERS
from benchmarks.features import FeatureSet
from benchmarks.options import from_arguments, parser
from benchmarks.splits import Stream, domain_stream
from benchmarks.streams.learners import Baseline, StreamLearner, samples_of
from benchmarks.streams.pictures import digit_domains
from edge_runtime import EdgeRuntime
from edge_runtime.evaluation.figures import summary
from edge_runtime.evaluation.prequential import Probe, evaluate
from edge_runtime.evaluation.recording import Run
from firmware_tools.report import write_report
from firmware_tools.tables import csv_text, format_table

RUNTIME = "edge-runtime"
NAMES = ("frozen after the first", "fine-tuning", "replay, 20 per class and domain",
         "nearest class mean", "SLDA", "backprop MLP, joint")  # fmt: skip
LEARN_EVERY = 100
FIRST = 200  # labels of the first domain that all learners begin with
QUICK_ROWS = 30

Make = Callable[[FeatureSet, int], StreamLearner]


def learners() -> Mapping[str, Make]:
    """Everything that is compared."""
    peers = {peer.name: peer for peer in PEERS if peer.name in NAMES}
    made: dict[str, Make] = {RUNTIME: lambda _, seed: EdgeRuntime(random_state=seed)}
    for name, peer in peers.items():
        made[name] = lambda data, seed, peer=peer: Baseline(  # type: ignore[misc]
            peer, data, seed, learn_every=LEARN_EVERY
        )
    return made


def run_one(
    learner: StreamLearner, data: FeatureSet, stream: Stream, delay: int, share: float | None
) -> Run:
    """One learner over one stream: a first batch, then sample by sample."""
    first, *rest = stream.train
    learner.learn_many(samples_of(data, first[:FIRST]), data.y[first[:FIRST]].tolist())
    parts = [first[FIRST:], *rest]
    rows = np.concatenate(parts)
    names = [data.domains[k] for k, part in enumerate(parts) for _ in part]
    probes = {
        data.domains[k]: Probe(samples_of(data, test), data.y[test].tolist())
        for k, test in enumerate(stream.test)
    }
    return evaluate(
        learner,
        samples_of(data, rows),
        data.y[rows].tolist(),
        domains=names,
        label_delay=delay,
        answer="requested" if share is None else share,
        probes=probes,
        clock=time.perf_counter,
    )


def compare(
    data: FeatureSet, seeds: Sequence[int], delay: int = 3, share: float | None = None
) -> dict[str, list[Run]]:
    """Every learner on every seed; with `share` the runtime gets labels unrequested.

    Without it a peer gets as many as the runtime requested, evenly spread.
    """
    runs: dict[str, list[Run]] = {}
    for seed in seeds:
        stream = domain_stream(data, seed)
        given = share
        for name, make in learners().items():
            run = run_one(make(data, seed), data, stream, delay, given)
            runs.setdefault(name, []).append(run)
            if name == RUNTIME and share is None:
                given = max(run.labels_used().total, 1) / len(run.index)
            print(f"seed {seed}: {name}: {run.accuracy():.3f}", file=sys.stderr)
    return runs


def write(runs: Mapping[str, Sequence[Run]], out: Path, settings: Mapping[str, Any]) -> None:
    """Table, CSV, recorded runs and page."""
    out.mkdir(parents=True, exist_ok=True)
    rows = summary(runs)
    recorded = {name: [run.to_dict() for run in found] for name, found in runs.items()}
    (out / "prequential.csv").write_text(csv_text(rows))
    (out / "prequential.json").write_text(json.dumps(recorded))
    title = "Learners side by side"
    page = out / "prequential.html"
    write_report(recorded[RUNTIME][0], rows, page, title, settings, compared=recorded)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the table, and write the rest."""
    arguments = parser(__doc__)
    arguments.add_argument("--delay", type=int, default=3, help="samples until a label comes")
    arguments.add_argument("--share", type=float, help="share of samples whose label is given")
    parsed = arguments.parse_args(argv)
    options = from_arguments(parsed)
    data = thinned(digit_domains(), QUICK_ROWS if options.quick else STREAM_ROWS)
    runs = compare(data, options.seed_range, parsed.delay, parsed.share)
    print(format_table(summary(runs)))
    if options.out is not None:
        settings = {"seeds": len(options.seed_range), "delay": parsed.delay, "share": parsed.share}
        write(runs, options.out, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
