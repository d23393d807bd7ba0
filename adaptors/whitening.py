"""What a layer remembers of its inputs, so that its steps lead straight to where they should.

Inputs that are correlated, or far from a mean of zero as behind a relu, make the loss a narrow
valley: a gradient crosses it back and forth and hardly moves along it. A step multiplied by the
inverse of the inputs' second moment does not see the valley. Only the inputs matter, no error from
above: the input half of K-FAC (Martens and Grosse 2015), alone as in FOOF (Benzing, ICML 2022).

`SecondMoment` is whole and costs the square of the width. `Mean` is for wider layers: it takes away
the mean alone, the longest side of the valley behind a relu.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

# Inputs per unit up to which a layer keeps their second moment: at most 1 MiB.
WIDEST: Final = 511
# Samples after which the older ones fade: hidden features move while the layer below learns.
MEMORY: Final = 4096
# Added to the second moment, relative to its mean diagonal: directions hardly seen stay slow.
RIDGE: Final = np.float32(1e-2)
# Names of arrays that belong to inputs, whatever the number of units.
STATISTICS: Final = ("moment", "mean", "seen")


class Sums(NamedTuple):
    """Sums over the rows of a batch, each row times its weight."""

    gram: Array  # (width, width): of products of two inputs
    total: Array  # (width,): of inputs
    n_rows: float  # of ones

    @classmethod
    def of_rows(cls, A: Array, weights: Array | None = None) -> Sums:
        """Return the sums of rows (n_rows, width).

        >>> Sums.of_rows(np.array([[1, 2]], dtype=np.float32)).gram.tolist()
        [[1.0, 2.0], [2.0, 4.0]]
        """
        weights = np.ones(len(A), np.float32) if weights is None else weights
        weighted: Array = A * weights[:, None]
        return cls(weighted.T @ A, weighted.sum(axis=0), float(weights.sum()))

    def centred(self, mean: Array) -> Sums:
        """Return the sums of rows from which ``mean`` has been taken."""
        crossed = np.outer(self.total, mean)
        gram: Array = np.float32(self.n_rows) * np.outer(mean, mean)
        gram += self.gram - crossed - crossed.T
        return Sums(gram, self.total - np.float32(self.n_rows) * mean, self.n_rows)

    def augmented(self) -> Array:
        """Return the Gram matrix of the rows, a 1 appended to each."""
        matrix = np.empty((len(self.total) + 1,) * 2, dtype=np.float32)
        matrix[:-1, :-1] = self.gram
        matrix[:-1, -1] = matrix[-1, :-1] = self.total
        matrix[-1, -1] = self.n_rows
        return matrix

    def norm(self) -> float:
        """Return the Frobenius norm of `augmented`."""
        corner = 2 * float(self.total @ self.total) + self.n_rows**2
        return float(np.sqrt(float(np.linalg.norm(self.gram)) ** 2 + corner))


class _Running:
    """A running mean of something of the inputs, and how many samples stand behind it."""

    name: str

    def __init__(self, value: Array, seen: Array | None = None) -> None:
        self.value = value
        self.seen = np.zeros(1, np.float32) if seen is None else seen

    @property
    def arrays(self) -> dict[str, Array]:
        """The learned arrays by name, not copied."""
        return {self.name: self.value, "seen": self.seen}

    def _fade(self, value: Array, n_samples: int) -> None:
        share = min(1.0, n_samples / min(float(self.seen[0]) + n_samples, MEMORY))
        self.value += np.float32(share) * (value - self.value)
        self.seen[0] = min(float(self.seen[0]) + n_samples, MEMORY)


class SecondMoment(_Running):
    """The second moment of inputs with a 1 appended, (width + 1, width + 1).

    Examples
    --------
    >>> moment = SecondMoment.of_width(1)
    >>> rows = np.array([[3], [5]], dtype=np.float32)
    >>> round(moment.observe(Sums.of_rows(rows), 2), 1)  # two directions, a sample for each
    2.1
    """

    name = "moment"

    @classmethod
    def of_width(cls, width: int) -> SecondMoment:
        """Return one that has seen nothing."""
        return cls(np.zeros((width + 1, width + 1), np.float32))

    def observe(self, sums: Sums, n_samples: int) -> float:
        """Count a batch in; return the Gram norm of its rows as `straighten` will see them."""
        gram = sums.augmented()
        self._fade(gram / np.float32(sums.n_rows), n_samples)
        self._inverse = np.linalg.inv(self._ridged())
        seen = gram @ self._inverse
        return float(np.sqrt(np.sum(seen * seen.T)))

    def straighten(self, steps: dict[str, Array]) -> dict[str, Array]:
        """Return the steps of weights and bias times the inverse of the second moment."""
        both = np.concatenate([steps["weights"], steps["bias"][:, None]], axis=1) @ self._inverse
        return {"weights": np.ascontiguousarray(both[:, :-1]), "bias": both[:, -1].copy()}

    def check(self) -> None:
        """Raise ValueError unless the matrix is what some inputs could have."""
        symmetric = np.allclose(self.value, self.value.T, rtol=1e-3, atol=1e-6)
        least = np.linalg.eigvalsh(self._ridged().astype(np.float64))[0] if symmetric else -1.0
        if least <= 0:
            raise ValueError("state has a second moment that no inputs have: is it damaged?")

    def _ridged(self) -> Array:
        n = len(self.value)
        ridge = RIDGE * np.float32(self.value.trace() / n)
        # Inputs that were all zero have no scale: any small number will do.
        return self.value + max(ridge, np.float32(1e-6)) * np.eye(n, dtype=np.float32)


class Mean(_Running):
    """The mean of inputs, (width,)."""

    name = "mean"

    @classmethod
    def of_width(cls, width: int) -> Mean:
        """Return one that has seen nothing."""
        return cls(np.zeros(width, np.float32))

    def observe_rows(self, X: Array, weights: Array | None) -> Array:
        """Count rows (n_rows, width) in; return them without the mean."""
        self._fade(np.average(X, axis=0, weights=weights).astype(np.float32), len(X))
        return X - self.value

    def observe(self, sums: Sums, n_samples: int) -> float:
        """Count a batch in; return the Gram norm of its rows without the mean."""
        self._fade(sums.total / np.float32(sums.n_rows), n_samples)
        return sums.centred(self.value).norm()

    def straighten(self, steps: dict[str, Array]) -> dict[str, Array]:
        """Return the steps that rows without their mean would have caused."""
        weights = steps["weights"] - np.outer(steps["bias"], self.value)
        return {"weights": weights, "bias": steps["bias"] - weights @ self.value}

    def check(self) -> None:
        """Any finite mean will do."""


Statistics = SecondMoment | Mean


def statistics_for(width: int) -> Statistics:
    """Return what a layer of this many inputs per unit can afford to remember of them."""
    return SecondMoment.of_width(width) if width <= WIDEST else Mean.of_width(width)


def expected_shapes(width: int, arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes to expect of saved statistics; none where none were saved."""
    if "moment" in arrays:
        return {"moment": (width + 1, width + 1), "seen": (1,)}
    return {"mean": (width,), "seen": (1,)} if "mean" in arrays else {}


def restored(arrays: Mapping[str, Array]) -> Statistics | None:
    """Return the statistics among a layer's saved arrays, or None."""
    if "seen" not in arrays:
        return None
    kind = SecondMoment if "moment" in arrays else Mean
    found: Statistics = kind(arrays[kind.name], arrays["seen"])
    if not 0 <= float(found.seen[0]) <= MEMORY:
        raise ValueError(f"state has seen {found.seen[0]} samples, expected 0 to {MEMORY}.")
    found.check()
    return found
