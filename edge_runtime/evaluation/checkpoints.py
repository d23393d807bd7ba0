"""What was known at moments of a stream, domain by domain, on samples held back from it.

A checkpoint is taken where a domain ends. Rows of checkpoints are the forgetting matrix. Not here:
the stream itself (`prequential`), what happened between two checkpoints (`recording`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StreamError
from edge_runtime.records import Label, Prediction

MAX_CHECKPOINTS = 1_000
# The slot of an answer that no slot gave.
NO_SLOT = -1


class Probe(NamedTuple):
    """Samples of one domain that are never learned from, and their labels."""

    samples: Sequence[Any]
    labels: Sequence[Label]


class Peeked(Protocol):
    """Who can be asked without taking notice."""

    def peek_many(self, X: Sequence[Any], /) -> Sequence[Prediction]:
        """Answer many samples; nothing changes."""

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned and buffered."""


@dataclass(frozen=True)
class Checkpoint:
    """Answers to the probes after the sample at stream index `index`, the last one of `domain`.

    Attributes
    ----------
    accuracy : domain -> share of its probe answered correctly.
    slots : domain -> slot -> how many of its probe that slot answered; slot -1 is none.
    n_bytes : of everything that the learner held then.
    """

    index: int
    domain: str
    accuracy: Mapping[str, float]
    slots: Mapping[str, Mapping[int, int]]
    n_bytes: int

    def routing(self, home: Mapping[int, str]) -> float:
        """Share of probe samples answered by a slot of their own domain, mean over domains.

        `home` says for each slot which domain it was grown in. NaN if no slot answered anything.

        Examples
        --------
        >>> taken = Checkpoint(9, "day", {"day": 1.0}, {"day": {0: 3, 1: 1}}, 0)
        >>> taken.routing({0: "day", 1: "night"})
        0.75
        """
        if all(set(counts) <= {NO_SLOT} for counts in self.slots.values()):
            return math.nan
        shares = [
            sum(n for slot, n in counts.items() if home.get(slot) == domain) / sum(counts.values())
            for domain, counts in self.slots.items()
        ]
        return float(np.mean(shares))


def take(learner: Peeked, probes: Mapping[str, Probe], index: int, domain: str) -> Checkpoint:
    """Ask the learner for all probes."""
    accuracy, slots = {}, {}
    for name, (samples, labels) in probes.items():
        answers = learner.peek_many(samples)
        is_right = [each.label == label for each, label in zip(answers, labels, strict=True)]
        accuracy[name] = float(np.mean(is_right))
        slots[name] = dict(Counter(NO_SLOT if a.slot is None else a.slot for a in answers))
    return Checkpoint(index, domain, accuracy, slots, int(learner.n_bytes))


def matrix(checkpoints: Sequence[Checkpoint]) -> npt.NDArray[np.float64]:
    """Accuracy (n_checkpoints, n_domains): rows in time, columns as the first checkpoint's probes.

    Examples
    --------
    >>> taken = [Checkpoint(i, d, {"a": 1.0 - i, "b": 1.0 * i}, {}, 0) for i, d in enumerate("ab")]
    >>> matrix(taken)
    array([[1., 0.],
           [0., 1.]])
    """
    names = list(checkpoints[0].accuracy) if checkpoints else []
    rows = [[each.accuracy[name] for name in names] for each in checkpoints]
    return np.array(rows, dtype=np.float64).reshape(len(checkpoints), len(names))


def forgetting(checkpoints: Sequence[Checkpoint]) -> float:
    """Accuracy lost since a domain was first learned, mean over all that were not learned last.

    Negative where later domains helped. NaN if there is no such domain.
    """
    learned: dict[str, float] = {}
    for each in checkpoints:
        if each.domain in each.accuracy:
            learned.setdefault(each.domain, each.accuracy[each.domain])
    final = checkpoints[-1] if checkpoints else None
    lost = [
        before - final.accuracy[domain]
        for domain, before in learned.items()
        if final is not None and domain != final.domain
    ]
    return float(np.mean(lost)) if lost else math.nan


def from_plain(entry: Mapping[str, Any]) -> Checkpoint:
    """Make a checkpoint of its plain JSON values; KeyError, TypeError, ValueError or StreamError.

    Keys of JSON are text, so slots come as such.
    """
    accuracy = {str(name): float(value) for name, value in entry["accuracy"].items()}
    slots = {
        str(name): {int(slot): int(n) for slot, n in counts.items()}
        for name, counts in entry["slots"].items()
    }
    numbers = [n for counts in slots.values() for n in counts.values()]
    if not all(0 <= share <= 1 for share in accuracy.values()) or min(numbers, default=1) < 1:
        raise StreamError("a checkpoint holds an accuracy that is no share, or an empty slot")
    return Checkpoint(
        int(entry["index"]), str(entry["domain"]), accuracy, slots, int(entry["n_bytes"])
    )
