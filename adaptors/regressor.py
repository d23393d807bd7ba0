"""`TargetProjectionRegressor`: numbers predicted by a network that learns forward only.

The sibling of `TargetProjectionClassifier`. Hidden layers learn random functions of the values to
predict, in place of random codes of a label; the output layer learns the values themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adaptors._learner import Array, ShallowEstimator, distinct_rows, split_prefix
from adaptors.network import checked_weights
from adaptors.standardise import Standardiser
from hdc import estimator as contract

Targets = npt.NDArray[np.float64]

# In standard deviations of the targets: one broken reading must not undo what was learned.
CLIP: Final = 10.0
# The square of anything beyond this would soon leave float64.
MAX_TARGET: Final = 1e100


class TargetProjectionRegressor(contract.RegressorMixin, ShallowEstimator):
    """A regressor trained without backpropagation, for one target or several.

    Parameters
    ----------
    hidden : tuple of int
        Width of each hidden layer; () is linear regression.
    loss
        Local loss of the hidden layers: "l2", "l1", "huber", "cosine", "binary_cross_entropy", or
        an object like `losses.LocalLoss`. The output layer follows the squared error.
    activation, learning_rate, hidden_learning_rate, epochs, batch_size, random_state
        As of `TargetProjectionClassifier`. An output rate of 1 would follow the last row all the
        way, noise and all.
    momentum, noise
        As of `network.TargetProjectionNetwork`.

    Attributes
    ----------
    n_features_in_ : int
    network_ : TargetProjectionNetwork

    Notes
    -----
    Features and targets are standardised with the statistics of all samples learned so far; a
    target beyond ten standard deviations counts as one of ten. When `partial_fit` moves the
    statistics of the targets, the output layer is rescaled so that predictions stay as they were
    (Pop-Art, arXiv 1602.07714).

    Units that learn functions of the target serve few bends well, interactions of features badly:
    on Friedman #1 R squared is 0.73, as of ridge regression, where backpropagation reaches 0.83.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> model = TargetProjectionRegressor(hidden=(32,), random_state=0).fit(X, 3 * X[:, 0] + 1)
    >>> model.predict([[1 / 3]]).round().tolist()
    [2.0]
    """

    FORMAT = "adaptors.regressor"
    OUTPUTS = "values"

    def __init__(
        self,
        hidden: tuple[int, ...] = (256,),
        loss: Any = "huber",
        activation: str = "tanh",
        learning_rate: float = 0.3,
        hidden_learning_rate: float | None = None,
        epochs: int = 20,
        batch_size: int = 16,
        random_state: Any = None,
        momentum: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        self.hidden = hidden
        self.loss = loss
        self.activation = activation
        self.learning_rate = learning_rate
        self.hidden_learning_rate = hidden_learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.momentum = momentum
        self.noise = noise

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None
    ) -> TargetProjectionRegressor:
        """Learn from scratch; the result does not depend on the order of the rows.

        Parameters
        ----------
        X : (n_samples, n_features)
        y : (n_samples,) or (n_samples, n_targets)
            Finite numbers.
        sample_weight : (n_samples,), optional
            Zero or more; a weight of k is the same as k copies of the row.
        """
        self._check_params()
        X = contract.check_X(None, X)
        y, flat = _targets(y, len(X))
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        X, y, weights = distinct_rows(X, y, checked_weights(weights, len(X)))
        rng = contract.check_random_state(self.random_state)
        self._begin(X.shape[1], y.shape[1], rng, flat=flat)
        self._scaler.update(X, weights)
        self._target_scaler.update(y, weights)
        self._epochs(X, self._standard(y), weights, rng)
        return self

    def partial_fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None
    ) -> TargetProjectionRegressor:
        """Learn from these rows, once and in order, on top of what was learned before.

        Parameters
        ----------
        X : (n_samples, n_features)
            One row is enough, fastest as a float32 array; ``batch_size`` rows make a step.
        y : (n_samples,) or (n_samples, n_targets)
            Finite numbers, as many per row as ever before.
        sample_weight : (n_samples,), optional
            Zero or more, counted as copies within a step; a step of one row has no use for it.
        """
        self._check_params()
        X = contract.check_X(self, X)
        y, flat = _targets(y, len(X))
        weights = None if sample_weight is None else checked_weights(sample_weight, len(X))
        if not hasattr(self, "network_"):
            rng = contract.check_random_state(self.random_state)
            self._begin(X.shape[1], y.shape[1], rng, flat=flat)
        if y.shape[1] != self.network_.n_outputs:
            raise ValueError(
                f"y has {y.shape[1]} targets, expected {self.network_.n_outputs} as before."
            )
        if weights is not None:
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        self._scaler.update(X, weights)
        self._rescale(y, weights)
        self._once(X, self._standard(y), weights)
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the value of each row, (n_samples,) or (n_samples, n_targets) as was learned."""
        standard = self._outputs(X).astype(np.float64)
        values = standard * self._target_scaler.deviation + self._target_scaler.mean
        return values[:, 0] if self._flat else values

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: Any = None) -> float:
        """Return R squared, at most 1, averaged over the targets; 0 is a constant guess."""
        truth, _ = _targets(y, len(np.asarray(X)))
        found = np.reshape(self.predict(X), truth.shape)
        unexplained = np.average((truth - found) ** 2, axis=0, weights=sample_weight)
        mean = np.average(truth, axis=0, weights=sample_weight)
        spread = np.average((truth - mean) ** 2, axis=0, weights=sample_weight)
        exact = np.where(unexplained == 0, 1.0, 0.0)  # for a target that never varies
        share = np.divide(unexplained, spread, out=1.0 - exact, where=spread > 0)
        return float(np.mean(1.0 - share))

    @property
    def n_bytes_(self) -> int:
        """Bytes held in memory: network and standardisation of features and targets."""
        return super().n_bytes_ + self._target_scaler.n_bytes

    def to_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return a JSON-able header and a flat dict of copied arrays; `from_state` reads them.

        Learning goes on from it exactly as it would have without the detour.
        """
        header, arrays = self._saved()
        header |= {"target_count": self._target_scaler.count, "flat": self._flat}
        targets = {f"target.{name}": a for name, a in self._target_scaler.arrays().items()}
        return header, {**arrays, **targets}

    @classmethod
    def from_state(
        cls, header: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> TargetProjectionRegressor:
        """Return the regressor that `to_state` described; refuse any other shape or version."""
        try:
            of_targets, others = split_prefix("target.", arrays)
            regressor = cls._restored(header, others)
            n_targets, flat = regressor.network_.n_outputs, header["flat"]
            if not isinstance(flat, bool) or (flat and n_targets > 1):
                raise ValueError(f"state has flat = {flat!r} with {n_targets} targets.")
            regressor._flat = flat
            regressor._target_scaler = Standardiser.restore(
                n_targets, header["target_count"], of_targets
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"state header is damaged or not a regressor's: {error!r}.") from error
        return regressor

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _begin(
        self, n_features: int, n_targets: int, rng: np.random.Generator, *, flat: bool
    ) -> None:
        self._build(n_features, n_targets, rng)
        self._target_scaler = Standardiser(n_targets)
        self._flat = flat

    def _standard(self, y: Targets) -> Array:
        scaler = self._target_scaler
        return np.clip((y - scaler.mean) / scaler.deviation, -CLIP, CLIP).astype(np.float32)

    def _rescale(self, y: Targets, weights: Array | None) -> None:
        """Count targets in, and leave predictions in their own units as they are."""
        scaler, output = self._target_scaler, self.network_.output
        is_first, mean, deviation = scaler.count == 0, scaler.mean.copy(), scaler.deviation
        scaler.update(y, weights)
        if is_first:
            return
        ratio = deviation / scaler.deviation
        output.weights *= ratio[:, None].astype(np.float32)
        shift = (mean - scaler.mean) / scaler.deviation
        output.bias[:] = output.bias * ratio + shift


def _targets(y: Any, n_samples: int) -> tuple[Targets, bool]:
    """Return targets (n_samples, n_targets), and whether they came as a vector."""
    columns = np.asarray(y)
    if columns.ndim != 2:
        array, flat = contract.check_y(y, n_samples, numeric=True)[:, None], True
    else:
        if columns.dtype.kind not in "biufO" or columns.shape[1] == 0 or len(columns) != n_samples:
            raise ValueError(
                f"y is {columns.dtype} of shape {columns.shape}, expected numbers ({n_samples},) "
                f"or ({n_samples}, n_targets)."
            )
        array, flat = columns.astype(np.float64), False
    if not np.abs(array).max() <= MAX_TARGET:
        raise ValueError(f"Input y contains NaN, infinity or a value beyond {MAX_TARGET:g}.")
    return array, flat
