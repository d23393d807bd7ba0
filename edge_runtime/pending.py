"""Recent samples that may still get their label: a bounded buffer of embeddings, never raw data."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge_runtime.classes import without
from edge_runtime.errors import LabelError


@dataclass(frozen=True)
class PendingSample:
    """What must be known of a sample when its label comes."""

    features: npt.NDArray[np.float32]
    slot: int | None
    predicted: int
    certainty: float = 0.0  # probability of the predicted class; 0 for a stranger
    is_faulty: bool = False  # it came from a broken sensor


class PendingSamples:
    """At most `capacity` samples by id; the oldest is forgotten first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._samples: OrderedDict[int, PendingSample] = OrderedDict()
        self._next_id = 0

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def next_id(self) -> int:
        """The id that the next sample gets."""
        return self._next_id

    def skip_to(self, next_id: int) -> None:
        """Go on counting from `next_id`: ids of an earlier run are never given again."""
        self._next_id = next_id

    def add(self, sample: PendingSample) -> int | None:
        """Keep one sample under the next id; return the id that was forgotten for it, if any."""
        self._samples[self._next_id] = sample
        self._next_id += 1
        if len(self._samples) > self.capacity:
            return self._samples.popitem(last=False)[0]
        return None

    def get(self, sample_id: int) -> PendingSample:
        """The sample of this id.

        Raises
        ------
        LabelError
            It was never seen, is forgotten, or has had its label.
        """
        if sample_id in self._samples:
            return self._samples[sample_id]
        if not 0 <= sample_id < self._next_id:
            raise LabelError(
                f"sample {sample_id} was never seen: ids so far are 0 to {self._next_id - 1}"
            )
        raise LabelError(
            f"sample {sample_id} is forgotten or has its label already: the last {self.capacity} "
            "samples are kept; raise pending_samples if labels come later than that"
        )

    def newest(self, n: int, slot: int) -> npt.NDArray[np.float32]:
        """Features (m, d) of those of the newest `n` samples that a slot claimed."""
        last = (self._samples.get(i) for i in range(max(self._next_id - n, 0), self._next_id))
        rows = [each.features for each in last if each is not None and each.slot == slot]
        return np.array(rows, np.float32)

    def spoil_last(self, n: int) -> None:
        """Mark the newest samples: they came from a sensor that is found broken only now."""
        for sample_id in range(self._next_id - n, self._next_id):
            if sample_id in self._samples:
                self._samples[sample_id] = replace(self._samples[sample_id], is_faulty=True)

    def remove(self, sample_id: int) -> None:
        """Forget a sample that has had its label."""
        self._samples.pop(sample_id, None)

    def forget_slots(self) -> None:
        """No slot is left that a sample could belong to."""
        for number, sample in self._samples.items():
            self._samples[number] = replace(sample, slot=None)

    def remove_class(self, k: int) -> None:
        """A class is no more; those behind it move up by one."""
        for number, sample in self._samples.items():
            self._samples[number] = replace(sample, predicted=without(sample.predicted, k))

    @property
    def n_bytes(self) -> int:
        """Bytes of the features held."""
        newest = next(reversed(self._samples.values()), None)
        return len(self._samples) * newest.features.nbytes if newest is not None else 0
