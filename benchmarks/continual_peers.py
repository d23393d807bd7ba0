"""The peers of the continual benchmark: how each is built, tuned on validation data, and run.

Every peer gets the view of the features and the settings that serve it best on a fifth of its
training data. Streaming peers see one domain after the other, joint ones everything at once.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from benchmarks.features import FeatureSet, Labels, Matrix
from benchmarks.peers.analytic import KernelLDA, KernelRidge, LowRankRanPAC
from benchmarks.peers.backprop import BackpropClassifier
from benchmarks.peers.neighbours import FeCAM, NearestNeighbours
from benchmarks.peers.rehearsal import FineTuning, Frozen, Replay
from benchmarks.peers.streaming import NearestMean, RanPAC, StreamingLDA
from benchmarks.splits import Stream, View, grid, validation_part

JOINT_HIDDEN = 256


@dataclass
class Outcome:
    """One method on one stream.

    Attributes
    ----------
    final : accuracy of each domain at the end of the stream.
    learned : accuracy of each domain right after it was learned; empty for joint training.
    routing : share of test samples sent to a slot of their own domain; NaN where nothing routes.
    n_bytes : of everything learned.
    seconds : of one core, for learning alone.
    """

    method: str
    final: list[float]
    learned: list[float] = field(default_factory=list)
    routing: float = np.nan
    n_bytes: int = 0
    n_labels: int = 0
    seconds: float = 0.0
    detail: str = ""

    @property
    def average(self) -> float:
        """Average final accuracy over domains."""
        return float(np.mean(self.final))

    @property
    def forgetting(self) -> float:
        """Accuracy lost since a domain was learned, averaged over all domains but the last."""
        if not self.learned:
            return np.nan
        return float(np.mean(np.subtract(self.learned, self.final)[:-1]))


Candidate = tuple[View, Mapping[str, Any]]


class Model(Protocol):
    """What a peer must do: `learn` once (joint) or once per domain (streaming), then answer."""

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned."""


@dataclass(frozen=True)
class Peer:
    """A method, and the candidates among which validation chooses.

    Attributes
    ----------
    build : called with n_features, n_classes, seed and the settings.
    views, settings : the candidates are all pairs of the two.
    while_tuning : settings that replace the candidates' own for the time of tuning.
    """

    name: str
    build: Callable[..., Any]
    views: Sequence[View]
    settings: Sequence[Mapping[str, Any]] = ({},)
    while_tuning: Mapping[str, Any] = field(default_factory=dict)
    is_joint: bool = False

    def choose(self, data: FeatureSet, stream: Stream, seed: int) -> Candidate:
        """Return the candidate that does best on a held-back part of the training rows."""
        candidates: list[Candidate] = list(itertools.product(self.views, self.settings))
        if len(candidates) == 1:
            return candidates[0]
        part = validation_part(data, stream, seed)
        outcomes = [
            self.run(data, part, seed, (view, {**settings, **self.while_tuning}))
            for view, settings in candidates
        ]
        return candidates[int(np.argmax([outcome.average for outcome in outcomes]))]

    def run(
        self, data: FeatureSet, stream: Stream, seed: int, candidate: Candidate | None = None
    ) -> Outcome:
        """Learn all training rows and be tested; without a candidate the first one is taken."""
        view, settings = candidate or (self.views[0], self.settings[0])
        everything = np.concatenate(stream.train)
        X = view.of(data, everything if self.is_joint else stream.train[0])
        model = self.build(X.shape[1], len(data.classes), seed, **settings)
        learned, seconds = [], 0.0
        for domain, rows in enumerate([everything] if self.is_joint else stream.train):
            start = time.process_time()
            if len(rows):  # of a domain of which no label was requested there are none
                (model.fit if self.is_joint else model.partial_fit)(X[rows], data.y[rows])
            seconds += time.process_time() - start
            if not self.is_joint:
                test = stream.test[domain]
                learned.append(accuracy(model.predict(X[test]), data.y[test]))
        return Outcome(
            self.name,
            final=[accuracy(model.predict(X[test]), data.y[test]) for test in stream.test],
            learned=learned,
            n_bytes=model.n_bytes,
            n_labels=len(everything),
            seconds=seconds,
            detail=", ".join([str(view), *(f"{k}={v}" for k, v in settings.items())]),
        )


def accuracy(predicted: Labels, y: Labels) -> float:
    """Share of right answers."""
    return float(np.mean(predicted == y))


class LogisticRegression:
    """Softmax regression with an L2 penalty, by scikit-learn."""

    def __init__(self, C: float) -> None:
        from sklearn.linear_model import LogisticRegression as Solver

        self._solver = Solver(C=C, max_iter=300)

    def fit(self, X: Matrix, y: Labels) -> LogisticRegression:
        """Learn from scratch."""
        with warnings.catch_warnings():  # 300 steps are enough: more do not change the accuracy
            warnings.simplefilter("ignore")
            self._solver.fit(X, y)
        return self

    def predict(self, X: Matrix) -> Labels:
        """Return class indices (n_samples,)."""
        return np.asarray(self._solver.predict(X))

    @property
    def n_bytes(self) -> int:
        """Bytes of weights and biases."""
        return 4 * int(self._solver.coef_.size + self._solver.intercept_.size)


