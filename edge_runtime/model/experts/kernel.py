"""The kernel head: kernel ridge regression on class labels, on at most so many landmarks.

While labels are few, every exemplar is a landmark and the solution is exact; beyond that it is
Nystroem's, from sums over all rows. Rows weigh in by the inverse of their class's count. A label
that comes between two fits corrects the answer by what it was wrong about it: kernel ridge
regression of the residuals, exact in the new labels and without a matrix of all.

Sources: C. K. I. Williams, M. Seeger, "Using the Nystroem method", 2000; Y. Cho, L. K. Saul,
"Kernel methods for deep learning", 2009 (the arc-cosine kernel: random features of infinite width).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StateError
from edge_runtime.model.experts.mixing import best_temperature
from edge_runtime.state.fields import Field, restored
from hdc.domain.cells import counts_of

Matrix = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# More landmarks cost time cubed: a thousand are 90.0 % of PACS, two thousand 90.8.
MOST_LANDMARKS, LEAST_LANDMARKS = 1000, 64
# Between two fits one label in so many landmarks may be appended at the most.
APPENDED = 4
# Rows and landmarks that the kernel is chosen on: enough to rank kernels, cheap to solve.
CHOICE_ROWS, CHOICE_LANDMARKS = 1500, 400
ARC = 0.0
# Widths of Gaussian kernels, as factors of squared distances; projections have unit length.
KERNELS = (ARC, 0.25, 0.5, 1.0, 2.0, 4.0)
RIDGES = (0.03, 0.3, 3.0)
# Length that projections have in the arc-cosine kernel, beside its constant of one.
ARC_LENGTH = 3.0
JITTER = 1e-6
# Of the root of an inverse, in float32.
ROOT_JITTER = 1e-4
# A label of a rare class counts for at most so many of the others.
MOST_WEIGHT = 10.0
# Projections, and what is made of them, are far below this: their squares stay in float32's range.
LARGEST = 1e12
ROWS_AT_ONCE = 512


FIELDS = (
    Field("landmarks", "float32", ("m", "dims")),
    Field("fitted", "float32", ("m", "classes")),
    Field("coefficients", "float32", ("m", "classes")),
    Field("offset", "float32", ("classes",)),
    Field("choice", "float64", (2,)),
    Field("recent", "float32", ("r", "dims")),
    Field("targets", "int64", ("r",)),
    Field("correction", "float32", ("r", "classes")),
)


class KernelChoice(NamedTuple):
    """Which kernel (a width, or `ARC`) and which ridge."""

    width: float
    ridge: float


def kernel(width: float, A: Matrix, B: Matrix, squares: Matrix | None = None) -> Matrix:
    """Kernel matrix (n, m) of projections A (n, p) and B (m, p).

    Parameters
    ----------
    squares : (m,) squared lengths of B, where they are known.
    """
    a = np.einsum("ij,ij->i", A, A)[:, None]
    b = (np.einsum("ij,ij->i", B, B) if squares is None else squares)[None]
    products = A @ B.T
    if width != ARC:
        products *= 2
        products -= a
        products -= b
        np.minimum(products, 0, out=products)
        products *= np.float32(width)
        return np.asarray(np.exp(products, out=products))
    square = np.float32(ARC_LENGTH**2)
    lengths = np.sqrt(square * a + 1) * np.sqrt(square * b + 1)
    cosine = np.clip((square * products + 1) / lengths, -1, 1)
    angle = np.arccos(cosine)
    K = (np.sqrt(1 - cosine * cosine) + (np.float32(np.pi) - angle) * cosine) * lengths
    return np.asarray(K * np.float32(1 / np.pi), np.float32)


def class_weights(y: Indices, n_classes: int) -> npt.NDArray[np.float64]:
    """Weights (n,) of rows: the inverse of the count of their class, or cell, 1 on average."""
    weights = 1.0 / counts_of(y, n_classes)[y]
    return np.asarray(weights / weights.mean())


class KernelHead:
    """Landmarks and their coefficients; scores are about 1 for the class and 0 for the others.

    Parameters
    ----------
    landmarks : (m, p) projections.
    coefficients : (m, n_classes)
    offset : (n_classes,) added to every answer.
    certain : (m, m) what is known already: ``k(x, x) - |certain @ k(landmarks, x)|^2`` is the
        variance of the answer at x. Without it a label that is appended counts as if nothing were.
    counts : (n_classes,) labels of each class.
    """

    def __init__(
        self,
        choice: KernelChoice,
        landmarks: Matrix,
        coefficients: Matrix,
        offset: Matrix,
        certain: Matrix | None = None,
        counts: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.choice, self.landmarks = choice, landmarks
        self._squares = np.einsum("ij,ij->i", landmarks, landmarks)
        self.coefficients, self.offset = coefficients, offset
        self._certain, self._counts = certain, counts
        self._fitted = coefficients
        self._forget_recent()

    def _forget_recent(self) -> None:
        self._recent: Matrix = self.landmarks[:0]
        self._known: Matrix = np.zeros((0, len(self.landmarks)), np.float32)
        self._carried: Matrix = self._known  # what landmarks carry of a correction at each label
        self._base: Matrix = np.zeros((0, len(self.offset)), np.float32)  # answers of the fit
        self._inner = np.zeros((0, 0))  # covariance of the answers at recent labels
        self._targets: list[int] = []
        self._weights: list[float] = []
        self._correction: Matrix = np.zeros((0, len(self.offset)), np.float32)

    @classmethod
    def fit(
        cls,
        choice: KernelChoice,
        U: Matrix,
        y: Indices,
        weights: npt.NDArray[np.float64],
        n_classes: int,
        landmarks: Indices,
        *,
        is_growing: bool = False,
    ) -> KernelHead:
        """Fit on projections U (n, p) of labels y (n,); `landmarks` are indices of rows.

        Parameters
        ----------
        is_growing : whether labels will be appended.
        """
        L = np.ascontiguousarray(U[landmarks])
        offset = np.full(n_classes, 1.0 / n_classes)
        moment, right = _sums(choice, U, y, weights, n_classes, L)
        inner = kernel(choice.width, L, L).astype(np.float64)
        moment += choice.ridge * inner
        coefficients = _solved(moment, right)
        certain = _certain(moment, inner, choice.ridge) if is_growing else None
        counts = counts_of(y, n_classes).astype(np.float64)
        return cls(choice, L, coefficients, offset.astype(np.float32), certain, counts)

    def recall(
        self,
        U: Matrix,
        y: Indices,
        weights: npt.NDArray[np.float64],
        recent: Matrix,
        targets: Indices,
    ) -> None:
        """Make what was not saved: what is certain by the labels of the fit, and those since.

        Parameters
        ----------
        U, y, weights : of the fit; `recent` and `targets` are of the labels appended to it.
        """
        moment, _ = _sums(self.choice, U, y, weights, self.n_classes, self.landmarks)
        inner = kernel(self.choice.width, self.landmarks, self.landmarks).astype(np.float64)
        self._certain = _certain(moment + self.choice.ridge * inner, inner, self.choice.ridge)
        self._counts = counts_of(y, self.n_classes).astype(np.float64)
        self._forget_recent()
        for u, k in zip(recent, targets.tolist(), strict=True):
            self._take(u, k)
        if len(recent):
            self._correct()

    @property
    def can_append(self) -> bool:
        """Whether a label can be appended exactly; else `recall` comes first."""
        return self._certain is not None

    @property
    def n_classes(self) -> int:
        """Classes that it has an answer for."""
        return int(self.coefficients.shape[1])

    def scores(self, U: Matrix) -> Scores:
        """Scores (n, n_classes) of projections (n, p)."""
        found = self._beside_landmarks(U) @ self.coefficients + self.offset
        if len(self._recent):
            found += kernel(self.choice.width, U, self._recent) @ self._correction
        return np.asarray(found, np.float64)

    def _beside_landmarks(self, U: Matrix) -> Matrix:
        return kernel(self.choice.width, U, self.landmarks, self._squares)

    def append(self, u: Matrix, k: int) -> None:
        """Take one label of class k more: a projection u (p,).

        Exactly so: what is known of the answer there is taken into account.
        """
        self._take(u, k)
        self._correct()

    def _take(self, u: Matrix, k: int) -> None:
        missing = k + 1 - self.n_classes
        if missing > 0:
            self._fitted = np.pad(self._fitted, ((0, 0), (0, missing)))
            self._base = np.pad(self._base, ((0, 0), (0, missing)))
            self.offset = np.pad(self.offset, (0, missing))
        width = self.choice.width
        there = self._beside_landmarks(u[None])
        known = there if self._certain is None else there @ self._certain.T
        beside = kernel(width, u[None], np.concatenate([self._recent, u[None]]))[0].astype(float)
        if self._certain is not None:
            beside -= np.concatenate([self._known, known]).astype(float) @ known[0].astype(float)
        n = len(self._recent)
        self._inner = np.pad(self._inner, ((0, 1), (0, 1)))
        self._inner[n, : n + 1] = self._inner[: n + 1, n] = beside
        self._inner[n, n] = max(self._inner[n, n], 0.0)
        self._recent = np.concatenate([self._recent, u[None]])
        self._base = np.concatenate([self._base, there @ self._fitted + self.offset])
        self._known = np.concatenate([self._known, known])
        if self._certain is not None:
            self._carried = np.concatenate([self._carried, known @ self._certain])
        self._targets.append(k)
        self._weights.append(self._weight_of(k))

    def _weight_of(self, k: int) -> float:
        """Weight of one label more of a class, as `class_weights` has it."""
        if self._counts is None:
            return 1.0
        self._counts = np.pad(self._counts, (0, max(k + 1 - len(self._counts), 0)))
        self._counts[k] += 1
        there = int(np.count_nonzero(self._counts))
        return float(min(self._counts.sum() / (there * self._counts[k]), MOST_WEIGHT))

    def _correct(self) -> None:
        wrong = np.eye(len(self.offset), dtype=np.float32)[self._targets] - self._base
        K = self._inner + np.diag(self.choice.ridge / np.array(self._weights) + JITTER)
        self._correction = np.linalg.solve(K, wrong).astype(np.float32)
        self.coefficients = self._fitted
        if self._certain is not None:  # the part of the correction that landmarks carry
            self.coefficients = self._fitted - self._carried.T @ self._correction

    @property
    def most_recent(self) -> int:
        """Labels that may be taken before a fit is due: a quarter of its landmarks."""
        return len(self.landmarks) // APPENDED

    @property
    def n_recent(self) -> int:
        """Labels taken since it was fitted."""
        return len(self._targets)

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that answers, as a flat dict of arrays."""
        return {
            "landmarks": self.landmarks,
            "fitted": self._fitted,
            "coefficients": self.coefficients,
            "offset": self.offset,
            "choice": np.array(self.choice, np.float64),
            "recent": self._recent,
            "targets": np.array(self._targets, np.int64),
            "correction": self._correction,
        }

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], n_dims: int) -> KernelHead:
        """What `to_state` was called on; `StateError` where it does not fit."""
        found = restored(arrays, FIELDS, {"dims": n_dims})
        n_classes = len(found["offset"])
        if (found["targets"] < 0).any() or (found["targets"] >= n_classes).any():
            raise StateError(f"recent labels of other than {n_classes} classes: is it damaged?")
        for name in ("landmarks", "recent", "fitted", "coefficients", "correction"):
            if np.abs(found[name]).max(initial=0.0) > LARGEST:
                raise StateError(f"field {name} is out of all bounds: is it damaged?")
        width, ridge = found["choice"].tolist()
        if not (0 <= width <= 1e6 and 0 < ridge <= 1e6):
            raise StateError(f"kernel of width {width} and ridge {ridge}: is it damaged?")
        head = cls(
            KernelChoice(width, ridge), found["landmarks"], found["coefficients"], found["offset"]
        )
        head._fitted, head._recent = found["fitted"], found["recent"]
        head._correction, head._targets = found["correction"], found["targets"].tolist()
        return head

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        arrays = (
            self.landmarks, self._squares, self._fitted, self.offset, self._recent,
            self._correction, self._known, self._carried, self._base, self._inner,
        )  # fmt: skip
        held = sum(int(array.nbytes) for array in arrays)
        return held + (0 if self._certain is None else int(self._certain.nbytes))


