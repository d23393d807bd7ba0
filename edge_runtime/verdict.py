"""Wait, grow, adapt, keep, reject: what a trial on held-out labels comes to. Values in, a word out.

Growing leaves the old slot as it was; adapting changes it in place. After a sudden change the old
slot therefore has to be better beyond chance to be the one that learns; a domain that has moved, or
has new classes, or of whose classes only some come for a while, is still the same domain, and there
the new slot has to be.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from edge_runtime.thresholds import PolicySettings

# "keep": the labels are the old slot's own, which may learn them; there was no drift to ask about.
Verdict = Literal["wait", "grow", "adapt", "keep", "reject"]


def standard_error(n_labels: int) -> float:
    """Of an accuracy of one half, on so many labels: the largest there is."""
    return 0.5 / math.sqrt(n_labels)


class Case(NamedTuple):
    """What a trial has measured: accuracies (0 to 1), all on the same held-out labels."""

    n_labels: int
    existing: float  # of the answers that were given when the samples came
    adapted: float  # of the old slot, had it learned the labels
    grown: float  # of a new slot
    new_share: float = 0.0  # labels whose class the old slot hardly knows
    stated: float = 1.0  # accuracy of the old slot on its own domain; NaN if it has never been said
    has_moved: bool = False  # whether the domain of the old slot has moved a little
    is_partial: bool = False  # whether labels, though many, are of some of its classes only
    among: float = 0.0  # of the old slot's answers, had it known the labels' classes alone

    @property
    def known(self) -> float:
        """Accuracy without learning: a new slot would tell apart the labels' classes alone too."""
        return max(self.existing, self.among)

    @property
    def standard_error(self) -> float:
        """Of its accuracies, at the most."""
        return standard_error(self.n_labels)


def judge(case: Case, settings: PolicySettings, *, is_last: bool) -> Verdict:
    """The verdict on a trial; while more labels are to come, only a gain beyond chance is taken.

    Examples
    --------
    >>> judge(Case(40, 0.4, 0.5, 0.8), PolicySettings(), is_last=False)
    'grow'
    >>> judge(Case(40, 0.6, 0.7, 0.7), PolicySettings(), is_last=False)
    'wait'
    >>> judge(Case(40, 1.0, 1.0, 1.0), PolicySettings(), is_last=False)
    'keep'
    """
    if case.n_labels < settings.first_trial_labels and not is_last:
        return "wait"
    has_new_classes = case.new_share >= settings.new_class_share
    should_adapt = has_new_classes or _is_adapting_better(case, settings)
    if should_adapt and not is_last and _may_adapt_early(case, settings):
        return "adapt"
    if not should_adapt and _is_elsewhere(case) and _gains(case, settings, is_last):
        return "grow"
    if not is_last:
        return "keep" if _has_nothing_to_gain(case, settings) else "wait"
    # That a domain has moved, samples have said: labels need not prove it, unless they deny it.
    enough = case.known - (case.standard_error if case.has_moved else 0.0)
    return "adapt" if case.adapted >= enough or has_new_classes else "reject"


def _has_nothing_to_gain(case: Case, settings: PolicySettings) -> bool:
    """Whether what exists answers so many labels rightly that more have nothing to decide."""
    is_enough = case.n_labels >= 2 * settings.first_trial_labels
    return is_enough and case.existing + settings.growth_gain > 1


def _misses_classes(case: Case, settings: PolicySettings) -> bool:
    """Whether labels are of classes that the old slot lacks: that needs no proof beyond chance."""
    return case.new_share * case.n_labels >= settings.new_class_labels


def _is_adapting_better(case: Case, settings: PolicySettings) -> bool:
    is_same_domain = case.has_moved or case.is_partial or _misses_classes(case, settings)
    handicap = -case.standard_error if is_same_domain else case.standard_error
    return case.adapted > case.grown + handicap


def _may_adapt_early(case: Case, settings: PolicySettings) -> bool:
    """Whether adapting helps enough, and is no premature end of a new domain.

    With few labels an old slot seems the better student of a new domain: it is ahead, but it would
    end up between two domains. More labels will tell.
    """
    enough = settings.early_confidence * case.standard_error
    if case.has_moved:  # and goes on moving: what helps at all is better now than when all is lost
        enough = 1 / case.n_labels
    elif _misses_classes(case, settings):
        enough = min(enough, settings.growth_gain)
    elif case.new_share < settings.new_class_share:
        return False
    return case.adapted >= case.known + enough


def _is_elsewhere(case: Case) -> bool:
    """Whether labels are answered less rightly than the old slot's own.

    Otherwise it is no other domain: a slot that knows these classes alone would merely have less to
    tell apart.
    """
    return math.isnan(case.stated) or case.known + case.standard_error < case.stated


def _gains(case: Case, settings: PolicySettings, is_last: bool) -> bool:
    early = settings.early_confidence * case.standard_error
    return case.grown >= case.known + (settings.growth_gain if is_last else early)
