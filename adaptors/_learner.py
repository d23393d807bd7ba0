"""What the estimators share: parameters, learning rates, epochs, single steps, saved state.

An estimator validates and names; here standardised rows meet a `TargetProjectionNetwork`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, ClassVar, Final, TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt

from adaptors._state import check_format
from adaptors.activations import ACTIVATIONS
from adaptors.codes import check_kind
from adaptors.layers import Dense
from adaptors.losses import local_loss
from adaptors.network import MAX_NOISE, MAX_RATE, TargetProjectionNetwork
from adaptors.standardise import Standardiser
from hdc import estimator as contract

Array = npt.NDArray[np.float32]
Self = TypeVar("Self", bound="ShallowEstimator")

# Measured best of 0.3, 1, 3, 10, 30 (Fashion-MNIST pixels, digits; see ADR 4).
HIDDEN_RATES: Final = {
    "l2": 1.0,
    "l1": 10.0,
    "huber": 3.0,
    "cosine": 3.0,
    "binary_cross_entropy": 0.3,
    "cross_entropy": 10.0,
    "sharp_cross_entropy": 10.0,
}
LARGEST: Final = np.finfo(np.float32).max
# 2: codes, momentum, noise. A state of version 1 is still read.
VERSION: Final = 2


class ShallowEstimator(contract.Estimator):
    """Parameters and learning of one `TargetProjectionNetwork` of dense layers."""

    FORMAT: ClassVar[str]
    OUTPUTS: ClassVar[str]
    n_features_in_: int
    network_: TargetProjectionNetwork
    _scaler: Standardiser

    hidden: tuple[int, ...]
    loss: Any
    activation: str
    learning_rate: float
    hidden_learning_rate: float | None
    epochs: int
    batch_size: int
    random_state: Any
    codes: str = "sign"
    momentum: float
    noise: float

    @property
    def n_bytes_(self) -> int:
        """Bytes held in memory: network, label codes and standardisation."""
        contract.check_is_fitted(self)
        return self.network_.n_bytes + self._scaler.n_bytes

    def _build(self, n_features: int, n_outputs: int, rng: np.random.Generator) -> None:
        self.network_ = TargetProjectionNetwork(
            [Dense(width, self.activation) for width in self.hidden],
            n_features,
            n_outputs,
            self.loss,
            rng,
            outputs=self.OUTPUTS,
            codes=self.codes,
            momentum=self.momentum,
            noise=self.noise,
        )
        self._scaler = Standardiser(n_features)
        self.n_features_in_ = n_features

    def _epochs(self, X: Array, y: Any, weights: Array, rng: np.random.Generator) -> None:
        n_batches = -(-len(X) // self.batch_size)
        for epoch in range(self.epochs):
            batches = np.array_split(rng.permutation(len(X)), n_batches)
            for i, rows in enumerate(batches):
                fraction = 1.0 - (epoch + i / n_batches) / self.epochs
                self._step(X[rows], y[rows], weights[rows], fraction)

    def _once(self, X: Array, y: Any, weights: Array | None) -> None:
        """Learn rows in order, ``batch_size`` at a time, at full rates."""
        for start in range(0, len(X), self.batch_size):
            rows = slice(start, start + self.batch_size)
            self._step(X[rows], y[rows], None if weights is None else weights[rows], 1.0)

    def _step(self, X: Array, y: Any, weights: Array | None, fraction: float) -> None:
        self.network_.step(
            self._scaler.transform(X),
            y,
            learning_rate=fraction * self.learning_rate,
            hidden_learning_rate=fraction * self._hidden_rate(len(X)),
            weights=weights,
        )

    def _learn_row(self, X: Array, y: Any) -> None:
        """Learn one row of a stream: `_once`, without checking again what has been checked."""
        network, h = self.network_, self._scaler.learn_row(X)
        rate = self._hidden_rate(1)
        for i, layer in enumerate(network.layers):
            h = layer.learn(h, network._targets.goal(i, y, network._loss, None), rate)
        network._learn_output(h, y, None, self.learning_rate)

    def _hidden_rate(self, n_rows: int) -> float:
        """Return the hidden rate of a step: the measured one, but at most 1 for each of its rows.

        One row at rate 1 moves a unit all the way; rows that are unlike each share a larger rate.
        """
        if self.hidden_learning_rate is not None:
            return self.hidden_learning_rate
        best = HIDDEN_RATES.get(self.loss, 1.0) if isinstance(self.loss, str) else 1.0
        return min(best, float(n_rows))

    def _outputs(self, X: npt.ArrayLike) -> Array:
        contract.check_is_fitted(self)
        quick = self.network_._answer(X, LARGEST, self._scaler.frame)
        if quick is not None:
            return quick
        rows = X if self._is_plain_row(X) else contract.check_X(self, X)
        return self.network_._outputs(self._scaler.transform(rows))

    def _is_plain_row(self, X: Any) -> TypeGuard[Array]:
        """Whether X is one row that needs no conversion: the fast way of a stream."""
        return (
            type(X) is np.ndarray
            and X.dtype == np.float32
            and X.shape == (1, self.__dict__.get("n_features_in_"))
            and X.flags.c_contiguous
            # Not finite if one entry is not (or if they are huge: the slow way decides).
            and isfinite(X[0] @ X[0])
        )

    def _check_params(self) -> None:
        rates = self.learning_rate, self.hidden_learning_rate, self.momentum, self.noise
        choices = self.hidden, self.loss, self.activation, self.codes, self.epochs, self.batch_size
        if self.__dict__.get("_valid") == (rates, choices):
            return
        self._check_numbers()
        if not isinstance(self.hidden, (tuple, list)):
            raise ValueError(f"hidden is {self.hidden!r}, expected a tuple of widths, as (256,).")
        for width in self.hidden:
            Dense(width, self.activation)
        local_loss(self.loss)
        check_kind(self.codes)
        if self.loss == "binary_cross_entropy" and self.activation in ("relu", "linear"):
            raise ValueError(
                f"activation is {self.activation!r}, expected one with a bounded range "
                f"{sorted(set(ACTIVATIONS) - {'relu', 'linear'})} for the loss {self.loss!r}."
            )
        self._valid = rates, choices

    def _check_numbers(self) -> None:
        for name in ("learning_rate", "hidden_learning_rate"):
            rate = getattr(self, name)
            if name == "hidden_learning_rate" and rate is None:
                continue
            if not 0.0 <= rate <= MAX_RATE:
                raise ValueError(f"{name} is {rate!r}, expected a number from 0 to {MAX_RATE:g}.")
        for name, limit in (("momentum", 1.0), ("noise", MAX_NOISE)):
            if not 0.0 <= getattr(self, name) < limit:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected 0 or more, below {limit:g}."
                )
        for name in ("epochs", "batch_size"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
                raise ValueError(f"{name} is {number!r}, expected an int of 1 or more.")

    def _saved(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        contract.check_is_fitted(self)
        network, arrays = self.network_.to_state()
        params = {**self.get_params(), "hidden": [int(width) for width in self.hidden]}
        del params["random_state"]  # it has been drawn from
        header = {
            "format": self.FORMAT,
            "version": VERSION,
            "params": params,
            "count": self._scaler.count,
            "network": network,
        }
        state: dict[str, npt.NDArray[Any]] = {f"network.{k}": v for k, v in arrays.items()}
        return header, {**state, **self._scaler.arrays()}

    @classmethod
    def _restored(cls: type[Self], header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Self:
        if header.get("version") == 1:
            header = {**header, "version": VERSION}
        check_format(header, cls.FORMAT, VERSION)
        params = dict(header["params"])
        estimator = cls(**{**params, "hidden": tuple(params["hidden"])})
        estimator._check_params()
        estimator._restore_network(header, arrays)
        return estimator

    def _restore_network(self, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        inner, outer = split_prefix("network.", arrays)
        network = TargetProjectionNetwork.from_state(header["network"], inner)
        widths = tuple(layer.n_units for layer in network.layers)
        if widths != self.hidden or network.loss != self.loss or network.outputs != self.OUTPUTS:
            raise ValueError(
                f"state has layers {widths}, loss {network.loss!r} and {network.outputs}, its "
                f"parameters say {self.hidden}, {self.loss!r} and {self.OUTPUTS}."
            )
        self._scaler = Standardiser.restore(network.n_inputs, header["count"], outer)
        self.network_ = network
        self.n_features_in_ = network.n_inputs


def split_prefix(prefix: str, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays whose names begin with the prefix, without it, and all others."""
    inner = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
    return inner, {k: v for k, v in arrays.items() if not k.startswith(prefix)}


def distinct_rows(
    X: Array, y: npt.NDArray[Any], weights: Array
) -> tuple[Array, npt.NDArray[Any], Array]:
    """Merge equal rows of equal y, add their weights, and order them by their content."""
    X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
    row, label = _ranks(X), _ranks(y)
    _, first, same = np.unique(
        row * (label.max() + 1) + label, return_index=True, return_inverse=True
    )
    return X[first], y[first], np.bincount(same, weights).astype(np.float32)


def _ranks(rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return equal numbers for equal rows, in an order that depends on their content alone."""
    if rows.ndim == 2:
        rows = np.ascontiguousarray(rows)
        rows = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    return np.unique(rows, return_inverse=True)[1]