def leave_one_out(
    head: KernelHead, U: Matrix, y: Indices, weights: npt.NDArray[np.float64]
) -> Scores:
    """Scores (n, n_classes) of each of the rows that a head was fitted on, had it been left out.

    Exact for given landmarks: ``f - h / (1 - h) * (target - f)``, with h what a row counts in its
    own answer.
    """
    choice, L, n_classes = head.choice, head.landmarks, head.n_classes
    moment, _ = _sums(choice, U, y, weights, n_classes, L)
    moment += choice.ridge * kernel(choice.width, L, L)
    moment[np.diag_indices_from(moment)] += JITTER * np.trace(moment) / len(moment)
    back = np.linalg.inv(moment).astype(np.float32)
    found = np.empty((len(U), n_classes))
    for start in range(0, len(U), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        K = kernel(choice.width, U[rows], L)
        own = np.clip(np.einsum("ij,ij->i", K @ back, K) * weights[rows], 0.0, 0.99)[:, None]
        fitted = K @ head.coefficients + head.offset
        wrong = np.eye(n_classes)[y[rows]] - fitted
        found[rows] = fitted - own / (1 - own) * wrong
    return found


def _sums(
    choice: KernelChoice,
    U: Matrix,
    y: Indices,
    weights: npt.NDArray[np.float64],
    n_classes: int,
    L: Matrix,
) -> tuple[Scores, Scores]:
    """Weighted sums over rows: of products of their kernels, and of these with the targets."""
    moment, right = np.zeros((len(L), len(L))), np.zeros((len(L), n_classes))
    for start in range(0, len(U), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        K = kernel(choice.width, U[rows], L).astype(np.float64)
        weighted = K * weights[rows, None]
        moment += weighted.T @ K
        right += weighted.T @ (np.eye(n_classes)[y[rows]] - 1.0 / n_classes)
    return moment, right


def _certain(moment: Scores, inner: Scores, ridge: float) -> Matrix:
    """See `KernelHead`: a root of ``inner^-1 - ridge * moment^-1``."""
    m = len(inner)
    jitter = ROOT_JITTER * np.trace(inner) / m
    try:
        back = np.linalg.inv(np.linalg.cholesky(inner + jitter * np.eye(m)))
    except np.linalg.LinAlgError:  # landmarks that are very far away: float32 has no more digits
        values, turn = np.linalg.eigh(inner)
        back = turn.T / np.sqrt(np.maximum(values, jitter))[:, None]
    shrunk = ridge * np.linalg.inv(back @ moment @ back.T + 1e-9 * np.eye(m))
    left = (1.0 + 1e-6) * np.eye(m) - (shrunk + shrunk.T) / 2
    try:
        root = np.linalg.cholesky(left).T
    except np.linalg.LinAlgError:  # landmarks that are nearly equal: slower, and never fails
        values, turn = np.linalg.eigh(left)
        root = np.sqrt(np.clip(values, 0.0, 1.0))[:, None] * turn.T
    return np.asarray(root @ back, np.float32)


def choose(
    parts: Sequence[tuple[Matrix, Indices, Matrix, Indices]],
    n_classes: int,
) -> KernelChoice:
    """The kernel and ridge of least held-out loss, over folds of (U, y, held-out U, held-out y)."""
    found: dict[KernelChoice, list[Scores]] = {}
    for U, y, V, _ in parts:
        rows = _evenly(len(U), CHOICE_ROWS)
        A, weights = U[rows], class_weights(y[rows], n_classes)
        landmarks = A[_evenly(len(A), CHOICE_LANDMARKS)]
        for width in KERNELS:
            K = kernel(width, A, landmarks).astype(np.float64)
            weighted = K * weights[:, None]
            right = weighted.T @ (np.eye(n_classes)[y[rows]] - 1.0 / n_classes)
            moment, inner = weighted.T @ K, kernel(width, landmarks, landmarks)
            held = kernel(width, V, landmarks)
            for ridge in RIDGES:
                coefficients = _solved(moment + ridge * inner, right)
                found.setdefault(KernelChoice(width, ridge), []).append(
                    np.asarray(held @ coefficients, np.float64)
                )
    truth = np.concatenate([w for _, _, _, w in parts])
    losses = {c: best_temperature(np.concatenate(s), truth)[0] for c, s in found.items()}
    return min(losses, key=lambda choice: losses[choice])


def _evenly(n: int, most: int) -> Indices:
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def _solved(moment: Scores, right: Scores) -> Matrix:
    moment[np.diag_indices_from(moment)] += JITTER * np.trace(moment) / len(moment)
    return np.linalg.solve(moment, right).astype(np.float32)
