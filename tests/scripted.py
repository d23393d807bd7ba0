"""A learner that answers what it is told to, for the tests of what surrounds the runtime."""

from __future__ import annotations

import numpy as np

from edge_runtime.errors import LabelError, SampleError
from edge_runtime.evaluation.prequential import evaluate
from edge_runtime.records import Event, Prediction


class ScriptedRuntime:
    """Predicts the sample itself; `ood`, `asks`, `step_events` and `learn_events` by sample id.

    A sample that is no int is bad. Labels older than `memory` samples are too late.
    """

    def __init__(self, ood=(), asks=(), step_events=None, learn_events=None, memory=10**9):
        self.ood, self.asks, self.memory = set(ood), set(asks), memory
        self.step_events, self.learn_events = step_events or {}, learn_events or {}
        self.calls = []
        self.next_id = 0

    def run(self, stream):
        for x in stream:
            try:
                yield self.step(x)
            except SampleError as error:
                yield Event("sample_rejected", self.next_id, f"bad sample skipped: {error}")

    def step(self, x):
        if not isinstance(x, int | np.integer):
            raise SampleError(f"{x!r} is no int")
        sample_id = self.next_id
        self.next_id += 1
        self.calls.append(("step", sample_id))
        is_ood = sample_id in self.ood
        return Prediction(
            sample_id=sample_id,
            label=int(x),
            probabilities=np.array([1.0]),
            slot=None if sample_id == 0 else 0,
            ood_score=0.0,
            p_value=0.01 if is_ood else 0.5,
            is_ood=is_ood,
            wants_label=sample_id in self.asks,
            events=tuple(
                Event(kind, sample_id, f"{kind} at {sample_id}", 0, {"rate": np.float32(0.5)})
                for kind in self.step_events.get(sample_id, ())
            ),
            threshold=0.05,
            generation=0,
        )

    def peek_many(self, X):
        before = self.next_id, list(self.calls)
        answers = [self.step(x) for x in X]
        self.next_id, self.calls = before
        return answers

    @property
    def n_bytes(self):
        return 100 * self.next_id

    def learn(self, sample_id, label):
        if sample_id < self.next_id - self.memory:
            raise LabelError(f"sample {sample_id} is forgotten")
        self.calls.append(("learn", sample_id, label))
        kinds = self.learn_events.get(sample_id, ())
        return [Event(kind, sample_id, f"{kind} by label {label}", 1) for kind in kinds]


def ticking_clock():
    """A clock that gains one second whenever it is read."""
    seconds = iter(range(10**9))
    return lambda: float(next(seconds))


def drifting_run(names=("day", "night"), n=40, **options):
    """Two domains of `n` samples and back: drift, a label and growth after the first change."""
    runtime = ScriptedRuntime(
        ood=range(n, n + 10),
        asks=range(n + 5, n + 15),
        step_events={n + 4: ["ood", "drift"], n + 5: ["label_request"], 2 * n + 7: ["returned"]},
        learn_events={n + 14: ["grown"]},
    )
    labels = np.arange(3 * n) % 5
    samples = [*labels.tolist()]
    samples[n : n + 10] = [7] * 10  # wrong answers until the growth
    domains = np.repeat([names[0], names[1], names[0]], n)
    return evaluate(runtime, samples, labels, domains=domains, **options)
