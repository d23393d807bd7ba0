"""``edge-agent run``: a pack on a stream, in one process and without a line.

Predictions and events come out as lines of JSON, labels go in the same way (`label_lines`). Samples
are read by a thread, so that labels are learned, and what was learned is saved (`wear`), where none
come. A signal ends a run between two of its turns, with a save.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_runtime.board.inbox import Inbox
from edge_runtime.board.label_lines import READ_AHEAD, STDIN, LabelLines
from edge_runtime.board.profiles import PROFILES, keep_little, release_memory
from edge_runtime.board.wear import SavePlan
from edge_runtime.board.worker import read_stream
from edge_runtime.errors import EdgeRuntimeError, LabelError, StreamError

if TYPE_CHECKING:
    from edge_runtime.records import Event, Prediction
    from edge_runtime.runtime import EdgeRuntime

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TURN_S: Final = 0.1
FAR: Final = 256  # samples, as many as wait for their labels


class Stop:
    """Whether a signal has asked for the end; what is being done is done to its end."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:  # nohup, a shell's background
                signal.signal(number, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self.is_asked = True

    def restore(self) -> None:
        """Signals do again what they did."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Run:
    """A runtime, what teaches it, and where it is saved.

    Parameters
    ----------
    learned
        Directory of generations; None: nothing is kept.
    """

    def __init__(
        self, runtime: EdgeRuntime, learned: Path | None, labels: LabelLines | None
    ) -> None:
        self._runtime, self._learned, self._labels = runtime, learned, labels
        self._plan = SavePlan()
        self._newest = self._told = -1

    def go_on(
        self, inbox: Inbox, limit: int | None, stop: Stop, clock: Callable[[], float]
    ) -> None:
        """Until samples and labels have ended, or a signal has come.

        Raises
        ------
        StreamError
            The stream has failed.
        """
        n_samples, reason = 0, ""
        is_over = limit == 0
        while not stop.is_asked:
            got = None if is_over else inbox.get(TURN_S)
            if got is not None and got[0] == "sample":
                self._take(got[1])
                n_samples += 1
                is_over = n_samples == limit
            elif got is not None:
                is_over, reason = True, str(got[1])
            n_labels = self._learn_what_came(is_over, clock())
            self._tend(clock())
            if is_over and (self._labels is None or self._labels.has_ended):
                break
            if is_over and not n_labels:
                time.sleep(TURN_S)
        self._learn_what_came(is_over, clock())
        if inbox.n_dropped:
            message = f"{inbox.n_dropped} samples came faster than they were answered, and are lost"
            show({"event": "overrun", "message": message})
        if reason:
            raise StreamError(reason)

    def _take(self, x: Any) -> None:
        from edge_runtime.records import Prediction

        for said in self._runtime.run([x]):
            show(_shown(said))
            if isinstance(said, Prediction):
                self._newest = said.sample_id

    def _learn_what_came(self, is_over: bool, now_s: float) -> int:
        """Learn some of the labels that have come, since samples wait; return how many."""
        if self._labels is None:
            return 0
        came = self._labels.until(self._newest, is_last=is_over)
        some = list(itertools.islice(came, READ_AHEAD))
        for item in some:
            self._learn(item, now_s)
        self._tell_what_waits(self._labels.waits_for)
        return len(some)

    def _learn(self, item: tuple[int, Any] | LabelError, now_s: float) -> None:
        try:
            if isinstance(item, LabelError):
                raise item
            events = self._runtime.learn(*item)
        except EdgeRuntimeError as error:
            show({"event": "label_refused", "message": str(error)})
            return
        self._plan.changed(now_s)
        for event in events:
            show(_shown(event))

    def _tell_what_waits(self, sample: int | None) -> None:
        """Once, of one far away: it may be a slip of the pen, and holds up those behind it."""
        if sample is not None and sample > self._newest + FAR and sample != self._told:
            self._told = sample
            message = f"a label of sample {sample}, which has not come: labels behind it wait too"
            show({"event": "waiting", "message": message})

    def save(self) -> int:
        """Write a generation, if there is anything to keep; return its bytes."""
        from edge_runtime.state import generations

        if self._learned is None or not self._runtime.slots:
            return 0
        number = self._runtime.save(self._learned)
        return generations.path_of(self._learned, number).stat().st_size

    def _tend(self, now_s: float) -> None:
        if not self._plan.is_due(now_s):
            return
        try:
            self._plan.saved(self.save(), now_s)
        except OSError as error:
            self._plan.failed(now_s)
            message = f"learned state cannot be saved, trying again: {error}"
            show({"event": "unsaved", "message": message})


def run_pack(arguments: argparse.Namespace) -> None:
    """One line of JSON for each sample, and one for each event; a signal ends it."""
    from edge_runtime.board.streams import is_live, open_stream

    if arguments.labels == STDIN and arguments.stream == "stdin":
        raise StreamError("samples and labels both from standard input: name a pipe for one")
    keep_little()
    if trouble := PROFILES[arguments.profile].apply():
        print(f"edge-agent: {trouble}", file=sys.stderr)
    samples = open_stream(arguments.stream, repeat=arguments.repeat)
    labels = None if arguments.labels is None else LabelLines(arguments.labels)
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(_open(arguments, Path(scratch)), arguments.learned, labels)
        inbox = Inbox(is_live=is_live(arguments.stream))
        stop = Stop()
        try:
            if samples is None:
                inbox.end_samples("")
            else:
                words = (samples, arguments.interval, inbox)
                threading.Thread(target=read_stream, args=words, daemon=True).start()
            run.go_on(inbox, arguments.limit, stop, time.monotonic)
        except (EdgeRuntimeError, OSError):  # an unplugged sensor: what was learned is whole
            run.save()
            raise
        else:
            run.save()
        finally:
            stop.restore()


def _open(arguments: argparse.Namespace, scratch: Path) -> EdgeRuntime:
    from edge_runtime.board.deploying import Place, open_deployment

    learned = arguments.learned or scratch / "learned"
    place = Place(arguments.pack, None, learned, scratch / "encoders")
    runtime, source = open_deployment(place, lean=PROFILES[arguments.profile].lean, background=True)
    release_memory()  # of what was needed to open it
    show({"learned": source, "classes": runtime.classes})
    return runtime


def show(line: dict[str, Any]) -> None:
    """One line on standard output, at once."""
    print(json.dumps(line), flush=True)


def _shown(said: Prediction | Event) -> dict[str, Any]:
    from edge_runtime.records import Event

    if isinstance(said, Event):
        return {"event": said.kind, "message": said.message}
    return {
        "sample": said.sample_id,
        "label": said.label,
        "slot": said.slot,
        "p_value": round(float(said.p_value), 5),
        "wants_label": said.wants_label,
        "events": [f"{each.kind}: {each.message}" for each in said.events],
    }
