"""A runtime at somebody's service: samples and commands in, answers and news out.

Runs in the process that holds the encoder. Time is an argument; files are the learned state and
what a host may read. Not here: processes, sockets, threads (`worker`), the wire (`agent`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast, get_args

import numpy as np

from edge_runtime.board.capture import MAX_CAPTURED, Captured, CommandError
from edge_runtime.board.files import Files
from edge_runtime.board.wear import BYTES_PER_HOUR, SAVE_S, SavePlan
from edge_runtime.errors import EdgeRuntimeError, LabelError
from edge_runtime.records import Event, Label, Prediction
from edge_runtime.runtime import EdgeRuntime, UndoTo
from edge_runtime.state import generations

MAX_NEWS: Final = 1000  # rows, events: what is not fetched in time is counted as lost


@dataclass(frozen=True)
class ServiceSettings:
    """Bounds of what a host may ask for.

    Attributes
    ----------
    capture_bytes
        Raw samples that may be kept for a host that asks; 0: none ever are.
    save_s, write_bytes
        See `wear.SavePlan`.
    """

    save_s: float = SAVE_S
    capture_bytes: int = 0
    write_bytes: int = BYTES_PER_HOUR


class RuntimeService:
    """One deployment's runtime, its learned state, and what hosts ask of them.

    Parameters
    ----------
    learned
        Directory of its generations.
    shared
        Where files for hosts go.
    """

    def __init__(
        self, runtime: EdgeRuntime, learned: Path, shared: Files, settings: ServiceSettings
    ) -> None:
        self._runtime, self._learned, self._shared = runtime, learned, shared
        self._settings = settings
        self._captured = Captured(settings.capture_bytes)
        self._predicted: OrderedDict[int, Label | None] = OrderedDict()
        self._n_judged = self._n_right = 0
        self._seen = -1
        self._plan = SavePlan(settings.save_s, settings.write_bytes)
        self.load: Callable[[], dict[str, Any]] = dict  # of whoever brings samples
        self._events: list[dict[str, Any]] = []
        self._rows: list[list[float]] = []
        self._wanted: list[dict[str, Any]] = []
        self._settled: list[int] = []
        self.stream = "none"
        self._commands: Mapping[str, Callable[[Mapping[str, Any], float], dict[str, Any]]] = {
            "labels": self._labels,
            "undo": self._undo,
            "capture": self._capture,
            "pull": self._pull,
            "save": self._save,
        }

    # -- samples ----------------------------------------------------------------------------

    def take(self, x: Any, started_s: float, clock: Callable[[], float]) -> None:
        """Answer one sample of the stream; a bad one becomes an event."""
        answer = next(self._runtime.run([x]))
        if isinstance(answer, Event):
            self._note(answer)
            return
        self._remember(answer)
        for event in answer.events:
            self._note(event)
        if (answer.is_ood or answer.wants_label) and self._captured.offer(answer.sample_id, x):
            self._share("capture.npz", self._captured.all())
        if answer.wants_label:
            self._wanted.append(_wanted(answer))
        if len(self._rows) < MAX_NEWS:
            self._rows.append(_row(answer, started_s, clock() - started_s))

    def _remember(self, answer: Prediction) -> None:
        self._seen = answer.sample_id
        self._predicted[answer.sample_id] = answer.label
        while len(self._predicted) > self._runtime.options["pending_samples"]:
            self._predicted.popitem(last=False)

    def _note(self, event: Event) -> None:
        if len(self._events) < MAX_NEWS:
            evidence = {name: _plain(value) for name, value in event.evidence.items()}
            self._events.append({**asdict(event), "evidence": evidence})

    def say(self, kind: str, message: str) -> None:
        """Add an event of the service's own."""
        self._events.append(
            {"kind": kind, "sample_id": -1, "message": message, "slot": None, "evidence": {}}
        )

    # -- commands ---------------------------------------------------------------------------

    def do(self, command: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        """Carry out one command; what cannot be is said in ``error``, and nothing has changed."""
        handler = self._commands.get(str(command.get("do")))
        if handler is None:
            return {"error": f"no command {command.get('do')!r}"}
        try:
            return handler(command, now_s)
        except (EdgeRuntimeError, OSError) as error:
            return {"error": str(error)}

    def _labels(self, command: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        refused: list[dict[str, Any]] = []
        accepted = 0
        for sample, label in command["labels"]:
            try:
                events = self._runtime.learn(sample, label)
            except LabelError as error:
                refused.append({"sample": sample, "reason": str(error)})
                self._settled.append(sample)
                continue
            accepted += 1
            self._judge(sample, label)
            self._settled.append(sample)
            for event in events:
                self._note(event)
        if accepted and self._runtime.has_unsaved:
            self._plan.changed(now_s)
        return {"accepted": accepted, "refused": refused}

    def _judge(self, sample: int, label: Label) -> None:
        if sample in self._predicted:
            self._n_judged += 1
            self._n_right += self._predicted.pop(sample) == label

    def _undo(self, command: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        to = command.get("to")
        if to is not None:
            return self._undo_to(str(to), now_s)
        target = int(command["generation"])
        kept = self._generations()
        if target not in kept:
            raise CommandError(f"generation {target} is not kept; there are {kept}")
        if self._plan.is_pending:
            # What is undone becomes a generation too: an undo can be undone.
            self._save({}, now_s)
        steps = self._runtime.generation - target
        if steps:
            self._runtime.undo(steps)
            self._plan.saved(self._newest_bytes(), now_s)
        self.say("undone", f"back to generation {target}, now {self._runtime.generation}")
        return {"generation": self._runtime.generation}

    def _undo_to(self, to: str, now_s: float) -> dict[str, Any]:
        if to not in get_args(UndoTo):
            raise CommandError(f"undo to {to[:40]!r}, expected {' or '.join(get_args(UndoTo))}")
        self._runtime.undo(to=cast(UndoTo, to))
        self._plan.saved(self._newest_bytes(), now_s)  # undo saves what it goes back to
        self.say("undone", f"back to {to}, now generation {self._runtime.generation}")
        return {"generation": self._runtime.generation}

    def _capture(self, command: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        samples = int(command["samples"])
        if not self._settings.capture_bytes:
            raise CommandError("capture is off on this board: start the agent with --capture-mb")
        if not 0 <= samples <= MAX_CAPTURED:
            raise CommandError(f"{samples} samples, expected 0 to {MAX_CAPTURED}")
        self._captured.wanted = samples
        if samples == 0:
            self._share("capture.npz", self._captured.all())
        return {"name": "capture.npz"}

    def _pull(self, command: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        what = str(command["what"])
        if what == "state":
            if self._plan.is_pending or not self._generations():
                self._save({}, now_s)
            name, data = "state.edge", self._newest()
        elif what == "capture":
            name, data = "capture.npz", self._captured.all()
        elif what.startswith("sample-") and what[7:].isdecimal() and len(what) < 20:
            name, data = f"{what}.npy", self._captured.one(int(what[7:]))
        else:
            raise CommandError(f"no {what[:40]!r} here: state, capture, sample-<id>, log, status")
        self._share(name, data)
        return {"name": name, "len": len(data), "sha": hashlib.sha256(data).hexdigest()}

    def _newest(self) -> bytes:
        saved = generations.load(self._learned)
        return generations.path_of(self._learned, saved.number).read_bytes()

    def _share(self, name: str, data: bytes) -> None:
        """A file for hosts: whole or not there; it need not survive a power cut."""
        for old in self._shared.names():
            if old.startswith("sample-"):
                self._shared.remove(old)
        self._shared.write(f"{name}.part", data)
        self._shared.rename(f"{name}.part", name)

    # -- learned state ----------------------------------------------------------------------

    def _save(self, command: Mapping[str, Any], now_s: float) -> dict[str, Any]:
        if self._runtime.slots or self._plan.is_pending:
            self._runtime.save(self._learned)
            self._plan.saved(self._newest_bytes(), now_s)
        return {"generation": self._runtime.generation}

    def tend(self, now_s: float) -> None:
        """Save when it is time; a full disk is reported and tried again."""
        if not self._plan.is_due(now_s):
            return
        try:
            self._save({}, now_s)
        except OSError as error:
            self._plan.failed(now_s)
            self.say("unsaved", f"learned state cannot be saved, trying again: {error}")

    def _newest_bytes(self) -> int:
        kept = self._generations()
        return generations.path_of(self._learned, kept[-1]).stat().st_size if kept else 0

    def _generations(self) -> list[int]:
        return generations.numbers(self._learned) if self._learned.is_dir() else []

    # -- news -------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """`EdgeRuntime.status` and what the service adds."""
        return {
            **self._runtime.status(),
            "generations": self._generations(),
            "unsaved": self._plan.is_pending,
            "written": self._plan.status(),
            "load": self.load(),
            "judged": self._n_judged,
            "right": self._n_right,
            "stream": self.stream,
            "capture": self._captured.status(),
        }

    def news(self) -> dict[str, Any]:
        """What has happened since the last call."""
        news = {
            "events": self._events,
            "rows": self._rows,
            "wanted": self._wanted,
            "settled": self._settled,
            "oldest": self._seen + 1 - self._runtime.options["pending_samples"],
        }
        self._events, self._rows, self._wanted, self._settled = [], [], [], []
        return news


def _wanted(answer: Prediction) -> dict[str, Any]:
    return {
        "sample": answer.sample_id,
        "p_value": float(answer.p_value),
        "label": _plain(answer.label),
        "slot": answer.slot,
    }


def _row(answer: Prediction, started_s: float, took_s: float) -> list[float]:
    score = answer.ood_score if np.isfinite(answer.ood_score) else 0.0
    slot = -1 if answer.slot is None else answer.slot
    return [
        answer.sample_id, round(started_s, 3), round(float(answer.p_value), 5),
        round(float(score), 4), float(answer.is_ood), float(answer.wants_label),
        slot, answer.generation, round(took_s * 1000, 3),
    ]  # fmt: skip


def _plain(value: Any) -> Any:
    """What JSON and CBOR know: NumPy's numbers become Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)[:40]
