"""One comparison on held-out labels after a drift: one model, or a new slot. Values in, a word out.

A new slot is where the labels that came are a domain of their own: held out, they are nearer to
each other than to the old slot's labels of the same class, far beyond chance. Labels of new classes
alone are no new domain. Labels that were answered as rightly as those of the slot itself refute the
drift. What is learned either way is the same labels: a slot of its own is worth 0 to 2 points of
accuracy where labels are few, knows its domain when it returns, and has p-values of its own.
"""

from __future__ import annotations

import math
from typing import Literal

from edge_runtime.records import Trial

Verdict = Literal["wait", "grown", "adapted", "refuted", "rejected"]

# Share of held-out labels that must be nearer to the new slot's labels of their class: while more
# labels are to come, and in the end.
NEARER_EARLY, NEARER = 0.9, 0.75
# Labels of classes that both slots have, below which nothing is said of a new slot.
LEAST_SHARED = 4


def judge(trial: Trial, *, is_last: bool) -> Verdict:
    """The verdict on a trial; while more labels are to come, only what is beyond chance counts.

    Examples
    --------
    >>> judge(Trial(40, 0.4, 0.5, 0.8, 40, 0.95), is_last=False)
    'grown'
    >>> judge(Trial(40, 0.4, 0.8, 0.8, 0, 0.0), is_last=True)
    'adapted'
    """
    error = 0.5 / math.sqrt(max(trial.n_labels, 1))
    least = NEARER if is_last else NEARER_EARLY
    if trial.n_shared >= LEAST_SHARED and trial.nearer >= least:
        return "grown"
    if not is_last:
        helps = trial.one_model >= trial.existing + error
        return "adapted" if trial.n_shared == 0 and helps else "wait"
    stated = 1.0 if math.isnan(trial.stated) else trial.stated
    if trial.existing >= stated - error:
        return "refuted"
    return "adapted" if max(trial.one_model, trial.new_slot) > trial.existing else "rejected"
