"""What a user may set. Constants that nobody needs to set stand beside the code that uses them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Settings:
    """Promises and budgets; everything else follows from the data.

    Attributes
    ----------
    false_alarm_rate
        Share of in-distribution samples that may be called out of distribution, above 0, below 0.5.
    drift_run_length
        In-distribution samples between two false drift alarms, on average, at the least.
    labels_per_class
        Labels of a class that one drift may cost at the most; 2 or more.
    labels_per_hour
        Labels that may be requested in an hour; 0 is no limit.
    max_slots
        Domains that can be told apart at once.

    Examples
    --------
    >>> Settings(false_alarm_rate=0.01).labels_per_class
    10
    """

    false_alarm_rate: float = 0.05
    drift_run_length: float = 100_000.0
    labels_per_class: int = 10
    labels_per_hour: int = 0
    max_slots: int = 16

    def __post_init__(self) -> None:
        for each in fields(self):  # numbers of a pack's manifest are floats
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{each.name} is {value!r}, expected a number")
            if type(each.default) is int and type(value) is not int:
                if not float(value).is_integer():  # nor NaN, nor infinity
                    raise ValueError(f"{each.name} is {value}, expected a whole number")
                object.__setattr__(self, each.name, int(value))
        if not 0 < self.false_alarm_rate < 0.5:
            raise ValueError(f"false_alarm_rate is {self.false_alarm_rate}, expected in (0, 0.5)")
        if not 1 < self.drift_run_length < math.inf:
            raise ValueError(
                f"drift_run_length is {self.drift_run_length}, expected a number of samples above 1"
            )
        if self.labels_per_class < 2:
            raise ValueError(
                f"labels_per_class is {self.labels_per_class}, expected 2 or more: one to learn "
                "from and one to check"
            )
        if self.labels_per_hour < 0 or not 1 <= self.max_slots <= 256:
            raise ValueError(
                f"labels_per_hour {self.labels_per_hour}, max_slots {self.max_slots}: expected 0 "
                "or more, and 1 to 256"
            )
