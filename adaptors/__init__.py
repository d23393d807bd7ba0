"""Shallow networks that learn on the board: forward passes only, each layer by its own local rule.

Importing this package loads neither NumPy nor numba: a name is loaded when it is first asked for,
and compiled loops when something is first computed. No I/O, no clock, no global random state.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptors.classifier import TargetProjectionClassifier
    from adaptors.layers import Dense
    from adaptors.network import TargetProjectionNetwork

__all__ = ["Dense", "TargetProjectionClassifier", "TargetProjectionNetwork"]

_HOME = {
    "Dense": "layers",
    "TargetProjectionClassifier": "classifier",
    "TargetProjectionNetwork": "network",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