class Network(BackpropClassifier):
    """The backpropagation peer, with its size."""

    @property
    def n_bytes(self) -> int:
        """Bytes of weights, biases and standardisation."""
        arrays = (*self.weights, *self.biases, self._mean, self._scale)
        return sum(array.nbytes for array in arrays)


def _nearest_mean(n_features: int, n_classes: int, seed: int) -> NearestMean:
    return NearestMean(n_features, n_classes)


def _slda(n_features: int, n_classes: int, seed: int, shrinkage: float) -> StreamingLDA:
    return StreamingLDA(n_features, n_classes, shrinkage)


def _ranpac(n_features: int, n_classes: int, seed: int, n_random: int) -> RanPAC:
    return RanPAC(n_features, n_classes, n_random, seed)


def _neighbours(n_features: int, n_classes: int, seed: int, k: int) -> NearestNeighbours:
    return NearestNeighbours(n_features, n_classes, k)


def _fecam(n_features: int, n_classes: int, seed: int, gamma: float) -> FeCAM:
    return FeCAM(n_features, n_classes, gamma)


def _klda(n_features: int, n_classes: int, seed: int, **settings: Any) -> KernelLDA:
    return KernelLDA(n_features, n_classes, seed=seed, **settings)


def _gkeal(n_features: int, n_classes: int, seed: int, **settings: Any) -> KernelRidge:
    return KernelRidge(n_features, n_classes, seed=seed, **settings)


def _loranpac(n_features: int, n_classes: int, seed: int, **settings: Any) -> LowRankRanPAC:
    return LowRankRanPAC(n_features, n_classes, seed=seed, **settings)


def _logistic(n_features: int, n_classes: int, seed: int, C: float) -> LogisticRegression:
    return LogisticRegression(C)


def _fine_tuning(n_features: int, n_classes: int, seed: int, **settings: Any) -> FineTuning:
    return FineTuning(n_classes, hidden=(JOINT_HIDDEN,), random_state=seed, **settings)


def _frozen(n_features: int, n_classes: int, seed: int, **settings: Any) -> Frozen:
    return Frozen(_fine_tuning(n_features, n_classes, seed, **settings))


def _replay(n_features: int, n_classes: int, seed: int, **settings: Any) -> Replay:
    return Replay(n_classes, hidden=(JOINT_HIDDEN,), random_state=seed, **settings)


def _network(n_features: int, n_classes: int, seed: int, **settings: Any) -> Network:
    return Network(hidden=(JOINT_HIDDEN,), random_state=seed, **settings)


ANY_VIEW = [
    View(taps, standardise) for taps in ("all", "embedding") for standardise in (True, False)
]
STANDARDISED = [View("all"), View("embedding")]
NETWORKS = grid(activation=["tanh", "relu"], learning_rate=[1e-4, 3e-4, 1e-3])
RANDOM_NETWORKS = grid(
    activation=["tanh", "relu"], learning_rate=[1e-3, 3e-3, 1e-2], freeze_hidden=[True]
)

SEQUENTIAL = grid(activation=["tanh"], learning_rate=[1e-4, 3e-4, 1e-3])

RANPAC = Peer("RanPAC-2000", _ranpac, ANY_VIEW, grid(n_random=[2000]))
KLDA_GRID = grid(n_random=[2000], width=[0.03, 0.1, 0.3, 1.0], shrinkage=[1e-4, 1e-2, 0.1])
GKEAL_GRID = grid(n_centres=[2000], width=[0.1, 0.3, 1.0], ridge=[1e-3, 1e-2, 0.1])

PEERS = (
    Peer("frozen after the first", _frozen, STANDARDISED, SEQUENTIAL),
    Peer("fine-tuning", _fine_tuning, STANDARDISED, SEQUENTIAL),
    Peer("replay, 20 per class and domain", _replay, STANDARDISED, SEQUENTIAL),
    Peer("nearest class mean", _nearest_mean, ANY_VIEW),
    Peer("SLDA", _slda, ANY_VIEW, grid(shrinkage=[1e-4, 1e-2, 1e-1, 3e-1])),
    Peer("kNN", _neighbours, STANDARDISED, grid(k=[1, 5, 15])),
    Peer("KLDA-2000", _klda, STANDARDISED, KLDA_GRID),
    Peer("FeCAM", _fecam, ANY_VIEW, grid(gamma=[1.0, 10.0, 100.0])),
    Peer("GKEAL-2000", _gkeal, STANDARDISED, GKEAL_GRID),
    RANPAC,
    Peer("RanPAC-5000", _ranpac, ANY_VIEW, grid(n_random=[5000]), {"n_random": 2000}),
    Peer(
        "LoRanPAC-5000",
        _loranpac,
        ANY_VIEW,
        grid(n_random=[5000], rank=[200, 500]),
        {"n_random": 2000},
    ),
    Peer(
        "logistic regression, joint",
        _logistic,
        STANDARDISED,
        grid(C=[1e-3, 1e-2, 3e-2, 1e-1]),
        is_joint=True,
    ),
    Peer("backprop MLP, joint", _network, STANDARDISED, NETWORKS, is_joint=True),
    Peer("random frozen hidden, joint", _network, STANDARDISED, RANDOM_NETWORKS, is_joint=True),
)
