"""`AdaptorClassifier`: one candidate as an estimator that learns forward only and can be saved.

Adds to `search_network` what data needs: taps by name, standardised channel by channel, named
labels, shuffled mini-batches and a falling learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adaptors._state import check_format, positive_int
from adaptors.candidates import DENSE_KINDS, Candidate
from adaptors.losses import softmax
from adaptors.search_network import AdaptorNetwork, averaged
from adaptors.standardise import Standardiser
from hdc import estimator as contract

Array = npt.NDArray[np.float32]

FORMAT: Final = "adaptors.search_classifier"
VERSION: Final = 1
# The name of the tap where X is an array and no dictionary.
ONLY_TAP: Final = "features"


class AdaptorClassifier(contract.ClassifierMixin, contract.Estimator):
    """A candidate adaptor that learns by tpSGD-l2 (arXiv 2208.08503), layer by layer.

    Parameters
    ----------
    candidate : Candidate
        What to build; `search_adaptors` chooses one.
    learning_rate, hidden_learning_rate
        Of the softmax and of the layers below, as in `TargetProjectionClassifier`; within 0 to 2,
        beyond which a step may diverge.
    epochs
        Passes of `fit`; the rates fall linearly to zero over them.
    batch_size
        Samples per step.
    random_state : None, int or numpy Generator
        Draws weights, label codes and the order of samples.

    Attributes
    ----------
    classes_ : (n_classes,)
        Labels, sorted by `fit`; classes that `partial_fit` meets later are appended.
    network_ : AdaptorNetwork

    Examples
    --------
    >>> from adaptors.candidates import Tap
    >>> X = {"early": np.array([[0.0], [1], [8], [9]]), "late": np.ones((4, 2))}
    >>> taps = (Tap("early", (1,)), Tap("late", (2,)))
    >>> candidate = Candidate("bottleneck", taps, n_classes=2, widths=(8,))
    >>> clf = AdaptorClassifier(candidate, random_state=0).fit(X, ["low", "low", "high", "high"])
    >>> clf.predict(X).tolist(), clf.n_bytes_ == candidate.n_bytes
    (['low', 'low', 'high', 'high'], True)
    """

    classes_: npt.NDArray[Any]
    network_: AdaptorNetwork

    def __init__(
        self,
        candidate: Candidate,
        learning_rate: float = 1.0,
        hidden_learning_rate: float = 1.0,
        epochs: int = 20,
        batch_size: int = 16,
        random_state: Any = None,
    ) -> None:
        self.candidate = candidate
        self.learning_rate = learning_rate
        self.hidden_learning_rate = hidden_learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: npt.ArrayLike) -> AdaptorClassifier:
        """Learn from scratch.

        Parameters
        ----------
        X : dict {tap: (n_samples, d) or (n_samples, h, w, c)}, or an array for the only tap
            Taps that the candidate does not read may be there.
        y : (n_samples,)
            Integers or strings; as many classes as the candidate has, or fewer.
        """
        self._check_params()
        taps = candidate_inputs(X, self.candidate)
        y = contract.check_y(y, _n_samples(taps))
        classes, labels = np.unique(y, return_inverse=True)
        rng = contract.check_random_state(self.random_state)
        self._begin(classes, rng)
        self._update(taps)
        n_batches = -(-len(y) // self.batch_size)
        for epoch in range(self.epochs):
            batches = np.array_split(rng.permutation(len(y)), n_batches)
            for i, rows in enumerate(batches):
                self._step(taps, labels, rows, 1.0 - (epoch + i / n_batches) / self.epochs)
        return self

    def partial_fit(self, X: Any, y: npt.ArrayLike, classes: Any = None) -> AdaptorClassifier:
        """Learn from these rows, once and in order; a label never seen becomes a new class."""
        self._check_params()
        taps = candidate_inputs(X, self.candidate)
        y = contract.check_y(y, _n_samples(taps))
        known = y if classes is None else contract.check_y(classes, len(classes))
        for labels in (known, getattr(self, "classes_", known)):
            if labels.dtype.kind != y.dtype.kind:
                raise ValueError(
                    f"labels are {y.dtype}, expected {labels.dtype} as the known classes."
                )
        if not hasattr(self, "classes_"):
            self._begin(np.unique(known), contract.check_random_state(self.random_state))
        self._meet(np.concatenate([known, y]))
        self._update(taps)
        index = {label: i for i, label in enumerate(self.classes_.tolist())}
        numbers = np.array([index[label] for label in y.tolist()], dtype=np.int64)
        for start in range(0, len(y), self.batch_size):
            rows = np.arange(start, min(start + self.batch_size, len(y)))
            self._step(taps, numbers, rows, 1.0)
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the logit of each class, (n_samples, n_classes); the highest wins."""
        contract.check_is_fitted(self)
        taps = candidate_inputs(X, self.candidate)
        return self.network_.logits(self._standardised(taps)).astype(np.float64)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return the probability of each class, (n_samples, n_classes); rows sum to 1."""
        return softmax(self.decision_function(X))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """Return the most likely label of each sample."""
        winners = self.decision_function(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[winners]
        return labels

    @property
    def n_bytes_(self) -> int:
        """Bytes held in memory; the candidate's, unless more classes came."""
        contract.check_is_fitted(self)
        return self.network_.n_bytes + sum(s.n_bytes for s in self._scalers.values())

    def to_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return a JSON-able header and a flat dict of copied arrays; `from_state` reads them."""
        contract.check_is_fitted(self)
        params = self.get_params()
        header = {
            "format": FORMAT,
            "version": VERSION,
            "params": {k: v for k, v in params.items() if k not in ("candidate", "random_state")},
            "candidate": self.candidate.to_dict(),
            "classes": self.classes_.tolist(),
            "seed": self.network_.seed,
            "counts": [scaler.count for scaler in self._all_scalers()],
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            f"network.{name}": array.copy() for name, array in self.network_.arrays().items()
        }
        for i, scaler in enumerate(self._all_scalers()):
            arrays |= {f"scale{i}.{name}": array for name, array in scaler.arrays().items()}
        return header, arrays

    @classmethod
    def from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> AdaptorClassifier:
        """Return the classifier that `to_state` described; refuse any other shape or version."""
        try:
            check_format(header, FORMAT, VERSION)
            classifier = cls(Candidate.from_dict(header["candidate"]), **header["params"])
            classifier._check_params()
            classifier._restore(header, arrays)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"state header is damaged: {error!r}.") from error
        return classifier

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        parts: dict[str, dict[str, Any]] = {}
        for name, array in arrays.items():
            place, _, leaf = name.partition(".")
            parts.setdefault(place, {})[leaf] = array
        n_classes = len(header["classes"])
        classes = contract.check_y(header["classes"], n_classes)
        candidate = replace(self.candidate, n_classes=n_classes)
        seed = positive_int(header, "seed", least=0)
        self.network_ = AdaptorNetwork.restored(candidate, parts.pop("network"), seed)
        if len(np.unique(classes)) != n_classes:
            raise ValueError("state names a class twice.")
        n_pooled = [] if self.network_.pooled is None else [len(self.network_.pooled.mean)]
        widths = [*(tap.channels for tap in self.candidate.taps), *n_pooled]
        if len(header["counts"]) != len(widths):
            raise ValueError(f"state has {len(header['counts'])} scales, expected {len(widths)}.")
        scalers = [
            Standardiser.restore(width, count, parts.pop(f"scale{i}"))
            for i, (width, count) in enumerate(zip(widths, header["counts"], strict=True))
        ]
        self._scalers = {t.name: s for t, s in zip(self.candidate.taps, scalers, strict=False)}
        if n_pooled:
            self.network_.pooled = scalers[-1]
        if parts:
            raise ValueError(f"state has arrays of unknown parts {sorted(parts)}.")
        self._name(classes)

    def _begin(self, classes: npt.NDArray[Any], rng: np.random.Generator) -> None:
        self.network_ = AdaptorNetwork(replace(self.candidate, n_classes=len(classes)), rng)
        self._scalers = {tap.name: Standardiser(tap.channels) for tap in self.candidate.taps}
        self._name(classes)

    def _name(self, classes: npt.NDArray[Any]) -> None:
        self.classes_ = classes
        self.n_features_in_ = self.candidate.n_inputs

    def _meet(self, labels: npt.NDArray[Any]) -> None:
        new = sorted(set(labels.tolist()) - set(self.classes_.tolist()))
        if new:
            self.network_.add_classes(len(new))
            self.classes_ = np.concatenate([self.classes_, np.array(new)])

    def _all_scalers(self) -> list[Standardiser]:
        pooled = self.network_.pooled
        return [*self._scalers.values(), *([] if pooled is None else [pooled])]

    def _update(self, taps: Mapping[str, Array]) -> None:
        for name, scaler in self._scalers.items():
            scaler.update(taps[name].reshape(-1, taps[name].shape[-1]))

    def _standardised(self, taps: Mapping[str, Array]) -> dict[str, Array]:
        return {name: scaler.transform(taps[name]) for name, scaler in self._scalers.items()}

    def _step(
        self,
        taps: Mapping[str, Array],
        labels: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        fraction: float,
    ) -> None:
        batch = self._standardised({name: X[rows] for name, X in taps.items()})
        rates = fraction * self.learning_rate, fraction * self.hidden_learning_rate
        self.network_.step(batch, labels[rows], *rates)

    def _check_params(self) -> None:
        if not isinstance(self.candidate, Candidate):
            raise TypeError(f"candidate is {self.candidate!r}, expected a Candidate.")
        for name in ("learning_rate", "hidden_learning_rate"):
            rate = getattr(self, name)
            if not 0.0 <= rate <= 2.0:
                raise ValueError(f"{name} is {rate!r}, expected a number from 0 to 2.")
        for name in ("epochs", "batch_size"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
                raise ValueError(f"{name} is {number!r}, expected an int of 1 or more.")


def candidate_inputs(X: Any, candidate: Candidate) -> dict[str, Array]:
    """Return the candidate's taps as finite float32, one row per sample each.

    A feature map is averaged over its positions here where the candidate works on vectors: its
    standardisation must see the averages, which vary far less than the positions.
    """
    taps = candidate.taps
    given = X if isinstance(X, Mapping) else {taps[0].name: X}
    if not isinstance(X, Mapping) and len(taps) != 1:
        raise ValueError(f"X is an array, expected a dict with taps {[t.name for t in taps]}.")
    found: dict[str, Array] = {}
    for tap in taps:
        if tap.name not in given:
            raise ValueError(f"X has taps {sorted(given)}, but no {tap.name!r}.")
        array = finite_array(given[tap.name], tap.name)
        if array.shape[1:] != tap.shape:
            raise ValueError(
                f"tap {tap.name!r} has shape {array.shape}, expected (n_samples, "
                f"{', '.join(map(str, tap.shape))}): is this another encoder?"
            )
        found[tap.name] = averaged(array) if candidate.kind in DENSE_KINDS else array
    _n_samples(found)
    return found


def finite_array(values: Any, name: str) -> Array:
    """Return a tap as float32, (n, d) or (n, h, w, c), not empty and finite."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"tap {name!r} has dtype {array.dtype}, expected numbers.")
    if array.ndim not in (2, 4) or array.size == 0:
        raise ValueError(
            f"tap {name!r} has shape {array.shape}, expected (n, d) or (n, h, w, c), none of them 0"
        )
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"tap {name!r} holds NaN, infinity or a value too large for float32.")
    return array


def _n_samples(taps: Mapping[str, Array]) -> int:
    counts = {name: len(array) for name, array in taps.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"taps have different numbers of samples: {counts}.")
    return next(iter(counts.values()))
