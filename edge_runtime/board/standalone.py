"""``edge-agent run``: a pack on a stream, in one process and without a line.

Predictions and events come out as lines of JSON, labels go in the same way (`label_lines`). What
was learned is saved as the service does (`wear`), and when a signal ends the run.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edge_runtime.board.label_lines import STDIN, LabelLines
from edge_runtime.board.profiles import PROFILES, keep_little, release_memory
from edge_runtime.board.wear import SavePlan
from edge_runtime.errors import EdgeRuntimeError, LabelError, StreamError

if TYPE_CHECKING:
    from edge_runtime.records import Event, Prediction
    from edge_runtime.runtime import EdgeRuntime

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
FAR: Final = 256  # samples, as many as wait for their labels


class Stop:
    """Ends a run at a signal, never in the middle of a step, of learning or of a save."""

    def __init__(self) -> None:
        self._is_asked = self._is_busy = False
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}

    def _ask(self, number: int, frame: Any) -> None:
        self._is_asked = True
        if not self._is_busy:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """What is done in here is done to its end; a signal that came counts afterwards."""
        self._is_busy = True
        try:
            yield
        finally:
            self._is_busy = False
        if self._is_asked:
            raise KeyboardInterrupt

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
        self, runtime: EdgeRuntime, learned: Path | None, labels: LabelLines | None, stop: Stop
    ) -> None:
        self._runtime, self._learned, self._labels = runtime, learned, labels
        self._stop, self._plan = stop, SavePlan()
        self._newest = self._told = -1

    def take(self, x: Any, now_s: float) -> None:
        """Answer a sample; learn what labels have come by then."""
        from edge_runtime.records import Prediction

        with self._stop.held_off():
            for said in self._runtime.run([x]):
                show(_shown(said))
                if isinstance(said, Prediction):
                    self._newest = said.sample_id
            if self._labels is not None:
                for item in self._labels.until(self._newest):
                    self._learn(item, now_s)
                self._tell_what_waits(self._labels.waits_for)
            self._tend(now_s)

    def finish(self, clock: Callable[[], float]) -> None:
        """No more samples: the labels that are still to come."""
        for item in () if self._labels is None else self._labels.rest(self._newest):
            with self._stop.held_off():
                self._learn(item, clock())
                self._tend(clock())

    def save(self) -> None:
        """Write a generation."""
        if self._learned is not None and self._runtime.slots:
            self._runtime.save(self._learned)

    def _learn(self, item: tuple[int, Any] | LabelError, now_s: float) -> None:
        try:
            if isinstance(item, LabelError):
                raise item
            for event in self._runtime.learn(*item):
                show(_shown(event))
        except (LabelError, OSError) as error:  # OSError: the journal of labels, on a full disk
            show({"event": "rejected", "message": f"label: {error}"})
        else:
            self._plan.changed(now_s)

    def _tell_what_waits(self, sample: int | None) -> None:
        """Once, of one far away: it may be a slip of the pen, and holds up those behind it."""
        if sample is not None and sample > self._newest + FAR and sample != self._told:
            self._told = sample
            message = f"a label of sample {sample}, which has not come: labels behind it wait too"
            show({"event": "waiting", "message": message})

    def _tend(self, now_s: float) -> None:
        if self._learned is None or not self._plan.is_due(now_s):
            return
        from edge_runtime import state

        try:
            self.save()
        except OSError as error:
            self._plan.failed(now_s)
            message = f"learned state cannot be saved, trying again: {error}"
            show({"event": "unsaved", "message": message})
        else:
            newest = state.path_of(self._learned, self._runtime.generation)
            self._plan.saved(newest.stat().st_size, now_s)


def run_pack(arguments: argparse.Namespace) -> None:
    """One line of JSON for each sample, and one for each event; a signal ends it."""
    from edge_runtime.board.streams import open_stream

    if arguments.labels == STDIN and arguments.stream == "stdin":
        raise StreamError("samples and labels both from standard input: name a pipe for one")
    keep_little()
    if trouble := PROFILES[arguments.profile].apply():
        print(f"edge-agent: {trouble}", file=sys.stderr)
    samples = open_stream(arguments.stream, repeat=arguments.repeat)
    labels = None if arguments.labels is None else LabelLines(arguments.labels)
    with tempfile.TemporaryDirectory() as scratch:
        runtime = _open(arguments, Path(scratch))
        stop = Stop()
        run = Run(runtime, arguments.learned, labels, stop)
        try:
            for x in itertools.islice(samples or (), arguments.limit):
                run.take(x, time.monotonic())
                time.sleep(arguments.interval)
            run.finish(time.monotonic)
        except KeyboardInterrupt:
            pass
        except (EdgeRuntimeError, OSError):  # an unplugged sensor: what was learned is whole
            run.save()
            raise
        finally:
            stop.restore()
        run.save()


def _open(arguments: argparse.Namespace, scratch: Path) -> EdgeRuntime:
    from edge_runtime.board.deploying import Place, open_deployment

    learned = arguments.learned or scratch / "learned"
    place = Place(arguments.pack, None, learned, scratch / "encoders")
    runtime, source = open_deployment(place, lean=PROFILES[arguments.profile].lean)
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
