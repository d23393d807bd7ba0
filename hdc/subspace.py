"""One domain as a Gaussian per class with a shared, low-rank within-class covariance.

`DomainModel` is what whitening means on a small board: instead of a d x d matrix it keeps the
`rank` leading directions of the pooled within-class scatter, and treats the rest as isotropic
(probabilistic PCA; Tipping and Bishop, 1999). It learns from a first batch and then one labelled
sample at a time, in bounded memory. From it come the whitened vector that is projected to a
hypervector, and the log-likelihood by which domains compete for a sample.

Not here: hypervectors (see `projection`), calibration (see `conformal`), the choice of a domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]

# Rows of residuals that wait before one small SVD takes them into the basis.
PENDING_ROWS = 64
# What a related domain counts for in `fit`, in samples of each class and degrees of freedom.
PRIOR_COUNT = 2
PRIOR_DOF = 50
# Subspace iteration: extra directions carried along, and passes over the rows.
OVERSAMPLING = 16
POWER_STEPS = 2


class Framed(NamedTuple):
    """Samples in the frame of a domain: what whitening and every likelihood are made of."""

    Z: Matrix  # (n, d) standardised
    leading: Matrix  # (n, rank) coordinates along the leading directions
    squares: Vector  # (n,) squared lengths of Z

    def take(self, rows: Any) -> Framed:
        """Some of the samples."""
        return Framed(self.Z[rows], self.leading[rows], self.squares[rows])


class DomainModel:
    """Class means and low-rank within-class covariance of one domain, learned in one pass.

    Parameters
    ----------
    tap_widths : widths of the taps that a feature vector is the concatenation of.
    rank : leading within-class directions kept; memory is ``(rank + n_classes) * d`` floats.
    shrinkage : in [0, 1]; the share of the isotropic covariance mixed in.
    variance_floor : added to each feature's variance, as a share of its tap's mean variance. A
        feature that hardly varied in one domain would otherwise dominate every other one.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 2
    >>> X = rng.normal(size=(60, 8)).astype(np.float32) + 4 * y[:, None]
    >>> model = DomainModel([8], rank=4).fit(X, y)
    >>> bool(model.log_likelihood(X[:1], 0) > model.log_likelihood(X[:1] + 50, 0))
    True
    """

    def __init__(
        self,
        tap_widths: Sequence[int],
        *,
        rank: int = 128,
        shrinkage: float = 0.3,
        variance_floor: float = 0.3,
    ) -> None:
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}, expected a number in (0, 1]")
        if rank < 1 or variance_floor < 0 or not tap_widths or min(tap_widths) < 1:
            raise ValueError(
                f"rank {rank}, variance_floor {variance_floor} and tap_widths {list(tap_widths)}: "
                "expected rank >= 1, a floor >= 0 and positive widths"
            )
        self.tap_widths = tuple(int(width) for width in tap_widths)
        self.rank, self.shrinkage, self.variance_floor = rank, shrinkage, variance_floor
        self.n_features = sum(self.tap_widths)
        self.mean = np.zeros(self.n_features, np.float32)
        self.scale = np.ones(self.n_features, np.float32)
        self.class_means = np.zeros((0, self.n_features), np.float32)
        self.counts = np.zeros(0, np.int64)
        self._basis: npt.NDArray[Any] = np.zeros((0, self.n_features), np.float32)
        self.energy = np.zeros(0, np.float32)
        self.total_energy = 0.0
        self.dof = 0
        self._pending = np.zeros((PENDING_ROWS, self.n_features), np.float32)
        self._n_pending = 0
        self._refresh()

    # -- learning ---------------------------------------------------------------------------

    def fit(self, X: Matrix, y: Classes, prior: DomainModel | None = None) -> DomainModel:
        """Learn the frame (mean, scale) and everything else from a first labelled batch.

        `prior` is the model of a related domain: relative to its own frame, its class means count
        as `PRIOR_COUNT` samples each and its scatter as `PRIOR_DOF` degrees of freedom. A few
        labels then go a long way, and many outvote it.
        """
        self._check(X)
        variance = X.var(axis=0, dtype=np.float64)
        start = 0
        for width in self.tap_widths:
            tap = slice(start, start + width)
            variance[tap] += self.variance_floor * variance[tap].mean() + 1e-12
            start += width
        self.mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.scale = np.sqrt(variance).astype(np.float32)
        if prior is not None:
            self._start_from(prior)
        self._grow(int(y.max()) + 1)
        residuals = self._learn_means(self.standardise(X), y)
        self.total_energy += _energy_of(residuals)
        self._absorb(residuals)
        self._refresh()
        return self

    def _start_from(self, prior: DomainModel) -> None:
        self.class_means = prior.class_means.copy()
        self.counts = np.minimum(prior.counts, PRIOR_COUNT)
        share = min(1.0, PRIOR_DOF / max(prior.dof, 1))
        self.dof = round(prior.dof * share)
        self.total_energy = prior.total_energy * share
        self.basis, self.energy = prior.basis, prior.energy * np.float32(share)

    def _learn_means(self, Z: Matrix, y: Classes) -> Matrix:
        """Update class means by a batch in the frame; return the residual rows that are scatter."""
        residuals = []
        for k in np.unique(y):
            rows, n = Z[y == k], int(self.counts[k])
            mean, m = rows.mean(axis=0, dtype=np.float64).astype(np.float32), len(rows)
            residuals.append(rows - mean)
            gap = mean - self.class_means[k]
            self.class_means[k] += gap * (m / (n + m))
            self.counts[k] = n + m
            self.dof += m - 1
            if n:  # batch and prior disagree on the mean: that is scatter too
                residuals.append(gap[None] * np.float32(np.sqrt(n * m / (n + m))))
                self.dof += 1
        return np.vstack(residuals)

    def update(self, x: Vector, k: int) -> bool:
        """Learn one labelled sample (Welford); a class index never seen before is added.

        Returns whether the whitening has changed too: it follows every `PENDING_ROWS` samples.
        """
        self._check(x[None])
        self._grow(k + 1)
        z = self.standardise(x[None])[0]
        n = int(self.counts[k])
        gap = z - self.class_means[k]
        self.class_means[k] += gap / (n + 1)
        self.counts[k] = n + 1
        self._follow(k)
        if n == 0:
            return False
        residual = gap * np.float32(np.sqrt(n / (n + 1)))
        self.dof += 1
        self.total_energy += float(residual @ residual)
        self._pending[self._n_pending] = residual
        self._n_pending += 1
        if self._n_pending == PENDING_ROWS:
            self._absorb(self._pending)
            self._n_pending = 0
            self._refresh()
        return self._n_pending == 0

    def merge(self, other: DomainModel) -> None:
        """Take over the statistics of another model, expressed in the frame of this one.

        Class means, counts and degrees of freedom are exact; the scatter is so up to the
        directions beyond `rank`.
        """
        if other.tap_widths != self.tap_widths:
            raise ValueError(
                f"cannot merge taps of widths {other.tap_widths} into {self.tap_widths}"
            )
        self._grow(len(other.counts))
        stretch = other.scale / self.scale
        means = other.class_means * stretch + (other.mean - self.mean) / self.scale
        rows = [other.basis * np.sqrt(other.energy)[:, None] * stretch]
        rows += [other._pending[: other._n_pending] * stretch, self._pending[: self._n_pending]]
        for k in np.flatnonzero(other.counts):
            n, m = int(self.counts[k]), int(other.counts[k])
            gap = means[k] - self.class_means[k]
            self.class_means[k] += gap * (m / (n + m))
            self.counts[k] = n + m
            if n:  # the classes' means differ: that is scatter too
                rows.append(gap[None] * np.float32(np.sqrt(n * m / (n + m))))
                self.dof += 1
        self.dof += other.dof
        own_rows, other_rows = self._pending[: self._n_pending], other._pending[: other._n_pending]
        self.total_energy += sum(_energy_of(part) for part in rows) - _energy_of(own_rows)
        beyond = other.total_energy - float(other.energy.sum()) - _energy_of(other_rows)
        self.total_energy += max(beyond, 0.0) * float(np.mean(stretch**2))
        self._n_pending = 0
        self._absorb(np.vstack(rows))
        self._refresh()

    def remove_class(self, k: int) -> None:
        """Forget the mean and count of one class; those behind it move up by one.

        The scatter, which no class has to itself, stays.
        """
        if k < len(self.counts):
            self.class_means = np.delete(self.class_means, k, axis=0)
            self.counts = np.delete(self.counts, k)
            self._locate_means()

    def compress(self) -> None:
        """Keep directions and waiting rows as float16 from now on: half the bytes, a bit slower.

        They are widened whenever they are used. Directions have unit length and rows are a few
        spreads long, so that float16 rounds them by a thousandth and overflows for none.
        """
        self._basis = self._basis.astype(np.float16)
        self._pending = self._pending.astype(np.float16)

    @property
    def is_compressed(self) -> bool:
        """Whether `compress` was called."""
        return bool(self._basis.dtype == np.float16)

    @property
    def basis(self) -> Matrix:
        """Leading within-class directions (rank, d), the strongest first."""
        return self._basis.astype(np.float32, copy=False)

    @basis.setter
    def basis(self, directions: Matrix) -> None:
        self._basis = directions.astype(self._basis.dtype, copy=False)

    def shrink(self, shrinkage: float) -> None:
        """Mix in another share of the isotropic covariance, in (0, 1], from now on."""
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage is {shrinkage}, expected a number in (0, 1]")
        self.shrinkage = shrinkage
        self._derive()

    def loosen(self, count: int, dof: int) -> None:
        """Let everything learned so far count as so many samples of each class, or less.

        What is learned next then moves means and whitening as far as the drift has taken them.
        """
        share = min(1.0, dof / max(self.dof, 1))
        self.settle()
        self.counts = np.minimum(self.counts, count)
        self.dof = round(self.dof * share)
        self.total_energy *= share
        self.energy = self.energy * np.float32(share)
        self._refresh()

    def settle(self) -> None:
        """Let the whitening follow the samples that wait for `PENDING_ROWS` to be full."""
        self._absorb(self._pending[: self._n_pending])
        self._n_pending = 0
        self._refresh()

    def draw(self, classes: Classes, rng: np.random.Generator) -> Matrix:
        """Samples (n, d) of these classes as the model imagines them, standardised.

        What a learner must not forget can be rehearsed without keeping it: means and covariance
        say what it looked like (feature replay from class statistics, as in K. Zhu et al.,
        "Prototype augmentation and self-supervision for incremental learning", CVPR 2021).
        """
        n, d, dof = len(classes), self.n_features, max(self._derived_from[1], 1)
        kept = float(self.energy.sum())
        rest = max(self._derived_from[0] - kept, 0.0) / dof / max(d - len(self.energy), 1)
        spread = np.sqrt(self.energy / np.float32(dof))
        leading = rng.standard_normal((n, len(self.energy)), dtype=np.float32) * spread
        noise = rng.standard_normal((n, d), dtype=np.float32) * np.float32(np.sqrt(rest))
        leading -= noise @ self.basis.T  # the rest has no part in the leading directions
        return np.asarray(self.class_means[classes] + leading @ self.basis + noise, np.float32)

    def _absorb(self, residuals: Matrix) -> None:
        """Take residual rows into the basis: leading directions of what is kept and what is new."""
        kept = self.basis * np.sqrt(self.energy)[:, None]
        self.energy, self.basis = _leading_directions(np.vstack([kept, residuals]), self.rank)

    def _grow(self, n_classes: int) -> None:
        missing = n_classes - len(self.counts)
        if missing > 0:
            rows = np.zeros((missing, self.n_features), np.float32)
            self.class_means = np.vstack([self.class_means, rows])
            self.counts = np.concatenate([self.counts, np.zeros(missing, np.int64)])
            self._locate_means()

    def _refresh(self) -> None:
        """Derive the whitening from scatter, degrees of freedom and shrinkage, as they are now."""
        self._derived_from = self.total_energy, self.dof
        self._derive()

    def _derive(self) -> None:
        total_energy, dof = self._derived_from[0], max(self._derived_from[1], 1)
        d, kept = self.n_features, float(self.energy.sum())
        mean_variance = total_energy / dof / d
        if mean_variance <= 0:  # one sample per class: nothing is known about the spread
            mean_variance = 1.0
        share = 1.0 - self.shrinkage
        isotropic = self.shrinkage * mean_variance
        n_rest = max(d - len(self.energy), 1)
        rest = share * max(total_energy - kept, 0.0) / dof / n_rest + isotropic
        leading = np.maximum(share * self.energy / dof + isotropic, rest)
        self._rest_gain = np.float32(1 / np.sqrt(rest))
        self._extra_gain = (1 / np.sqrt(leading) - self._rest_gain).astype(np.float32)
        self._log_det = float(np.log(leading).sum() + (d - len(self.energy)) * np.log(rest))
        self._log_scale = float(np.log(self.scale, dtype=np.float64).sum())
        # A squared whitened length is that of all directions, and what the leading ones differ by.
        self._rest_square = 1 / rest
        self._extra_squares = (1 / leading - 1 / rest).astype(np.float32)
        self._locate_means()

    def _locate_means(self) -> None:
        n_classes = len(self.class_means)
        self._mean_leading = np.zeros((n_classes, len(self.basis)), np.float32)
        self._mean_squares = np.zeros(n_classes, np.float32)
        for k in range(n_classes):
            self._follow(k)

    def _follow(self, k: int) -> None:
        """Note where one class mean is after it has moved."""
        mean = self.class_means[k]
        self._mean_leading[k] = self.basis @ mean
        self._mean_squares[k] = mean @ mean

    # -- answers ----------------------------------------------------------------------------

    def standardise(self, X: Matrix) -> Matrix:
        """Features (n, d) in the frame of this domain: mean 0, spread about 1."""
        return (X - self.mean) / self.scale

    def frame(self, X: Matrix) -> Framed:
        """Features (n, d) in the frame of this domain, one pass over its directions."""
        return self.frame_standardised(self.standardise(X))

    def frame_standardised(self, Z: Matrix) -> Framed:
        """`frame` of what `standardise` gave."""
        return Framed(Z, Z @ self.basis.T, np.einsum("ij,ij->i", Z, Z))

    def whiten(self, X: Matrix) -> Matrix:
        """Features (n, d) in the frame where within-class noise is white."""
        return self.whiten_framed(self.frame(X))

    def whiten_framed(self, framed: Framed) -> Matrix:
        """Whitened features (n, d) of what `frame` gave; a second pass over the directions."""
        extra = (framed.leading * self._extra_gain) @ self.basis
        return np.asarray(framed.Z * self._rest_gain + extra, np.float32)

    def whitened_squares(self, framed: Framed) -> npt.NDArray[np.float64]:
        """Squared lengths (n,) of the whitened features, which need not be computed for that."""
        return np.asarray(
            framed.squares * self._rest_square + framed.leading**2 @ self._extra_squares
        )

    def whitened_means(self) -> Matrix:
        """Class means (n_classes, d) in the frame of `whiten`; rows of unseen classes are 0."""
        return np.concatenate([self.whitened_mean(k) for k in range(len(self.counts))])

    def whitened_mean(self, k: int) -> Matrix:
        """One row of `whitened_means`, (1, d): the same to the last bit, whichever is called."""
        row = slice(k, k + 1)
        means, leading = self.class_means[row], self._mean_leading[row]
        return self.whiten_framed(Framed(means, leading, self._mean_squares[row]))

    def log_likelihoods(self, framed: Framed) -> npt.NDArray[np.float64]:
        """Log density (n, n_classes) under every class, -inf for unseen ones.

        Up to a constant that all domains share.
        """
        gaps = framed.squares[:, None] - 2.0 * (framed.Z @ self.class_means.T)
        squares = (gaps + self._mean_squares) * self._rest_square
        leading = framed.leading[:, None, :] - self._mean_leading
        squares += leading**2 @ self._extra_squares
        densities = -0.5 * (np.maximum(squares, 0.0) + self._log_det) - self._log_scale
        densities[:, self.counts == 0] = -np.inf
        return np.asarray(densities)

    def log_likelihood(self, X: Matrix, k: int | Classes) -> npt.NDArray[np.float64]:
        """Log density (n,) of features (n, d) under class `k`; see `log_likelihoods`."""
        everything = self.log_likelihoods(self.frame(X))
        return np.asarray(everything[np.arange(len(X)), k])

    @property
    def n_bytes(self) -> int:
        """Bytes of the learned arrays, of what is derived from them, and of the rows that wait.

        Directions have their room from the start: it is theirs as soon as samples come.
        """
        rank, d = min(self.rank, self.n_features), self.n_features
        of_a_class = 4 * d + 8 + 4 * rank + 4  # mean, count, and where the mean is
        directions = rank * (d * self._basis.itemsize + 3 * 4)
        return 8 * d + len(self.counts) * of_a_class + directions + self._pending.nbytes

    def _check(self, X: Matrix) -> None:
        if X.ndim != 2 or X.shape[1] != self.n_features or len(X) == 0:
            raise ValueError(
                f"features have shape {X.shape}, expected (n, {self.n_features}) with n >= 1"
            )
        if not np.isfinite(X).all():
            raise ValueError("features hold NaN or infinity: a domain is learned from numbers only")

    # -- state ------------------------------------------------------------------------------

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything learned, as a flat dict of arrays."""
        scalars = [self.rank, self.shrinkage, self.variance_floor, self.total_energy, self.dof]
        scalars += self._derived_from
        return {
            "tap_widths": np.asarray(self.tap_widths, np.int64),
            "scalars": np.asarray(scalars, np.float64),
            "mean": self.mean,
            "scale": self.scale,
            "class_means": self.class_means,
            "counts": self.counts,
            "basis": self._basis,
            "energy": self.energy,
            "pending": self._pending[: self._n_pending],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> DomainModel:
        """The model that `to_state` was called on.

        Raises
        ------
        ValueError
            An array is missing or has another shape than the others ask for.
        """
        try:
            rank, shrinkage, floor, total_energy, dof, *derived_from = state["scalars"].tolist()
            derived_energy, derived_dof = derived_from
            model = cls(
                state["tap_widths"].tolist(),
                rank=int(rank),
                shrinkage=shrinkage,
                variance_floor=floor,
            )
            d, n_classes = model.n_features, len(state["counts"])
            shapes = {
                "mean": (d,),
                "scale": (d,),
                "class_means": (n_classes, d),
                "basis": (len(state["energy"]), d),
            }
            for name, shape in shapes.items():
                if state[name].shape != shape:
                    raise ValueError(f"{name} has shape {state[name].shape}, expected {shape}")
                setattr(model, name, np.array(state[name], np.float32))
            pending = state["pending"]
            if pending.ndim != 2 or pending.shape[1] != d or len(pending) >= PENDING_ROWS:
                raise ValueError(f"pending has shape {pending.shape}, expected (< 64, {d})")
        except KeyError as missing:
            raise ValueError(f"state of a domain model lacks {missing}: was it cut?") from None
        model.counts = np.array(state["counts"], np.int64)
        model.energy = np.array(state["energy"], np.float32)
        model.total_energy, model.dof = total_energy, int(dof)
        if state["basis"].dtype == np.float16:
            model.compress()
        model._pending[: len(pending)] = pending
        model._n_pending = len(pending)
        model._derived_from = derived_energy, int(derived_dof)
        model._derive()
        return model


def common_scatter(
    models: Sequence[DomainModel], rank: int
) -> tuple[Vector, Vector, Vector, Matrix, float]:
    """What several domains have in common, each weighed by its degrees of freedom.

    Returns
    -------
    mean, scale : (d,) of the common frame: those of the domains, averaged
    energy, basis : variances along the `rank` leading directions, and the directions (rank, d)
    rest : variance along every other direction
    """
    mean: Vector = np.stack([model.mean for model in models]).mean(axis=0)
    scale: Vector = np.stack([model.scale for model in models]).mean(axis=0)
    dof = sum(max(model.dof, 1) for model in models)
    rows, total = [], 0.0
    for model in models:
        stretch = model.scale / scale
        kept = model.basis * np.sqrt(model.energy / dof)[:, None] * stretch
        waiting = model._pending[: model._n_pending] * (stretch / np.float32(np.sqrt(dof)))
        beyond = (
            model.total_energy
            - float(model.energy.sum())
            - _energy_of(model._pending[: model._n_pending])
        )
        total += max(beyond, 0.0) / dof * float(np.mean(stretch**2))
        rows += [kept, waiting]
    together = np.vstack(rows)
    total += _energy_of(together)
    if total <= 0:  # one sample per class everywhere: nothing is known about the spread
        total = float(len(mean))
    energy, basis = _leading_directions(together, rank)
    n_rest = max(len(mean) - len(energy), 1)
    rest = max((total - float(energy.sum())) / n_rest, 1e-12)
    return mean, scale, energy, basis, rest


def _energy_of(rows: Matrix) -> float:
    return float(np.sum(rows * rows, dtype=np.float64))


def _leading_directions(rows: Matrix, rank: int) -> tuple[Vector, Matrix]:
    """Energies and unit directions, largest first, of the scatter ``rows.T @ rows``.

    Subspace iteration from a fixed random start (Halko, Martinsson and Tropp, SIAM Review 53,
    2011): a few products with a thin matrix, where an SVD would cost ten times as much. In double
    precision: squaring the rows costs weak directions half their digits, and with float32 another
    BLAS would give hypervectors of other bits.
    """
    n, d = rows.shape
    width = min(n, d, rank + OVERSAMPLING)
    start = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
    rows = rows.astype(np.float64)
    directions, _ = np.linalg.qr(rows.T @ start)
    for _ in range(POWER_STEPS if width < min(n, d) else 0):
        directions, _ = np.linalg.qr(rows.T @ (rows @ directions))
    projected = rows @ directions
    energy, turn = np.linalg.eigh(projected.T @ projected)
    order = np.argsort(energy)[::-1][:rank]
    order = order[energy[order] > 1e-6 * max(float(energy[-1]), 1e-30)]
    basis = (directions @ turn[:, order]).T
    return energy[order].astype(np.float32), np.ascontiguousarray(basis, np.float32)
