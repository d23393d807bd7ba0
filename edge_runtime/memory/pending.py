"""Samples that wait for a label: their features, what was answered, and whether the sensor worked.

A sample that has had its label stays for as long as others, so that the label can be corrected.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from edge_runtime.errors import LabelError


@dataclass(frozen=True)
class PendingSample:
    """One answered sample."""

    features: npt.NDArray[Any]
    slot: int | None
    predicted: int
    time: float = 0.0
    group: int | None = None
    is_faulty: bool = False
    ood_score: float | None = None
    is_evicted: bool = False  # its label is in sums, where it cannot be corrected


class PendingSamples:
    """At most `capacity` samples by id; the oldest is forgotten first.

    Examples
    --------
    >>> import numpy as np
    >>> waiting = PendingSamples(2)
    >>> for _ in range(3):
    ...     gone = waiting.add(PendingSample(np.zeros(1), 0, 0))
    >>> gone, len(waiting), waiting.next_id
    (0, 2, 3)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._samples: OrderedDict[int, PendingSample] = OrderedDict()
        self.next_id = 0

    def __len__(self) -> int:
        return len(self._samples)

    def __contains__(self, sample_id: int) -> bool:
        return sample_id in self._samples

    def skip_to(self, next_id: int) -> None:
        """Go on counting from `next_id`: ids of an earlier run are never given again."""
        self.next_id = max(self.next_id, next_id)

    def add(self, sample: PendingSample) -> int | None:
        """Keep one sample under the next id; return the id that was forgotten for it, if any."""
        self._samples[self.next_id] = sample
        self.next_id += 1
        if len(self._samples) > self.capacity:
            return self._samples.popitem(last=False)[0]
        return None

    def get(self, sample_id: int) -> PendingSample:
        """The sample of this id.

        Raises
        ------
        LabelError
            It was never seen, or is forgotten, or has a label that was evicted.
        """
        if sample_id in self._samples:
            if self._samples[sample_id].is_evicted:
                raise LabelError(
                    f"sample {sample_id} has a label already, which was evicted into sums, and "
                    "cannot be corrected: memory is full"
                )
            return self._samples[sample_id]
        if not 0 <= sample_id < self.next_id:
            seen = f"ids so far are 0 to {self.next_id - 1}" if self.next_id else "none was"
            raise LabelError(f"sample {sample_id} was never seen: {seen}")
        raise LabelError(
            f"sample {sample_id} is forgotten: the last {self.capacity} samples are kept; raise "
            "pending_samples if labels come later than that"
        )

    def spoil_last(self, n: int) -> None:
        """Mark the newest samples: they came from a sensor that is found faulty only now."""
        for sample_id in range(self.next_id - n, self.next_id):
            if sample_id in self._samples:
                self._samples[sample_id] = replace(self._samples[sample_id], is_faulty=True)

    def close(self, sample_ids: Iterable[int]) -> None:
        """Mark samples whose labels were evicted."""
        for sample_id in sample_ids:
            if sample_id in self._samples:
                self._samples[sample_id] = replace(self._samples[sample_id], is_evicted=True)

    def remove_class(self, k: int) -> None:
        """A class is no more; those behind it move up by one."""
        for number, sample in self._samples.items():
            predicted = -1 if sample.predicted == k else sample.predicted - (sample.predicted > k)
            self._samples[number] = replace(sample, predicted=predicted)

    def keep_slots(self, known: Container[int]) -> None:
        """Slots other than those that are known are no more: whose samples these were is open."""
        for number, sample in self._samples.items():
            if sample.slot is not None and sample.slot not in known:
                self._samples[number] = replace(sample, slot=None)

    @property
    def n_bytes(self) -> int:
        """Bytes of the features held."""
        newest = next(reversed(self._samples.values()), None)
        return len(self._samples) * newest.features.nbytes if newest is not None else 0
