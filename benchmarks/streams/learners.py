"""One protocol of all that learn on a stream: `EdgeRuntime` has it, `Baseline` gives it to peers.

A baseline answers every sample, keeps its features for a late label as the runtime does, and learns
labels in small batches, since most peers solve a system of equations for each. It notices nothing
and wants every label; who gets which is decided by `edge_runtime.evaluation.prequential.evaluate`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks.continual_peers import Candidate, Peer
from benchmarks.features import FeatureSet, Labels, Matrix
from benchmarks.splits import scaled
from edge_runtime import Event, Prediction
from edge_runtime.errors import LabelError

PENDING = 256  # samples that can still get their label, as in the runtime


class StreamLearner(Protocol):
    """What the streams need of a learner: `Learner` of `evaluation.prequential`, and batches."""

    def run(self, stream: Iterable[Any], /) -> Iterator[Prediction | Event]:
        """Answer every sample of a stream."""

    def learn(self, sample_id: int, label: Any, /) -> list[Event]:
        """Learn the label of a sample seen before."""

    def learn_many(self, X: Sequence[Any], labels: Sequence[Any], /) -> list[Event]:
        """Learn a labelled batch of one domain."""

    def peek_many(self, X: Sequence[Any], /) -> Sequence[Prediction]:
        """Answer many samples without taking notice."""

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned."""


class Baseline:
    """A peer behind the protocol of a learner; labels are class indices.

    Parameters
    ----------
    learn_every : labels that make a batch; fewer wait.
    """

    def __init__(
        self,
        peer: Peer,
        data: FeatureSet,
        seed: int = 0,
        candidate: Candidate | None = None,
        learn_every: int = 32,
    ) -> None:
        self.view, self.settings = candidate or (peer.views[0], peer.settings[0])
        self._peer, self._seed, self._learn_every = peer, seed, learn_every
        self._n_classes = len(data.classes)
        n_columns = data.X.shape[1]
        self._start = 0 if self.view.taps == "all" else n_columns - list(data.taps.values())[-1]
        self._model: Any = None
        self._next_id = 0
        self._pending: OrderedDict[int, Matrix] = OrderedDict()
        self._rows: list[Matrix] = []
        self._labels: list[int] = []

    def run(self, stream: Iterable[Any]) -> Iterator[Prediction | Event]:
        """Answer every sample of a stream."""
        for x in stream:
            yield self.step(x)

    def step(self, x: Any) -> Prediction:
        """Answer one sample, and keep it for its label."""
        row = flat(x)
        self._pending[self._next_id] = row
        if len(self._pending) > PENDING:
            self._pending.popitem(last=False)
        self._next_id += 1
        return self._answers(row[None], self._next_id - 1)[0]

    def peek_many(self, X: Sequence[Any]) -> Sequence[Prediction]:
        """Answer many samples without taking notice."""
        return self._answers(np.stack([flat(x) for x in X]), -1)

    def learn(self, sample_id: int, label: int) -> list[Event]:
        """Learn the label of a sample seen before, with the next batch."""
        if sample_id not in self._pending:
            raise LabelError(f"sample {sample_id} is forgotten")
        self._rows.append(self._pending.pop(sample_id))
        self._labels.append(label)
        if len(self._labels) >= self._learn_every:
            self.flush()
        return []

    def learn_many(self, X: Sequence[Any], labels: Sequence[int]) -> list[Event]:
        """Learn a labelled batch at once."""
        self.flush()
        self._learn(np.stack([flat(x) for x in X]), np.asarray(labels, np.int64))
        return []

    def flush(self) -> None:
        """Learn the labels that still wait to be a batch."""
        if self._labels:
            rows, labels = np.stack(self._rows), np.array(self._labels, np.int64)
            self._rows, self._labels = [], []
            self._learn(rows, labels)

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned; samples that wait are not counted."""
        return 0 if self._model is None else int(self._model.n_bytes)

    def _learn(self, X: Matrix, y: Labels) -> None:
        columns = X[:, self._start :]
        if self._model is None:
            self._centre, self._spread = columns.mean(axis=0), columns.std(axis=0)
            width = columns.shape[1]
            self._model = self._peer.build(width, self._n_classes, self._seed, **self.settings)
            if self._peer.is_joint:
                self._seen_so_far: list[tuple[Matrix, Labels]] = []
        Z = self._view_of(X)
        if not self._peer.is_joint:
            self._model.partial_fit(Z, y)
            return
        self._seen_so_far.append((Z, y))
        everything = [np.concatenate(part) for part in zip(*self._seen_so_far, strict=True)]
        self._model.fit(*everything)

    def _view_of(self, X: Matrix) -> Matrix:
        columns = X[:, self._start :]
        if self.view.standardise:
            return scaled(columns, self._centre, self._spread)
        return np.asarray(columns, np.float32)

    def _answers(self, X: Matrix, sample_id: int) -> list[Prediction]:
        if self._model is None:
            return [_prediction(sample_id, None) for _ in X]
        return [_prediction(sample_id, int(k)) for k in self._model.predict(self._view_of(X))]


def flat(x: Any) -> Matrix:
    """Features of one sample in one vector, whether they came by tap or not."""
    parts = list(x.values()) if isinstance(x, Mapping) else [x]
    return np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])


def samples_of(data: FeatureSet, rows: Labels) -> list[dict[str, Matrix]]:
    """Samples by tap, as the runtime takes them."""
    edges = np.cumsum(list(data.taps.values()))[:-1]
    return [dict(zip(data.taps, np.split(data.X[row], edges), strict=True)) for row in rows]


def _prediction(sample_id: int, label: int | None) -> Prediction:
    return Prediction(
        sample_id=sample_id,
        label=label,
        probabilities=np.zeros(0),
        slot=None,
        ood_score=0.0,
        p_value=1.0,
        is_ood=False,
        wants_label=True,
        events=(),
        threshold=0.05,
        generation=0,
    )
