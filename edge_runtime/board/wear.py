"""When what was learned is written to the SD card, and how much of it in an hour.

Soon after a label, and later where generations are large: each one written pays off at the promised
rate before the next, so that in no hour more is written than the promise and one generation. What
a host or an update asks to be saved is saved at once, and pays off like the others. Labels between
two saves are in the journal of labels. Time is an argument, and no file is touched.
"""

from __future__ import annotations

from typing import Any, Final

SAVE_S: Final = 30.0  # labels are dear; generations wear an SD card
RETRY_S: Final = 10.0
# 1.75 TB in a year of labels day and night; a 32 GB card of 1,000 cycles stands 32.
BYTES_PER_HOUR: Final = 200 * 10**6
HOUR_S: Final = 3600.0


class SavePlan:
    """Says when to save.

    Parameters
    ----------
    save_s
        Least time from the first change to its save.
    bytes_per_hour
        Promise for what is saved without being asked for.

    Examples
    --------
    >>> plan = SavePlan(save_s=30.0, bytes_per_hour=3_600_000)
    >>> plan.changed(now_s=0.0)
    >>> plan.is_due(29.0), plan.is_due(30.0)
    (False, True)
    >>> plan.saved(100_000, now_s=30.0)  # 100 s at 1,000 bytes a second
    >>> plan.changed(now_s=31.0)
    >>> plan.is_due(129.0), plan.is_due(130.0)
    (False, True)
    """

    def __init__(self, save_s: float = SAVE_S, bytes_per_hour: int = BYTES_PER_HOUR) -> None:
        self._save_s, self.bytes_per_hour = save_s, bytes_per_hour
        self._due_s: float | None = None
        self._paid_off_s = float("-inf")
        self.n_saves = self.n_bytes = 0

    @property
    def is_pending(self) -> bool:
        """Whether anything has changed since the last save."""
        return self._due_s is not None

    def changed(self, now_s: float) -> None:
        """Something was learned: from the first change on, time runs."""
        if self._due_s is None:
            self._due_s = now_s + self._save_s

    def is_due(self, now_s: float) -> bool:
        """Whether to save now."""
        return self._due_s is not None and now_s >= max(self._due_s, self._paid_off_s)

    def saved(self, n_bytes: int, now_s: float) -> None:
        """A generation of so many bytes was written, planned or not."""
        self._due_s = None
        self.n_saves += 1
        self.n_bytes += n_bytes
        seconds = n_bytes * HOUR_S / self.bytes_per_hour
        self._paid_off_s = max(self._paid_off_s, now_s) + seconds

    def failed(self, now_s: float) -> None:
        """It could not be written: try again soon."""
        self._due_s = now_s + RETRY_S

    def status(self) -> dict[str, Any]:
        """What was written since the start, and the promise."""
        return {"saves": self.n_saves, "bytes": self.n_bytes, "per_hour": self.bytes_per_hour}
