"""What a slot was before it changed, what labels have said since, and which are held back.

The record of one slot for `guard`, which judges by it.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from edge_runtime.evidence import Contradictions, Losses
from edge_runtime.labelled import Matrix

if TYPE_CHECKING:
    from edge_runtime.policy import PolicySettings
    from edge_runtime.slots import Slot

Reason = Literal["labels", "contradictions", "growth"]

# Of labels of certain samples, the part by which the last one counts in the share that are wrong.
WRONG_RATE = 1 / 50


@dataclass(frozen=True)
class Finding:
    """Why a slot should go back: accuracies (0 to 1) on the same confirmed samples."""

    slot: int
    reason: Reason
    before: float  # accuracy of the copy, or of the other slots
    after: float  # accuracy as it is
    n_samples: int
    evidence: float  # the stake of `Losses`, or the sum of `Contradictions`


class Watch:
    """The copy of a slot, the evidence for and against its change, and doubtful labels."""

    def __init__(self, settings: PolicySettings) -> None:
        self._settings = settings
        self.contradictions = Contradictions(
            settings.contradiction_rate, settings.contradiction_run_length
        )
        # While closed, labels that contradict are held back.
        self.is_closed = False
        self.held: list[tuple[Matrix, int, int]] = []  # features, class, class it seemed to be
        self.wrong_share = 0.0  # of the last labels of samples that were certain
        self._said: Counter[tuple[int, int]] = Counter()  # class it seemed to be, class of label
        self.start_anew()

    def start_anew(self) -> None:
        """Let go of the copy: what is learned from now on is the next change."""
        self.before: Slot | None = None  # None while nothing has changed, and for a grown slot
        self.is_grown = False
        self.since = 0  # canaries shown before the copy was made: the others may have been learned
        self.n_labels = 0
        self.losses = Losses(self._settings.false_undo_rate)
        self.n_right = np.zeros(3, np.int64)  # of the copy, of the slot, of how many labels
        self.rows: list[tuple[Matrix, int, bool]] = []  # features, class, answered rightly

    # -- doubtful labels ---------------------------------------------------------------------

    def note(self, *, contradicts: bool) -> None:
        """Take whether the label of a sample that was certain contradicts."""
        self.contradictions.update(contradicts)
        self.wrong_share += WRONG_RATE * (contradicts - self.wrong_share)

    def doubts(self, seemed: int, k: int) -> bool:
        """Whether the label of a sample that seemed to be of another class is doubtful."""
        if not self.is_closed:
            return False
        if self.contradictions.is_quiet:
            self.trust_labels()
            return False
        self._said[seemed, k] += 1
        total = sum(n for (other, _), n in self._said.items() if other == seemed)
        is_confirmed = self._said[seemed, k] >= total / 2 + math.sqrt(total)
        return k != seemed and not is_confirmed

    def trust_labels(self) -> None:
        """Doubt no more: labels have agreed for long enough."""
        self.is_closed = False
        self.held, self._said = [], Counter()

    def hold(self, x: Matrix, k: int, seemed: int) -> None:
        """Keep a doubtful label until it is confirmed."""
        self.held.append((x, k, seemed))

    def release(self, k: int, seemed: int) -> list[tuple[Matrix, int]]:
        """Labels held back of the kind that has just been confirmed."""
        alike = [row for row in self.held if row[1:] == (k, seemed)]
        self.held = [row for row in self.held if row[1:] != (k, seemed)]
        return [(x, k) for x, k, _ in alike]

    def remove_class(self, k: int) -> None:
        """Forget a class; those behind it move up by one. The copy knows it, so it goes too."""
        self.start_anew()
        self.held = [(x, i - (i > k), j - (j > k)) for x, i, j in self.held if k not in (i, j)]
        said = {pair: n for pair, n in self._said.items() if k not in pair}
        self._said = Counter({(i - (i > k), j - (j > k)): n for (i, j), n in said.items()})

    @property
    def n_bytes(self) -> int:
        """Bytes of labels held back, and of those that wait to be compared."""
        return sum(row[0].nbytes for row in (*self.rows, *self.held))

    # -- state -------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Doubts and labels held back. The copy is not saved: a generation is one."""
        said = [[*pair, n] for pair, n in sorted(self._said.items())]
        sums = self.contradictions.sums.tolist()
        header = {"sums": sums, "is_closed": self.is_closed, "said": said}
        if self.wrong_share:  # else the bytes are those of before there was one
            header["wrong_share"] = self.wrong_share
        if not self.held:
            return header, {}
        X = np.stack([row[0] for row in self.held])
        return header, {"held_X": X, "held_y": np.array([row[1:] for row in self.held], np.int64)}

    def restore(
        self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], n_features: int
    ) -> None:
        """Go on from what `to_state` gave; refuses what does not fit."""
        sums = np.array(header["sums"], np.float64)
        self.contradictions.sums = sums.reshape(self.contradictions.sums.shape)
        self.is_closed = bool(header["is_closed"])
        self.wrong_share = float(header.get("wrong_share", 0.0))
        if not 0 <= self.wrong_share <= 1:
            raise ValueError(f"wrong_share is {self.wrong_share}, expected a share")
        self._said = Counter({(int(i), int(j)): int(n) for i, j, n in header["said"]})
        X, y = arrays.get("held_X"), arrays.get("held_y")
        if X is None or y is None:
            return
        if X.shape != (len(y), n_features) or y.shape != (len(X), 2):
            raise ValueError(f"labels held back have shapes {X.shape} and {y.shape}")
        rows = zip(np.array(X, np.float32), y.tolist(), strict=True)
        self.held = [(x, k, seemed) for x, (k, seemed) in rows]


def copy_of(slot: Slot) -> Slot:
    """A copy of a slot that shares what never changes: settings, maps, labels so far."""
    shared = [slot.projection, slot.settings, slot.lift, slot.parent]
    memo: dict[int, object] = {id(each): each for each in shared}
    if slot.young is not None:
        memo[id(slot.young)] = slot.young.copy()
    return copy.deepcopy(slot, memo)
