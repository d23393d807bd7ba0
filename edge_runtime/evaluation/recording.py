"""The record of one run over a stream: what was answered, what was noticed, what it cost.

Arrays have one entry for each sample that was answered; a bad sample has none, only its
`sample_rejected` event. `to_dict` is plain JSON, `from_dict` refuses what does not fit together.
Not here: how a run comes about (`prequential`), the numbers of several runs (`figures`), files,
pictures. Loads no learner.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import StreamError
from edge_runtime.evaluation.checkpoints import MAX_CHECKPOINTS, Checkpoint, from_plain
from edge_runtime.records import EVENT_KINDS, Event, Label

KIND, VERSION = "edge-runtime run", 3

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# The arrays that every run has, and what they are made of.
COLUMNS: Final[Mapping[str, type[np.generic]]] = {
    "index": np.int64,
    "domain": np.int64,
    "true_class": np.int64,
    "is_correct": np.bool_,
    "is_ood": np.bool_,
    "p_value": np.float64,
    "slot": np.int64,
    "is_requested": np.bool_,
    "is_learned": np.bool_,
}


class LabelUse(NamedTuple):
    """Labels that were learned: all of them, and those of the class that had most."""

    total: int
    most_per_class: int


@dataclass(frozen=True)
class Change:
    """A change of domain; `delay` counts samples up to the one that noticed, None if none did."""

    index: int
    before: str
    after: str
    delay: int | None


@dataclass(frozen=True)
class LoggedEvent:
    """An event, the stream index at which it came, and how long the call took that brought it."""

    index: int
    event: Event
    seconds: float | None


@dataclass(frozen=True, eq=False)
class Run:
    """One run over a stream.

    Attributes
    ----------
    index : (n,) position in the stream, ascending; bad samples leave gaps.
    domain, true_class : (n,) index into `domain_names` and `class_names`.
    is_correct, is_ood, p_value, slot : (n,) the prediction, made before the label was learned;
        slot -1 is none.
    is_requested, is_learned : (n,) whether the runtime wanted the label, and whether it learned it.
    seconds : (n,) of each step; None without a clock.
    events : from steps and from labels, in order.
    n_rejected : bad samples.
    n_refused_labels : labels that came when their sample was forgotten; each has its event.
    threshold : the promised false-alarm rate; 0 if nothing was answered.
    checkpoints : answers to probes, wherever a domain ended; none without probes.
    """

    index: Ints
    domain: Ints
    true_class: Ints
    is_correct: Flags
    is_ood: Flags
    p_value: Floats
    slot: Ints
    is_requested: Flags
    is_learned: Flags
    seconds: Floats | None
    domain_names: tuple[str, ...]
    class_names: tuple[Label, ...]
    events: tuple[LoggedEvent, ...]
    n_rejected: int
    n_refused_labels: int
    threshold: float
    checkpoints: tuple[Checkpoint, ...] = ()

    def accuracy(self, domain: str | None = None) -> float:
        """Share of samples answered correctly; NaN if there are none."""
        return _mean(self.is_correct[self._rows_of(domain)])

    def alarm_rate(self, domain: str | None = None) -> float:
        """Share of samples called out of distribution; NaN if there are none."""
        return _mean(self.is_ood[self._rows_of(domain)])

    def labels_used(self, domain: str | None = None) -> LabelUse:
        """Labels that the runtime learned."""
        labels = self.true_class[self.is_learned & self._rows_of(domain)].astype(np.intp)
        counts = np.bincount(labels, minlength=1)
        return LabelUse(int(counts.sum()), int(counts.max()))

    def detection_delays(self) -> list[Change]:
        """Every change of domain, and when the first `drift` or `returned` event answered it.

        A delay of 1 means that the first sample of the new domain was enough; None that no such
        event came before the next change.
        """
        starts = np.flatnonzero(np.diff(self.domain)) + 1
        bounds = pairwise([*self.index[starts].tolist(), math.inf])
        noticed = [each.index for each in self.events if each.event.kind in ("drift", "returned")]
        changes = []
        for row, (begin, end) in zip(starts, bounds, strict=True):
            answers = [index for index in noticed if begin <= index < end]
            before, after = (self.domain_names[self.domain[each]] for each in (row - 1, row))
            delay = answers[0] - int(begin) + 1 if answers else None
            changes.append(Change(int(begin), before, after, delay))
        return changes

    def false_alarms(self) -> int:
        """Count `drift` events that no change of domain explains.

        Of each stretch of one domain the first event answers the change that began it; before the
        first change there is nothing to answer.
        """
        starts = self.index[np.flatnonzero(np.diff(self.domain)) + 1]
        alarms = [each.index for each in self.events if each.event.kind == "drift"]
        stretches = np.searchsorted(starts, alarms, side="right")
        return len(alarms) - len(set(stretches.tolist()) - {0})

    def home_of_slots(self) -> dict[int, str]:
        """Return slot -> the domain in which it was grown; the first one's for all others."""
        home: dict[int, str] = {}
        for each in self.events:
            if each.event.kind == "grown" and each.event.slot is not None:
                row = max(int(self.index.searchsorted(each.index, side="right")) - 1, 0)
                home.setdefault(each.event.slot, self.domain_names[self.domain[row]])
        answered = set(self.slot.tolist()) - {-1}
        for taken in self.checkpoints:
            answered |= {slot for counts in taken.slots.values() for slot in counts if slot >= 0}
        first = self.domain_names[0] if self.domain_names else ""
        return {slot: home.get(slot, first) for slot in sorted(answered | set(home))}

    def _rows_of(self, domain: str | None) -> Flags:
        if domain is None:
            return np.ones(len(self.domain), dtype=np.bool_)
        if domain not in self.domain_names:
            known = ", ".join(map(repr, self.domain_names))
            raise ValueError(f"no domain {domain!r} in this run, expected one of {known}")
        rows: Flags = self.domain == self.domain_names.index(domain)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, from which `from_dict` makes the same run."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        events = [
            {"index": each.index, "seconds": each.seconds, **asdict(each.event)}
            for each in self.events
        ]
        header = {"kind": KIND, "version": VERSION}
        taken = [asdict(each) for each in self.checkpoints]
        plain: dict[str, Any] = _plain({**header, **values, "events": events, "checkpoints": taken})
        return plain

    @classmethod
    def from_dict(cls, recorded: Mapping[str, Any]) -> Run:
        """Make the run again that `to_dict` wrote.

        Raises
        ------
        StreamError
            It is no such run: says what was found and what was expected.
        """
        try:
            found = recorded["kind"], recorded["version"]
            if found != (KIND, VERSION):
                raise StreamError(
                    f"{found[0]!r} version {found[1]!r}, expected {KIND!r} version {VERSION}: "
                    "was it written by another release?"
                )
            run = cls(
                **{name: _column(recorded[name], kind) for name, kind in COLUMNS.items()},
                seconds=_seconds(recorded["seconds"]),
                domain_names=tuple(map(str, recorded["domain_names"])),
                class_names=tuple(recorded["class_names"]),
                events=tuple(map(_event, recorded["events"])),
                n_rejected=int(recorded["n_rejected"]),
                n_refused_labels=int(recorded["n_refused_labels"]),
                threshold=float(recorded["threshold"]),
                checkpoints=_checkpoints(recorded),
            )
            _check(run)
        except KeyError as error:
            raise StreamError(f"a recorded run without {error}: is it cut off?") from error
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise StreamError(f"not a recorded run: {error}") from error
        return run


