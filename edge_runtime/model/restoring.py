"""Frame and score out of saved arrays, checked: a forged state may not answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StateError
from edge_runtime.state.fields import restored
from hdc.detection import score
from hdc.domain import frame

Arrays = Mapping[str, npt.NDArray[Any]]

# With numbers up to these, no projection of whatever sample leaves float32's range.
LARGEST: Final = {"gain": 1e3, "centre": 1e8, "projection": 1e20}


def frame_from(arrays: Arrays, n_features: int) -> frame.Frame:
    """The frame whose `to_state` this was; `StateError` where it does not fit."""
    found = frame.Frame(**restored(arrays, frame.FIELDS, {"features": n_features}))
    for name, most in LARGEST.items():
        largest = float(np.abs(getattr(found, name)).max(initial=0.0))
        if largest > most:
            raise StateError(f"field {name} holds {largest:.3g}, at most {most:.3g} expected")
    return found


def score_from(arrays: Arrays) -> score.OODScore:
    """The score whose `to_state` this was; `StateError` where it does not fit."""
    return score.OODScore.restored(restored(arrays, score.FIELDS, {}))
