"""One domain as a Gaussian per class with a shared, low-rank within-class covariance.

`DomainModel` is what whitening means on a small board: instead of a d x d matrix it keeps the
`rank` leading directions of the pooled within-class scatter, and treats the rest as isotropic
(probabilistic PCA; Tipping and Bishop, 1999). It learns from a first batch and then one labelled
sample at a time, in bounded memory. From it come the whitened vector that is projected to a
hypervector, and the log-likelihood by which domains compete for a sample.

Not here: hypervectors (see `projection`), calibration (see `conformal`), the choice of a domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hdc.density import PENDING_ROWS, Classes, Framed, Matrix, SharedDensity, Vector
from hdc.scatter import energy_of, leading_directions

__all__ = ["Classes", "DomainModel", "Framed", "Matrix", "Vector"]

# What a related domain counts for in `fit`, in samples of each class and degrees of freedom.
PRIOR_COUNT = 2
PRIOR_DOF = 50


class DomainModel(SharedDensity):
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
        self.total_energy += energy_of(residuals)
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
        rows += [other.waiting * stretch, self.waiting]
        for k in np.flatnonzero(other.counts):
            n, m = int(self.counts[k]), int(other.counts[k])
            gap = means[k] - self.class_means[k]
            self.class_means[k] += gap * (m / (n + m))
            self.counts[k] = n + m
            if n:  # the classes' means differ: that is scatter too
                rows.append(gap[None] * np.float32(np.sqrt(n * m / (n + m))))
                self.dof += 1
        self.dof += other.dof
        own_rows, other_rows = self.waiting, other.waiting
        self.total_energy += sum(energy_of(part) for part in rows) - energy_of(own_rows)
        beyond = other.total_energy - float(other.energy.sum()) - energy_of(other_rows)
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
        self._absorb(self.waiting)
        self._n_pending = 0
        self._refresh()

    def _absorb(self, residuals: Matrix) -> None:
        """Take residual rows into the basis: leading directions of what is kept and what is new."""
        kept = self.basis * np.sqrt(self.energy)[:, None]
        self.energy, self.basis = leading_directions(np.vstack([kept, residuals]), self.rank)

    def _grow(self, n_classes: int) -> None:
        missing = n_classes - len(self.counts)
        if missing > 0:
            rows = np.zeros((missing, self.n_features), np.float32)
            self.class_means = np.vstack([self.class_means, rows])
            self.counts = np.concatenate([self.counts, np.zeros(missing, np.int64)])
            self._locate_means()

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
            "pending": self.waiting,
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
