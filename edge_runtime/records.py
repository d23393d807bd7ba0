"""What the runtime says: events and predictions. Plain values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Label = int | str

EventKind = Literal[
    "known",  # the stream is in a domain that a slot knows: it returned there, or drift ended
    "strange",  # one sample is out of distribution for every slot
    "drift",  # strange samples go on: the world has changed
    "broken",  # the sensor is stuck, saturated or has a dead channel: nothing is learned from it
    "repaired",  # the sensor moves again
    "label_wanted",  # the label of this sample would help
    "grown",  # a new slot was added, because held-out labels said that it helps
    "adapted",  # a slot learned from labels in place
    "merged",  # two slots that had become the same are one now
    "quantised",  # memory is full: a slot is kept in fewer bits
    "dropped",  # memory is full: a slot is forgotten
    "lost",  # labels that came after the generation that was loaded: the process was killed
    "forgotten",  # a class was removed, as the user asked
    "undone",  # a change was taken back, because later labels say that it made things worse
    "doubtful",  # a label contradicts what is certain, and is held back until it is confirmed
    "rejected",  # something was not taken over: a bad sample, a growth that did not help
]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)


@dataclass(frozen=True)
class Event:
    """One thing that happened, with the numbers that made it so.

    `sample_id` is the sample at which it happened; `evidence` holds plain numbers and strings.
    """

    kind: EventKind
    sample_id: int
    message: str
    slot: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """The answer for one sample, with its provenance.

    `probabilities` follow `EdgeRuntime.classes`. `ood_score` is of this sample: higher is
    stranger; `p_value` is conformal: the share of known samples at least this strange. `is_ood`
    is `p_value <= threshold`, so that known samples are called strange at the stated rate.
    """

    sample_id: int
    label: Label | None
    probabilities: npt.NDArray[np.float64]
    slot: int | None
    ood_score: float
    p_value: float
    is_ood: bool
    wants_label: bool
    events: tuple[Event, ...]
    threshold: float
    generation: int
