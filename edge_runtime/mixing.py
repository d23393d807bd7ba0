"""What binary prototypes, Gaussian densities and an adaptor count for in an answer.

Prototypes know angles, densities how far a mean is off, the adaptor what no Gaussian says. Which of
them to trust depends on the domain and on how much was learned; held-out labels decide it when a
slot is fitted (`crossfit`), and labels that come later, each before it is learned, from then on.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

TEMPERATURES = (2.5, 5.0, 10.0, 20.0, 40.0, 80.0)
# Densities of hundreds of features are far too certain to be taken at their word.
DENSITY_WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0)
# Adaptors are too certain as well: of what they have learned by heart.
ADAPTOR_WEIGHTS = (0.3, 0.5, 1.0)
# Labels of a class over which losses are averaged: the first ones are those of the fit.
MEMORY = 50
# Labels of a class from which it counts in full: the others have many, and it is new.
ENOUGH = 20
# Of one label, which may well be wrong: that of a chance of one in ten thousand.
LARGEST_LOSS = 9.0
# The share of labels that are taken to be another class's: that of the second-best answer.
DOUBT = 0.005
LARGEST_DOUBT = 1000.0


class Mix(NamedTuple):
    """Factors of cosines to prototypes, of log-densities, and of the adaptor's log-probabilities.

    (logarithms of products of experts: G. E. Hinton, Neural Computation 14, 2002).
    """

    temperature: float
    density_weight: float
    adaptor_weight: float


FIRST = Mix(20.0, 0.0, 1.0)  # before anything was held out
MIXES = tuple(map(Mix._make, itertools.product(TEMPERATURES, DENSITY_WEIGHTS, ADAPTOR_WEIGHTS)))
# The same without an adaptor, whose weight is the last to change: the first of each three.
N_ALIKE = len(ADAPTOR_WEIGHTS)
_FACTORS = np.array(MIXES)
MIX_BYTES = 4 * len(MIXES) + 8  # of the losses of a class, and their number


def log_softmax(logits: Scores) -> Scores:
    """Logarithms of probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def prototype_logs(cosines: Scores, densities: Scores | None, mix: Mix) -> Scores:
    """Log-probabilities (n, n_classes) by similarity to prototypes and by Gaussian densities.

    `densities` (n, n_classes) are logarithms, -inf for unknown classes; without a weight they are
    not looked at, and may be None.
    """
    logits = mix.temperature * cosines
    if mix.density_weight and densities is not None:
        logits = logits + mix.density_weight * _below_best(densities)
    return log_softmax(logits)


def _below_best(densities: Scores) -> Scores:
    best = densities.max(axis=-1, keepdims=True)
    return densities - np.where(np.isfinite(best), best, 0.0)


def combined(
    logs: Scores,
    known: Classes,
    adaptor_logs: Scores,
    weight: float | Scores = 1.0,
    alone: Scores | None = None,
) -> Scores:
    """Log-probabilities (n, n_classes) of prototypes and an adaptor of the classes `known`.

    Among those both have a say; what the prototypes give to classes that the adaptor has never
    met, it cannot take away. `alone` is what they say with a mix of their own, where there are such
    classes: in one that leaves the answer to the adaptor they would hardly be heard.
    """
    together = np.array(np.broadcast_to(logs if alone is None else alone, logs.shape))
    mass = np.logaddexp.reduce(together[:, known], axis=1, keepdims=True)
    together[:, known] = mass + log_softmax(logs[:, known] + weight * adaptor_logs)
    return together


def losses_of(logs: Scores, y: Classes) -> Scores:
    """Losses (n,) of log-probabilities (n, n_classes) of samples of classes `y`.

    Were all held-out labels answered rightly, the most certain mix would lose least, and be sure of
    its first mistake. So what the second-best answer would have cost counts a little.
    """
    rows = np.arange(len(y))
    losses = np.minimum(-logs[rows, y], LARGEST_LOSS)
    if logs.shape[1] < 2:
        return losses
    others = logs.copy()
    others[rows, y] = -np.inf
    doubted = np.minimum(-others.max(axis=1), LARGEST_DOUBT)
    return np.asarray((1 - DOUBT) * losses + DOUBT * doubted)


