"""What the runtime says: events and predictions. Plain values, no behaviour."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

Label = int | str
# Slots have numbers below this, for ever: none is given twice.
MOST_SLOTS = 2**15 - 1

EventKind = Literal[
    "ood",  # one sample is out of distribution for every slot
    "drift",  # samples have changed for longer than chance explains
    "label_request",  # the label of this sample would help
    "grown",  # a new slot was added, because held-out labels said that it helps
    "adapted",  # an existing slot learned what came after a drift
    "returned",  # the stream is in a known domain again, or a drift has ended
    "trial_rejected",  # a new slot did not help; its labels are kept where they belong
    "sample_rejected",  # a sample could not be used
    "label_noise",  # a label is suspected of being wrong, and left out until it is confirmed
    "undone",  # the learner went back to an earlier state, as the user asked
    "merged",  # the exemplars of another learner were taken in
    "evicted",  # memory is full: exemplars were brought to statistics, or to fewer bits
    "sensor_fault",  # the sensor is stuck, saturated or dead: nothing is learned from it
    "sensor_ok",  # the sensor works again
    "accuracy_low",  # labels say that answers are worse than they were
    "labels_lost",  # labels that came after the generation that was loaded are lost
    "accelerator",  # a model asks for an accelerator that is not there
    "no_room",  # something was not done, because there is no room for it
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


class Trial(NamedTuple):
    """What labels since a drift come to in their slot and in a new one, on held-out labels.

    Attributes
    ----------
    n_labels
        Labels since the drift.
    existing
        Share of them that were answered rightly when they came.
    one_model, new_slot
        Share that is, had they been learned in the old slot, or in a new one.
    n_shared, nearer
        Labels of classes that both slots have, and the share that is nearer to the new slot.
    stated
        Cross-validated accuracy of the old slot; NaN if it was never measured.
    """

    n_labels: int
    existing: float
    one_model: float
    new_slot: float
    n_shared: int = 0
    nearer: float = 0.0
    stated: float = math.nan


@dataclass(frozen=True)
class Cell:
    """How a sample stands to the labels of one class in one slot, the nearest to it.

    Attributes
    ----------
    key
        Class and slot.
    p_value
        Share of `n_scores` held-out samples of the cell at least as far out.
    off
        (1024,) signs of the sample's hypervector, less the mean of the cell's `n_labels` labels.
    spread
        Mean squared length of `off` for samples of the cell.
    """

    key: tuple[int, int]
    p_value: float
    n_scores: int
    off: npt.NDArray[np.float32]
    spread: float
    n_labels: int


@dataclass(frozen=True)
class Answer:
    """What the model says of one sample; `Prediction` is what a user sees of it.

    Attributes
    ----------
    probabilities
        (n_classes,)
    best
        Index of the most probable class; -1 before anything is learned.
    slot
        Number of the slot that claims the sample.
    ood_score, p_value
        Higher, and lower, further out; `n_scores` held-out samples stand behind the p-value.
    certainty
        Probability of the best class.
    """

    probabilities: npt.NDArray[np.float64]
    best: int = -1
    slot: int | None = None
    ood_score: float = 0.0
    p_value: float = 1.0
    n_scores: int = 0
    certainty: float = 0.0
    cell: Cell | None = None


@dataclass(frozen=True)
class Prediction:
    """The answer for one sample, with its provenance.

    `probabilities` follow `EdgeRuntime.classes`. `ood_score` is of this sample: higher is
    further out; `p_value` is conformal: the share of known samples at least this far out. `is_ood`
    is `p_value <= threshold`, so that known samples are out of distribution at the stated rate.
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


class SlotStatus(NamedTuple):
    """One slot in numbers.

    Attributes
    ----------
    number
        What predictions and events call it.
    n_labels, n_classes
        Labels learned in it, evicted ones with them, and how many classes they are of.
    accuracy, n_held_out
        Cross-validated accuracy, NaN if it was never measured, and on how many labels.
    """

    number: int
    n_labels: int
    n_classes: int
    accuracy: float
    n_held_out: int
