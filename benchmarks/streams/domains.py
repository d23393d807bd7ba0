"""Domain- and class-incremental streams: one domain, or some classes, after the other.

Every method learns the training rows in the order of their domains and is tested on held-back rows
of all of them. The runtime gets them twice: each domain as one batch, and sample by sample, where
nobody tells it that a domain has ended. Classes that come in steps are domains of their own here.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks.continual_peers import PEERS, RANPAC, Candidate, Outcome, Peer, accuracy
from benchmarks.features import FeatureSet, Labels
from benchmarks.splits import Stream, domain_stream, first_of_each_class
from benchmarks.streams.kept import digest, kept
from benchmarks.streams.learners import samples_of
from edge_runtime import EdgeRuntime, Settings

# Too slow or too weak to be run on every stream; PACS has them.
WIDE = (
    "kNN", "KLDA-2000", "FeCAM", "GKEAL-2000", "RanPAC-5000", "LoRanPAC-5000",
    "random frozen hidden, joint",
)  # fmt: skip
TUNING_ROWS = 400
# Rows in a tenth of RanPAC's bytes: labels come at once, so few samples have to wait for theirs.
SMALL, SMALL_PENDING = ", a tenth of RanPAC-2000's bytes", 16
AS_REQUESTED = ", labels as requested"
BATCHES, ONE_BY_ONE = "edge-runtime, batches", "edge-runtime, one by one"


def outcomes(
    data: FeatureSet,
    seeds: Sequence[int],
    n_labels: int | None = None,
    *,
    is_tuned: bool = True,
    is_wide: bool = True,
    budget_bytes: int | None = None,
    has_small: bool = False,
) -> list[tuple[int, Outcome]]:
    """Every method on every seed; with `n_labels` of each class and domain, or with all labels.

    The runtime has its default settings, in `budget_bytes` where they are given; with `has_small`
    it is run once more in a tenth of the bytes that RanPAC-2000 takes.

    Peers are tuned once, on the training rows of the first seed alone; without `is_wide` those of
    `WIDE` are left out and the others tuned on `TUNING_ROWS` of each domain.
    """
    options = {} if budget_bytes is None else {"budget_bytes": budget_bytes}
    first = domain_stream(data, 0)
    peers = [peer for peer in PEERS if is_wide or peer.name not in WIDE]
    if not is_wide:
        first = Stream(tuple(rows[:TUNING_ROWS] for rows in first.train), first.test)
    chosen = [(peer, _chosen(peer, data, first) if is_tuned else None) for peer in peers]
    found = []
    for seed in seeds:
        stream = domain_stream(data, seed)
        every = _of_all_methods(data, stream, seed, n_labels, chosen, options)
        small = {"budget_bytes": tenth(data, chosen), "pending_samples": SMALL_PENDING}
        is_small = has_small and n_labels is None
        again = of_the_runtime(data, stream, seed, SMALL, **small) if is_small else ()
        for outcome in itertools.chain(every, again):
            found.append((seed, outcome))
            print(f"seed {seed}: {outcome.method}: {outcome.average:.3f}", file=sys.stderr)
    return found


def _of_all_methods(
    data: FeatureSet,
    stream: Stream,
    seed: int,
    n_labels: int | None,
    chosen: Sequence[tuple[Peer, Candidate | None]],
    options: Mapping[str, Any],
) -> Iterator[Outcome]:
    if n_labels is None:
        yield from of_the_runtime(data, stream, seed, **options)
        yield from _peers(data, stream, seed, chosen)
        return
    outcome, requested = run_one_by_one(data, stream, seed, n_labels, **options)
    yield outcome
    few = [rows[first_of_each_class(data.y[rows], n_labels)] for rows in stream.train]
    yield from _peers(data, Stream(tuple(few), stream.test), seed, chosen)
    yield from _peers(data, Stream(requested, stream.test), seed, chosen, AS_REQUESTED)


def tenth(data: FeatureSet, chosen: Sequence[tuple[Peer, Candidate | None]]) -> int:
    """A tenth of the bytes that RanPAC-2000 takes, in the view that was chosen for it."""
    candidates = {peer.name: candidate for peer, candidate in chosen}
    view, settings = candidates.get(RANPAC.name) or (RANPAC.views[0], RANPAC.settings[0])
    taps = list(data.taps.values())
    width = sum(taps) if view.taps == "all" else taps[-1]
    n_bytes: int = RANPAC.build(width, len(data.classes), 0, **settings).n_bytes
    return n_bytes // 10


def _peers(
    data: FeatureSet,
    stream: Stream,
    seed: int,
    chosen: Sequence[tuple[Peer, Candidate | None]],
    suffix: str = "",
) -> Iterator[Outcome]:
    for peer, candidate in chosen:
        rows = [part.tobytes() for part in (*stream.train, *stream.test)]
        what = ("outcome", peer.name, str(candidate), seed, digest(data), *rows)

        def compute(peer: Peer = peer, candidate: Candidate | None = candidate) -> dict[str, Any]:
            return asdict(peer.run(data, stream, seed, candidate))

        outcome = Outcome(**kept(what, compute))
        outcome.method += suffix
        yield outcome


def _chosen(peer: Peer, data: FeatureSet, first: Stream) -> Candidate:
    """Return what validation chooses for a peer."""
    candidates = list(itertools.product(peer.views, peer.settings))
    rows = [part.tobytes() for part in first.train]

    def compute() -> dict[str, Any]:
        return {"at": candidates.index(peer.choose(data, first, 0))}

    return candidates[kept(("choice", peer.name, digest(data), *rows), compute)["at"]]


def of_the_runtime(
    data: FeatureSet,
    stream: Stream,
    seed: int,
    suffix: str = "",
    **options: Any,
) -> Iterator[Outcome]:
    """The runtime both ways, with all labels."""
    in_batches = run_batches(data, stream, seed, **options)
    for outcome in (in_batches, run_one_by_one(data, stream, seed, **options)[0]):
        outcome.method += suffix
        yield outcome


def run_batches(data: FeatureSet, stream: Stream, seed: int, **options: Any) -> Outcome:
    """EdgeRuntime given each domain by `learn_many`; whether to grow is its own decision."""
    runtime = EdgeRuntime(random_state=seed, **options)
    home: dict[int, int] = {}
    learned, seconds = [], 0.0
    for domain, rows in enumerate(stream.train):
        start = time.process_time()
        runtime.learn_many(samples_of(data, rows), data.y[rows].tolist())
        seconds += time.process_time() - start
        _note_homes(runtime, home, domain)
        learned.append(answer(runtime, data, stream.test[domain])[0])
    n_labels = sum(len(rows) for rows in stream.train)
    return _outcome(BATCHES, runtime, data, stream, (home, learned, n_labels, seconds))


def run_one_by_one(
    data: FeatureSet, stream: Stream, seed: int, n_labels: int | None = None, **options: Any
) -> tuple[Outcome, tuple[Labels, ...]]:
    """EdgeRuntime on the stream, and the rows of each domain whose label it got.

    With `n_labels` a sample's label is given only if the runtime requests it, and at most so many
    times per class and domain; the policy may request twice as many, as it cannot know of which
    class a sample is before it has requested its label.
    """
    if n_labels is not None:
        settings = replace(options.get("settings", Settings()), labels_per_class=2 * n_labels)
        options = {**options, "settings": settings}
    runtime = EdgeRuntime(random_state=seed, **options)
    home: dict[int, int] = {}  # slot -> the domain in which it was grown
    learned, seconds, given_rows = [], 0.0, []
    for domain, rows in enumerate(stream.train):
        start = time.process_time()
        given_rows.append(_teach(runtime, data, rows, n_labels))
        seconds += time.process_time() - start
        _note_homes(runtime, home, domain)
        learned.append(answer(runtime, data, stream.test[domain])[0])
    n_given = sum(map(len, given_rows))
    reached = home, learned, n_given, seconds
    return _outcome(ONE_BY_ONE, runtime, data, stream, reached), tuple(given_rows)


def _teach(runtime: EdgeRuntime, data: FeatureSet, rows: Labels, n_labels: int | None) -> Labels:
    given: Counter[int] = Counter()
    given_rows = []
    for row, sample in zip(rows, samples_of(data, rows), strict=True):
        label = int(data.y[row])
        prediction = runtime.step(sample)
        if n_labels is None or (prediction.wants_label and given[label] < n_labels):
            runtime.learn(prediction.sample_id, label)
            given[label] += 1
            given_rows.append(row)
    return np.array(given_rows, np.int64)


def _note_homes(runtime: EdgeRuntime, home: dict[int, int], domain: int) -> None:
    for slot in runtime.slots:
        home.setdefault(slot.number, domain)


def _outcome(
    method: str,
    runtime: EdgeRuntime,
    data: FeatureSet,
    stream: Stream,
    reached: tuple[Mapping[int, int], list[float], int, float],
) -> Outcome:
    home, learned, n_labels, seconds = reached
    answers = [answer(runtime, data, rows) for rows in stream.test]
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


def answer(runtime: EdgeRuntime, data: FeatureSet, rows: Labels) -> tuple[float, list[int]]:
    """Accuracy on test rows, and the slot of each; nothing is learned of them."""
    predictions = runtime.peek_many(samples_of(data, rows))
    predicted = np.array([-1 if each.label is None else each.label for each in predictions])
    slots = [-1 if each.slot is None else each.slot for each in predictions]
    return accuracy(predicted, data.y[rows]), slots
