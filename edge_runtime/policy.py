"""Every decision by a threshold, in one place: keep, ask for labels, adapt, grow.

The policy sees p-values, predicted classes and labels, and answers with what to do; it holds no
embedding, no model, no clock. Time is counted in samples. States:

    state      on                                                   becomes
    ---------  ---------------------------------------------------  ---------
    learning   enough labels to calibrate the first slot            stable
    stable     the drift detector alarms                            asking
    asking     some class has all its labels, or patience ran out   stable, after the decision
    asking     the strangers ended before enough labels came        stable
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

from edge_runtime.records import Label
from hdc.conformal import DriftDetector

State = Literal["learning", "stable", "asking"]


@dataclass(frozen=True)
class PolicySettings:
    """Thresholds, with unit and reason."""

    # Share of known samples that may be called strange: the promise that the user sets.
    false_alarm_rate: float = 0.05
    # Mean number of known samples between two false drift alarms. A camera at one sample a second
    # would give one a fortnight.
    drift_run_length: float = 1_000_000.0
    # Labels of one class that a new domain may cost. Ten is what a person answers without anger.
    labels_per_class: int = 10
    # Samples to wait for labels after an alarm, per label still hoped for.
    patience_samples: int = 500
    # Labels without which no slot is grown: two per class that was seen, and at least this many.
    min_growth_labels: int = 20
    # Accuracy on held-out labels that a new slot must gain over what exists (share, 0 to 1).
    growth_gain: float = 0.03
    # Samples whose strangeness says that a domain came back while labels were being asked for.
    calm_window: int = 30
    # Same number of consecutive samples routed to another slot: the stream has moved there.
    switch_samples: int = 8
    # Known samples needed to promise the rate: the smallest p-value is 1 / (n + 1).
    @property
    def calibration_samples(self) -> int:
        """How many calibration samples the false-alarm rate needs at the least."""
        return int(1.0 / self.false_alarm_rate + 0.5)
