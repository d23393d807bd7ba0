"""Which labels to ask for: those that would help, the most telling first, within a budget.

A label would help while no class can come to cost more than it may, and its class seems to have no
more than the others. Of the samples that would help, the half is asked for that is uncertain, or
unlike what has been asked.
"""

from __future__ import annotations

from collections import Counter, deque

from edge_runtime.classes import without
from edge_runtime.thresholds import PolicySettings

HOUR_S = 3600.0
# Samples looked back on to say which ones tell the most.
COMPARED = 16


class LabelRequests:
    """What has been asked since an alarm, what was answered, and what may still be asked."""

    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self._when: deque[float] = deque(maxlen=settings.labels_per_hour or None)
        self._tells: deque[float] = deque(maxlen=COMPARED)
        self.start_anew()

    def start_anew(self) -> None:
        """Count from nothing: a new alarm, or the end of one. The budget is not renewed."""
        self.asked: dict[int, int] = {}  # sample id -> class it seemed to be
        self.labelled: Counter[int] = Counter()
        self.n_unasked = 0  # labels that came without being asked for
        self._n_refused = 0  # samples in a row of which none was to be asked for
        self.n_lost = 0  # requests since the last label that can no longer be answered

    @property
    def n_labels(self) -> int:
        """Labels that have come of those asked for."""
        return self.labelled.total()

    @property
    def is_full(self) -> bool:
        """Whether a class has all the labels that it may cost: one more could be of it."""
        return self._most >= self.settings.labels_per_class

    @property
    def come_anyway(self) -> bool:
        """Whether labels come asked for or not."""
        return 2 * self.n_unasked >= self.n_labels

    @property
    def are_coming(self) -> bool:
        """Whether labels come anyway, and there are too few yet to decide."""
        return self.come_anyway and self.n_labels < self.settings.enough_labels

    @property
    def are_in_vain(self) -> bool:
        """Whether what is asked stays unanswered, though enough for a trial was answered before."""
        is_enough = self.n_labels >= self.settings.first_trial_labels
        return is_enough and self.n_lost >= self.settings.vain_requests

    @property
    def _most(self) -> int:
        """Labels of the class that has most of them."""
        return max(self.labelled.values(), default=0)

    def would_help(self, seems: int, is_stranger_to_young: bool) -> bool:
        """Whether a label of this class is missing, and cannot exceed what a class may cost."""
        if self._most + len(self.asked) >= self.settings.labels_per_class:
            return False  # all on the way could be of the same class
        if is_stranger_to_young:
            return True  # what it seems to be is no guide: it may be a class not met before
        alike = sum(1 for other in self.asked.values() if other == seems)
        fair_share = self.n_labels / max(len(self.labelled), 1)
        is_rare = self.labelled[seems] + alike <= fair_share + 1
        # What samples seem to be is a rough guide: by few labels of where a domain was, all of it
        # may seem to be one class. Before there are enough for a trial, any will do in the end.
        self._n_refused = 0 if is_rare else self._n_refused + 1
        is_short = self.n_labels < self.settings.first_trial_labels
        return is_rare or (is_short and self._n_refused >= 2 * self.settings.calm_window)

    def is_telling(self, tells: float) -> bool:
        """Whether a sample tells more than most lately; `tells` is higher for more telling ones."""
        below = sum(other <= tells for other in self._tells)
        n = len(self._tells)
        self._tells.append(tells)
        return below >= (1 - self.settings.ask_share) * n

    def has_budget(self, now_s: float) -> bool:
        """Whether one more label may be asked for at this time."""
        limit = self.settings.labels_per_hour
        return limit == 0 or len(self._when) < limit or now_s - self._when[0] >= HOUR_S

    def ask(self, sample_id: int, seems: int, now_s: float) -> None:
        """Note that a label has been asked for."""
        self.asked[sample_id] = seems
        self._n_refused = 0
        self.spend(now_s)

    def spend(self, now_s: float) -> None:
        """Take one label from the budget."""
        if self.settings.labels_per_hour:
            self._when.append(now_s)

    def answered(self, sample_id: int, k: int) -> None:
        """A label has come, asked for or not."""
        self.n_unasked += self.asked.pop(sample_id, None) is None
        self.labelled[k] += 1
        self.n_lost = 0

    def forget(self, sample_id: int) -> None:
        """A sample has left the buffer: its label can no longer come."""
        self.n_lost += self.asked.pop(sample_id, None) is not None

    def remove_class(self, k: int) -> None:
        """A class is no more; those behind it move up by one."""
        self.asked = {number: without(seems, k) for number, seems in self.asked.items()}
        kept = {without(j, k): n for j, n in self.labelled.items() if j != k}
        self.labelled = Counter(kept)
