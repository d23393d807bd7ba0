"""Activations, their slopes, and the two values a label code may take inside their range.

A slope is a function of the *output*, so that nothing but the output need be kept. Nothing is
learned here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Activation(NamedTuple):
    """An activation: its function, its slope given the output, its kernel code, its label codes.

    ``low`` and ``high`` lie where the slope is not zero (a code at the end of the range would drive
    a unit into saturation for ever), except that a ReLU is meant to be silent at its low code.
    """

    name: str
    code: int
    function: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    low: float
    high: float


def _identity(z: Array) -> Array:
    return z


def _tanh_slope(h: Array) -> Array:
    return 1 - h * h


def _sigmoid_slope(h: Array) -> Array:
    return h * (1 - h)


def _hard_tanh(z: Array) -> Array:
    return np.clip(z, np.float32(-1.0), np.float32(1.0))


def _sigmoid(z: Array) -> Array:
    # By tanh, which does not overflow.
    half = np.float32(0.5)
    result: Array = half * (np.tanh(half * z) + np.float32(1.0))
    return result


def _relu(z: Array) -> Array:
    return np.maximum(z, np.float32(0.0))


def _is_inside(h: Array) -> Array:
    return (np.abs(h) < 1).astype(np.float32)


def _is_positive(h: Array) -> Array:
    return (h > 0).astype(np.float32)


ACTIVATIONS: Final = {
    a.name: a
    for a in (
        Activation("tanh", 0, np.tanh, _tanh_slope, -0.9, 0.9),
        Activation("hard_tanh", 1, _hard_tanh, _is_inside, -0.9, 0.9),
        Activation("sigmoid", 2, _sigmoid, _sigmoid_slope, 0.1, 0.9),
        Activation("relu", 3, _relu, _is_positive, 0.0, 1.0),
        Activation("linear", 4, _identity, np.ones_like, -1.0, 1.0),
    )
}
BY_CODE: Final = sorted(ACTIVATIONS.values(), key=lambda a: a.code)


def activation(name: str) -> Activation:
    """Return the activation of that name, or refuse it.

    >>> activation("sigmoid").low, activation("sigmoid").high
    (0.1, 0.9)
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation is {name!r}, expected one of {sorted(ACTIVATIONS)}.")
    return ACTIVATIONS[name]
