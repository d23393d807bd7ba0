"""Which labels to request: those that would help, rare classes first, within a budget.

A label would help while no class can come to cost more than it may, and the class that the sample
seems to have has no more labels than the others. One request a scene, where scenes are given.
"""

from __future__ import annotations

from collections import Counter, deque

HOUR_S = 3600.0
# Samples in a row that were refused for their class, after which any is requested: what samples
# seem to be is a rough guide while labels are few.
PATIENCE = 80
# Labels of a change before classes are balanced among samples that are out of distribution.
FIRST_LABELS = 20


class LabelRequests:
    """What has been requested since a drift, what was answered, and what may still be requested."""

    def __init__(self, labels_per_class: int, labels_per_hour: int) -> None:
        self.labels_per_class = labels_per_class
        self.labels_per_hour = labels_per_hour
        self._when: deque[float] = deque(maxlen=labels_per_hour or None)
        self.start_anew()

    def start_anew(self) -> None:
        """Count from nothing: another drift, or the end of one. The budget is not renewed."""
        self.open: dict[int, int] = {}  # sample id -> class that it seemed to have
        self.labelled: Counter[int] = Counter()
        self.sample_ids: list[int] = []  # of the labels that came
        self._n_refused = 0
        self._group: int | None = None

    @property
    def n_labels(self) -> int:
        """Labels that have come, requested or not."""
        return len(self.sample_ids)

    @property
    def is_full(self) -> bool:
        """Whether a class has all the labels that it may cost: one more could be of it."""
        return max(self.labelled.values(), default=0) >= self.labels_per_class

    @property
    def has_room(self) -> bool:
        """Whether no class can come to cost more, were all labels on the way of the same one."""
        most = max(self.labelled.values(), default=0)
        return most + len(self.open) < self.labels_per_class

    def would_help(self, seems: int, is_ood: bool, group: int | None = None) -> bool:
        """Whether a label of this class is missing, and cannot exceed what a class may cost."""
        if not self.has_room:
            return False
        if group is not None and group == self._group:
            return False  # of this scene one was requested
        if is_ood and self.n_labels < FIRST_LABELS:
            return True  # what it seems to be is no guide where nothing is known yet
        alike = sum(1 for other in self.open.values() if other == seems)
        fair_share = self.n_labels / max(len(self.labelled), 1)
        is_rare = self.labelled[seems] + alike <= fair_share + 1
        self._n_refused = 0 if is_rare else self._n_refused + 1
        return is_rare or self._n_refused >= PATIENCE

    def has_budget(self, now_s: float) -> bool:
        """Whether one more label may be requested at this time."""
        limit = self.labels_per_hour
        return limit == 0 or len(self._when) < limit or now_s - self._when[0] >= HOUR_S

    def request(self, sample_id: int, seems: int, now_s: float, group: int | None = None) -> None:
        """Note that a label has been requested."""
        self.open[sample_id] = seems
        self._group, self._n_refused = group, 0
        self.spend(now_s)

    def spend(self, now_s: float) -> None:
        """Take one label from the budget of the hour."""
        if self.labels_per_hour:
            self._when.append(now_s)

    def answered(self, sample_id: int, k: int) -> None:
        """A label has come, requested or not."""
        self.open.pop(sample_id, None)
        self.labelled[k] += 1
        self.sample_ids.append(sample_id)

    def forget(self, sample_id: int) -> None:
        """A sample has left the buffer: its label can no longer come."""
        self.open.pop(sample_id, None)

    def remove_class(self, k: int) -> None:
        """A class is no more; those behind it move up by one."""
        self.open = {i: seems - (seems > k) for i, seems in self.open.items() if seems != k}
        kept = {j - (j > k): n for j, n in self.labelled.items() if j != k}
        self.labelled = Counter(kept)
