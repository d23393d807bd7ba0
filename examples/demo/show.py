"""What the demo prints while it works, and the table that it ends with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from edge_runtime import EdgeRuntime, Prediction
from edge_runtime.evaluation.recording import LoggedEvent, Run

QUIET = ("ood", "label_request")  # too many to print one by one: they are counted


class Progress:
    """Prints each event as it happens, and where the stream is."""

    def __init__(self, domains: Sequence[str], out: TextIO = sys.stdout) -> None:
        self._domains, self._out = domains, out
        self._seen = self._ood = self._requested = 0
        self._domain = ""

    def __call__(
        self,
        index: int,
        prediction: Prediction | None,
        events: Sequence[LoggedEvent],
        seconds: float | None,
    ) -> None:
        """Take notice of one step of `edge_runtime.evaluation.prequential.evaluate`."""
        if self._domains[index] != self._domain:
            self._seen = self._ood = self._requested = 0
            self._domain = self._domains[index]
            print(f"\n-- {self._domain} comes --", file=self._out, flush=True)
        if prediction is not None:
            self._seen += 1
            self._ood += prediction.is_ood
            self._requested += prediction.wants_label
        for logged in events:
            if logged.event.kind not in QUIET:
                took = f"{1000 * (logged.seconds or 0):7.1f} ms"
                event = logged.event
                print(f"{index:6d}  {event.kind:<14}{took}  {event.message}", file=self._out)
        if self._seen % 100 == 0:
            line = f"{index:6d}  ... {self._ood} OOD, {self._requested} labels requested"
            print(line, file=self._out, flush=True)


def table(run: Run, frozen: dict[str, float], final: dict[str, float]) -> list[dict[str, Any]]:
    """One row for each domain; accuracies in percent."""
    delays = {change.after: change.delay for change in run.detection_delays()}
    rows = []
    for name in run.domain_names:
        used = run.labels_used(name)
        rows.append(
            {
                "domain": name,
                "frozen %": f"{100 * frozen[name]:.1f}",
                "while learning %": f"{100 * run.accuracy(name):.1f}",
                "at the end %": f"{100 * final[name]:.1f}",
                "labels": str(used.total),
                "most per class": str(used.most_per_class),
                "OOD %": f"{100 * run.alarm_rate(name):.1f}",
                "noticed after": delays.get(name),
            }
        )
    return rows


def costs(runtime: EdgeRuntime, run: Run, encoder_seconds: float) -> list[str]:
    """Lines on memory and time."""
    n, total = len(run.index), 0.0 if run.seconds is None else float(run.seconds.sum())
    learned = runtime.n_bytes - runtime.bytes_by_part["waiting"]
    return [
        f"learned state      {learned:,} bytes in {len(runtime.slots)} slots "
        f"(all buffers: {runtime.n_bytes:,} of {runtime.options['budget_bytes']:,})",
        f"time per sample    encoder {1000 * encoder_seconds / n:.1f} ms, "
        f"everything else {1000 * max(total - encoder_seconds, 0) / n:.1f} ms",
    ]
