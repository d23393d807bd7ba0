"""Learning on the board: a frozen encoder, adaptors that learn, and a loop that knows its limits.

Importing this package loads neither numba nor an inference library: names are found when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_runtime.inputs.encoders import open_encoder
    from edge_runtime.policy.settings import Settings
    from edge_runtime.records import Event, Prediction
    from edge_runtime.runtime import EdgeRuntime

__all__ = ["EdgeRuntime", "Event", "Prediction", "Settings", "open_encoder"]
__version__ = "0.1.0"

_HOMES = {
    "EdgeRuntime": "edge_runtime.runtime",
    "Event": "edge_runtime.records",
    "Settings": "edge_runtime.policy.settings",
    "Prediction": "edge_runtime.records",
    "open_encoder": "edge_runtime.inputs.encoders",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