def _mean(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else math.nan


def _plain(value: Any) -> Any:
    """Use only types that JSON has; NaN and infinity, which it has not, become None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)


def _column(values: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    array = np.array(values, dtype=dtype if len(values) == 0 else None)
    if array.ndim != 1 or not np.can_cast(array.dtype, dtype, "safe"):
        raise StreamError(f"a column has dtype {array.dtype}, expected {dtype.__name__}")
    return array.astype(dtype)


def _seconds(values: Any) -> Floats | None:
    return None if values is None else _column(values, np.float64)


def _checkpoints(recorded: Mapping[str, Any]) -> tuple[Checkpoint, ...]:
    entries = recorded["checkpoints"]
    if len(entries) > MAX_CHECKPOINTS:
        raise StreamError(f"{len(entries)} checkpoints, expected at most {MAX_CHECKPOINTS}")
    taken = tuple(map(from_plain, entries))
    if any(set(each.accuracy) != set(taken[0].accuracy) for each in taken):
        raise StreamError("checkpoints of different probes: are they of one run?")
    return taken


def _event(entry: Mapping[str, Any]) -> LoggedEvent:
    if entry["kind"] not in EVENT_KINDS:
        raise StreamError(f"event {entry['kind']!r}, expected one of {', '.join(EVENT_KINDS)}")
    slot, seconds = entry["slot"], entry["seconds"]
    event = Event(
        kind=entry["kind"],
        sample_id=int(entry["sample_id"]),
        message=str(entry["message"]),
        slot=None if slot is None else int(slot),
        evidence=dict(entry["evidence"]),
    )
    return LoggedEvent(int(entry["index"]), event, None if seconds is None else float(seconds))


def _check(run: Run) -> None:
    n = len(run.index)
    columns = [getattr(run, name) for name in COLUMNS]
    columns += [run.seconds] if run.seconds is not None else []
    if any(len(column) != n for column in columns):
        raise StreamError(f"columns of lengths {[len(each) for each in columns]}, expected as long")
    if not all(np.isfinite(each).all() for each in columns) or not 0 <= run.threshold < 1:
        raise StreamError("a number is not finite, or the threshold is no rate")
    if (np.diff(run.index, prepend=-1) < 1).any():
        raise StreamError("index does not ascend from 0")
    for numbers, names in ((run.domain, run.domain_names), (run.true_class, run.class_names)):
        if n and (numbers.min() < 0 or numbers.max() >= len(names)):
            raise StreamError(f"a column holds an index beyond its {len(names)} names")
