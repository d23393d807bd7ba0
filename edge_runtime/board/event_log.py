"""Events on the disk: kept in memory, written where something goes wrong, and at the end.

One file, ``events.json``, among those that hosts may read: the last `MAX_EVENTS` of the journal as
lines of JSON, replaced as a whole, at most every `LEAST_S`. A healthy board writes no log at all.
"""

from __future__ import annotations

import contextlib
import json
from typing import Final

from edge_runtime.board.files import Files
from edge_runtime.board.journal import Journal

NAME: Final = "events.json"
LEAST_S: Final = 60.0


class EventLog:
    """Writes the journal's events where they must outlive the process."""

    def __init__(self, journal: Journal, files: Files) -> None:
        self._journal, self._files = journal, files
        self._trouble, self._written = "", 0
        self._not_before_s = float("-inf")

    def tend(self, trouble: str, now_s: float) -> None:
        """Write if there is a trouble that was not there before; a full disk changes nothing."""
        if trouble and trouble != self._trouble and now_s >= self._not_before_s:
            self._trouble, self._not_before_s = trouble, now_s + LEAST_S
            self.flush()
        elif not trouble:
            self._trouble = ""

    def flush(self) -> None:
        """Write what has come since the last time, with what came before it."""
        if self._journal.next_event == self._written:
            return
        with contextlib.suppress(OSError):
            lines = [json.dumps(event) for event in self._journal.kept_events()]
            self._files.write(f"{NAME}.part", "".join(f"{line}\n" for line in lines).encode())
            self._files.rename(f"{NAME}.part", NAME)
            self._written = self._journal.next_event