class MixLosses:
    """How well each of `MIXES` would have answered the last labels of each class.

    Classes may come one after the other: were they not told apart, the last one would decide how
    all of them are answered.
    """

    def __init__(self) -> None:
        self.losses: npt.NDArray[np.float32] = np.zeros((0, len(MIXES)), np.float32)
        self.counts: Classes = np.zeros(0, np.int64)
        self.best = self.alone = FIRST

    def start(self, losses: Scores, y: Classes, alone: Mix = FIRST) -> None:
        """Begin with losses (n, len(MIXES)) of held-out labels of classes `y`.

        `alone` is the best mix without an adaptor: for classes that it has never met.
        """
        self.alone = alone
        n_classes = int(y.max()) + 1
        self.losses = np.zeros((n_classes, len(MIXES)), np.float32)
        self.counts = np.zeros(n_classes, np.int64)
        for k in np.unique(y):
            self.losses[k], self.counts[k] = losses[y == k].mean(axis=0), np.sum(y == k)
        self._choose()

    def take(
        self,
        k: int,
        cosines: Scores,
        densities: Scores,
        known: Classes,
        adaptor: tuple[Classes, Scores] | None = None,
    ) -> None:
        """Take what one sample of class `k` was given (1, n_classes) before it was learned.

        Only `known` classes count, of which `k` is one; `adaptor` are the classes it knows, and its
        log-probabilities (1, n) of those.
        """
        each = _FACTORS[::N_ALIKE]
        logits = each[:, :1] * cosines[:, known]
        weighted = each[:, 1] > 0
        logits[weighted] += each[weighted, 1:2] * _below_best(densities[:, known])
        logs = np.repeat(log_softmax(logits), N_ALIKE, axis=0)
        if adaptor is not None:
            classes, of_adaptor = adaptor
            places = np.searchsorted(known, classes)
            alone = logs[[MIXES.index(self.alone)]] if len(places) < len(known) else None
            logs = combined(logs, places, of_adaptor, _FACTORS[:, 2:], alone)
        missing = max(k + 1 - len(self.counts), 0)
        self.losses = np.pad(self.losses, ((0, missing), (0, 0)))
        self.counts = np.pad(self.counts, (0, missing))
        at = np.full(len(MIXES), np.searchsorted(known, k))
        self.counts[k] = min(self.counts[k] + 1, MEMORY)
        self.losses[k] += (losses_of(logs, at) - self.losses[k]) / self.counts[k]
        if self.counts.sum() >= ENOUGH:  # else the first label after a fit would choose for all
            self._choose()

    def remove_class(self, k: int) -> None:
        """Forget a class; those behind it move up by one."""
        if k < len(self.counts):
            self.losses, self.counts = np.delete(self.losses, k, 0), np.delete(self.counts, k)

    def freeze(self) -> None:
        """Keep the best mix, and nothing of what it was chosen by."""
        self.losses, self.counts = self.losses[:0], self.counts[:0]

    def forget_adaptor(self) -> None:
        """What was best without one is taken, until `ENOUGH` labels have come."""
        self.best = self.alone
        self.losses, self.counts = np.zeros_like(self.losses), np.zeros_like(self.counts)

    def _choose(self) -> None:
        """Take the mix of least loss over classes, those that have been met less counting less."""
        weights = np.minimum(self.counts, ENOUGH)
        self.best = MIXES[int(np.argmin(weights @ self.losses))] if weights.any() else FIRST

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        return self.losses.nbytes + self.counts.nbytes

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Losses of each class, their numbers, and the place of the best mix."""
        mixes = np.array([MIXES.index(self.best), MIXES.index(self.alone)], np.int64)
        return {"losses": self.losses, "loss_counts": self.counts, "mix": mixes}

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> MixLosses:
        """What `to_state` was called on; `ValueError` or `KeyError` if it does not fit."""
        losses, counts, mixes = (state[name] for name in ("losses", "loss_counts", "mix"))
        shapes = losses.shape, counts.shape, mixes.shape
        if shapes != ((len(counts), len(MIXES)), (len(counts),), (2,)):
            raise ValueError(f"losses of mixes have shapes {shapes}: were they cut?")
        if not np.isfinite(losses).all() or not 0 <= mixes.min() <= mixes.max() < len(MIXES):
            raise ValueError("losses of mixes are no numbers, or name no mix: are they damaged?")
        restored = cls()
        restored.losses, restored.counts = losses.astype(np.float32), counts.astype(np.int64)
        restored.best, restored.alone = (MIXES[m] for m in mixes.tolist())
        return restored
