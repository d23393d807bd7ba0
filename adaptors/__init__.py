"""Shallow networks that learn on the board: forward passes only, each layer by its own local rule.

Importing this package loads neither NumPy nor numba: a name is loaded when it is first asked for,
and compiled loops when something is first computed. No I/O, no clock, no global random state.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptors._backend import use_numpy
    from adaptors._warm_up import warm_up
    from adaptors.classifier import TargetProjectionClassifier
    from adaptors.conv import Conv1d, Conv2d
    from adaptors.layers import Dense
    from adaptors.network import TargetProjectionNetwork
    from adaptors.quantised import QuantisedClassifier
    from adaptors.recurrent import Recurrent
    from adaptors.regressor import TargetProjectionRegressor
    from adaptors.search import search_adaptors

__all__ = [
    "Conv1d",
    "Conv2d",
    "Dense",
    "QuantisedClassifier",
    "Recurrent",
    "TargetProjectionClassifier",
    "TargetProjectionNetwork",
    "TargetProjectionRegressor",
    "search_adaptors",
    "use_numpy",
    "warm_up",
]

_HOME = {
    "Conv1d": "conv",
    "Conv2d": "conv",
    "Dense": "layers",
    "QuantisedClassifier": "quantised",
    "Recurrent": "recurrent",
    "TargetProjectionClassifier": "classifier",
    "TargetProjectionNetwork": "network",
    "TargetProjectionRegressor": "regressor",
    "search_adaptors": "search",
    "use_numpy": "_backend",
    "warm_up": "_warm_up",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
