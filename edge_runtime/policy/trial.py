"""One comparison on held-out labels after a drift: one model, or a new slot. Values in, a word out.

A slot costs a mean for each class and makes routing matter, so it has to be worth it. It is where
the labels that came are nearer to each other than to the old slot's labels of the same class,
beyond chance, and where answers do not get worse. Labels of new classes alone are no new domain.
Labels that were answered as rightly as those of the slot itself refute the drift.
"""

from __future__ import annotations

import math
from typing import Literal

from edge_runtime.records import Trial

Verdict = Literal["wait", "grown", "adapted", "refuted", "rejected"]

# Standard errors by which an early trial must win; the last one decides by what is likelier.
EARLY = 2.0
# Share of held-out labels that must be nearer to the new slot's labels of their class.
NEARER = 0.75
# Labels of classes that both slots have, below which nothing is said of a new slot.
LEAST_SHARED = 4


def judge(case: Trial, *, is_last: bool) -> Verdict:
    """The verdict on a trial; while more labels are to come, only what is beyond chance counts.

    Examples
    --------
    >>> judge(Trial(40, 0.4, 0.5, 0.8, 0.5, 0.1, 40, 0.95), is_last=False)
    'grown'
    >>> judge(Trial(40, 0.4, 0.8, 0.8, 0.0, 0.1, 0, 0.0), is_last=True)
    'adapted'
    """
    error = 0.5 / math.sqrt(max(case.n_labels, 1))
    if _is_apart(case, is_last) and case.gain >= -case.gain_error:
        return "grown"
    is_refuted = case.existing >= (1.0 if math.isnan(case.stated) else case.stated) - error
    if not is_last:
        if case.n_shared == 0 and case.one_model >= case.existing + error:
            return "adapted"
        return "wait"
    if is_refuted:
        return "refuted"
    return "adapted" if max(case.one_model, case.new_slot) > case.existing else "rejected"


def _is_apart(case: Trial, is_last: bool) -> bool:
    """Whether the labels are a domain of their own."""
    if case.n_shared < LEAST_SHARED:
        return False
    error = math.sqrt(NEARER * (1 - NEARER) / case.n_shared)
    return case.nearer >= NEARER + (0.0 if is_last else EARLY * error * 0.5)
