"""EdgeRuntime: answer, notice, request labels, learn; the public face of the loop.

    sample -> inputs -> model.answer -> policy.observe -> Prediction
    label  -> memory.add -> model.append -> policy.on_label; later: a fit, a trial

What was learned is `memory`; every model is derived from it (`model`). What to do is decided in
`policy`; files are `state`'s. One lock is around all of it: cameras may share a runtime.
"""

from __future__ import annotations

import copy
import math
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsInt, get_args

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import (
    BudgetError,
    EncoderMismatchError,
    LabelError,
    SampleError,
    StateError,
)
from edge_runtime.inputs.features import FeatureReader, Matrix
from edge_runtime.inputs.sensors import SensorWatch
from edge_runtime.memory.classes import indices_of, plain_label
from edge_runtime.memory.memory import Memory
from edge_runtime.memory.pending import PendingSample, PendingSamples
from edge_runtime.model.derived import DerivedModel
from edge_runtime.model.fitting import FitOptions, FittedModel
from edge_runtime.model.room import least_bytes
from edge_runtime.model.trials import try_new_slot
from edge_runtime.model.upkeep import Upkeep
from edge_runtime.policy.policy import Policy
from edge_runtime.policy.settings import Settings
from edge_runtime.policy.trial import judge
from edge_runtime.records import Answer, Event, Label, Prediction, SlotStatus
from edge_runtime.state import generations, journal, snapshot
from edge_runtime.state.journal import Journal, LostLabels
from hdc.domain.cells import counts_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge_runtime.inputs.encoders.base import Encoder

DEFAULT_BUDGET_BYTES = 32 * 2**20
# More than any board holds: what a forged state asks for is not made.
MOST_DIMS, MOST_UNITS = 2**20, 2**16
# Labels before an alarm that may belong to what it is about.
BEFORE_ALARM = 40
UndoTo = Literal["growth", "factory"]


class EdgeRuntime:
    """Learns from labels on the board, knows what it does not know, and forgets nothing.

    Parameters
    ----------
    encoder : from `open_encoder`; None if samples are features already: a vector, or a mapping
        from tap to vector or number, whose last entry is the embedding.
    classes : labels known beforehand; others join when they first come.
    budget_bytes : promise for everything learned and buffered; see `status()["bytes_by_part"]`.
    random_state : seed; the same seed and stream give the same answers and the same state.
    settings : promises and budgets, see `Settings`.
    n_dims : dimensions of hypervectors.
    adaptor : units of the shared adaptor; None for none.
    pending_samples : how many recent samples can still get their label.
    background : whether models are fitted in a thread, beside the answers; answers are then those
        of the model before, and when a new one is swapped in depends on the machine.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 16)) + 3 * np.eye(16)[np.arange(60) % 2]
    >>> runtime = EdgeRuntime(n_dims=1024)
    >>> _ = runtime.learn_many(X, [["left", "right"][i % 2] for i in range(60)])
    >>> runtime.step(X[0]).label
    'left'
    >>> runtime.step(X[0] * 20).is_ood
    True
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        classes: Sequence[Label] | None = None,
        budget_bytes: int = DEFAULT_BUDGET_BYTES,
        random_state: int = 0,
        *,
        settings: Settings | None = None,
        n_dims: int = 8192,
        adaptor: int | None = 256,
        pending_samples: int = 256,
        background: bool = False,
    ) -> None:
        self.encoder = encoder
        self.settings = settings or Settings()
        self.generation = 0
        self.options: dict[str, Any] = {
            "budget_bytes": int(budget_bytes),
            "random_state": int(random_state),
            "n_dims": int(n_dims),
            "adaptor": None if adaptor is None else int(adaptor),
            "pending_samples": int(pending_samples),
        }
        is_width_known = 64 <= n_dims <= MOST_DIMS and n_dims % 64 == 0
        is_adaptor_known = adaptor is None or 1 <= adaptor <= MOST_UNITS
        if pending_samples < 1 or random_state < 0 or not (is_width_known and is_adaptor_known):
            raise ValueError(
                f"pending_samples {pending_samples}, n_dims {n_dims}, adaptor {adaptor}, "
                f"random_state {random_state}: expected 1 or more, a multiple of 64 up to "
                f"{MOST_DIMS}, 1 to {MOST_UNITS} or None, and 0 or more"
            )
        self._background = background
        self._lock = threading.RLock()
        self._reader = FeatureReader(encoder)
        self._policy = Policy(self.settings)
        self._sensor = SensorWatch()
        self._pending = PendingSamples(pending_samples)
        self._counters = dict.fromkeys(("samples", "labels", "ood", "rejected", "requested"), 0)
        self._memory: Memory | None = None
        self._upkeep: Upkeep | None = None
        self._news: list[Event] = []  # said with the next sample
        self._directory: Path | None = None
        self._has_unsaved = False
        self._before_growth: int | None = None  # the generation before the last growth
        self._journal: Journal | None = None
        self.lost_labels: LostLabels | None = None
        self.damaged: tuple[str, ...] = ()
        _, self.classes = indices_of(classes or (), ())
        if self._reader.n_features:
            self._open()

    # -- parts ------------------------------------------------------------------------------

    def _open(self) -> tuple[Memory, Upkeep]:
        """Memory and models, once the width of a sample is known."""
        if self._memory is None or self._upkeep is None:
            n_features = self._reader.n_features
            needed = self._least_bytes(1, 1)
            if needed > self.options["budget_bytes"]:
                raise BudgetError(
                    f"{n_features} features need {needed} bytes, but budget_bytes is "
                    f"{self.options['budget_bytes']}: raise it, or lower pending_samples or n_dims"
                )
            self._memory = Memory(n_features)
            self._upkeep = Upkeep(self._fit_options(), self._background)
        return self._memory, self._upkeep

    def _fit_options(self) -> FitOptions:
        return FitOptions(
            taps=tuple(self._reader.taps.values()),
            n_dims=self.options["n_dims"],
            hidden=self.options["adaptor"] or 0,
            seed=self.options["random_state"],
            budget_bytes=self.options["budget_bytes"] - self._waiting_bytes,
        )

    def _least_bytes(self, n_cells: int, n_classes: int) -> int:
        """Bytes without which nothing can be learned of so many cells of class and slot."""
        d = self._reader.n_features
        return self._waiting_bytes + least_bytes(d, n_cells, self.options["n_dims"], n_classes)

    @property
    def _waiting_bytes(self) -> int:
        """Bytes of samples that wait for their label, at the most."""
        most: int = 8 * self._reader.n_features * self.options["pending_samples"]
        return most

    @property
    def taps(self) -> Mapping[str, int]:
        """Names and widths of the taps that samples are made of; empty before the first sample."""
        return dict(self._reader.taps)

    @property
    def slots(self) -> Sequence[SlotStatus]:
        """The slots that have labels, oldest first."""
        if self._memory is None:
            return ()
        stated = {} if self._model is None else self._model.stated
        found = []
        for slot, counts in self._memory.counts(len(self.classes)).items():
            accuracy, n = stated.get(slot, (math.nan, 0))
            n_classes = int(np.count_nonzero(counts))
            found.append(SlotStatus(slot, int(counts.sum()), n_classes, accuracy, n))
        return tuple(found)

    @property
    def _model(self) -> DerivedModel | None:
        return None if self._upkeep is None else self._upkeep.model

    # -- samples ----------------------------------------------------------------------------

    def step(self, x: Any, now_s: float | None = None, group: int | None = None) -> Prediction:
        """Answer one sample, and say what it makes the runtime notice.

        Parameters
        ----------
        now_s : time, for the budget of labels in an hour; without it a sample is a second.
        group : number of the scene that the sample belongs to, if the user knows: samples of one
            scene count as one.

        Raises
        ------
        SampleError
            The sample cannot be used; nothing has changed.
        """
        with self._lock:
            features = self._reader.read([x])
            return self._take(x, features[0], self._answers(features)[0], now_s, group)

    def step_many(self, X: Sequence[Any]) -> list[Prediction]:
        """The same as `step` for each sample in order; a bad one refuses them all."""
        if len(X) == 0:
            raise SampleError("an empty batch of samples: is the stream empty?")
        with self._lock:
            features = self._reader.read(X)
            answers = self._answers(features)
            rows = zip(X, features, answers, strict=True)
            return [self._take(raw, x, answer, None, None) for raw, x, answer in rows]

    def run(self, stream: Iterable[Any]) -> Iterator[Prediction | Event]:
        """Answer every sample of a stream; a bad one is counted and answered by an event.

        Yields a `Prediction` for each good sample and a `sample_rejected` event for each bad one.
        """
        for x in stream:
            try:
                yield self.step(x)
            except SampleError as error:
                self._counters["rejected"] += 1
                message = f"A sample could not be used and was skipped: {error}"
                yield Event("sample_rejected", self._pending.next_id, message)

    def peek(self, x: Any) -> Prediction:
        """What `step` would answer; nothing changes, and its id is -1."""
        return self.peek_many([x])[0]

    def peek_many(self, X: Sequence[Any]) -> list[Prediction]:
        """`peek` at many samples at once."""
        if len(X) == 0:
            return []
        with self._lock:
            answers = self._answers(self._reader.read(X))
            return [self._prediction(-1, answer, False, []) for answer in answers]

    def _answers(self, features: Matrix) -> list[Answer]:
        _, upkeep = self._open()
        n = len(self.classes)
        if upkeep.model is None:
            return [Answer(np.full(n, 1 / max(n, 1))) for _ in features]
        return upkeep.model.answer(features, n)

    def _take(
        self, raw: Any, x: Matrix, answer: Answer, now_s: float | None, group: int | None
    ) -> Prediction:
        """Let the policy see one answered sample, and keep it for its label."""
        sample_id = self._pending.next_id
        now = float(sample_id) if now_s is None else now_s
        events, self._news = self._news, []
        events += self._look_at_sensor(raw, x, sample_id)
        wants_label, is_faulty = False, self._sensor.fault is not None
        if not is_faulty:
            noticed, wants_label = self._policy.observe(sample_id, answer, now, group)
            events += noticed
        waiting = PendingSample(
            x.copy(), answer.slot, answer.best, now, group, is_faulty, answer.ood_score
        )
        forgotten = self._pending.add(waiting)
        if forgotten is not None:
            self._policy.forget(forgotten)
        if self._background:
            events += self._tend(sample_id)
        if self._policy.state == "asking" and self._policy.is_last_trial:
            events += self._hold_trial(sample_id)
        self._counters["samples"] += 1
        self._counters["ood"] += answer.p_value <= self.settings.false_alarm_rate
        self._counters["requested"] += wants_label
        return self._prediction(sample_id, answer, wants_label, events)

    def _look_at_sensor(self, raw: Any, x: Matrix, sample_id: int) -> list[Event]:
        """Say once that the sensor is faulty, and once that it works again."""
        was_faulty = self._sensor.fault is not None
        is_raw = self.encoder is not None and not isinstance(raw, Mapping)
        fault = self._sensor.look(np.asarray(raw) if is_raw else x)
        if fault is None or was_faulty:
            is_ok = was_faulty and fault is None
            return [Event("sensor_ok", sample_id, "The sensor works again.")] if is_ok else []
        self._pending.spoil_last(fault.n_samples - 1)
        self._policy.on_sensor_fault()
        evidence = {"fault": fault.kind, "samples": fault.n_samples, "channels": fault.channels}
        message = f"Sensor fault: {fault}. Nothing is learned from it until it works again."
        return [Event("sensor_fault", sample_id, message, None, evidence)]

    def _prediction(
        self, sample_id: int, answer: Answer, wants_label: bool, events: list[Event]
    ) -> Prediction:
        rate = self.settings.false_alarm_rate
        return Prediction(
            sample_id=sample_id,
            label=self.classes[answer.best] if answer.best >= 0 and self.classes else None,
            probabilities=answer.probabilities,
            slot=answer.slot,
            ood_score=answer.ood_score,
            p_value=answer.p_value,
            is_ood=answer.p_value <= rate,
            wants_label=wants_label,
            events=tuple(events),
            threshold=rate,
            generation=self.generation,
        )

    # -- labels -----------------------------------------------------------------------------

    def learn(self, sample_id: int, label: Label) -> list[Event]:
        """Learn the label of a sample seen before; again for the same sample, correct it.

        Returns what came of it.

        Raises
        ------
        LabelError
            The sample was never seen, or is forgotten; nothing has changed.
        """
        with self._lock:
            memory, _ = self._open()
            (k,), classes = indices_of([label], self.classes)
            known = memory.exemplars.find(sample_id)
            if known < 0:
                sample = self._pending.get(sample_id)
                if not self._has_cell(k, sample.slot):
                    self._check_fits(len(classes))
            if known >= 0 and memory.is_settled(known, k):
                return []  # said before: nothing to correct, nothing to save
            self._note(sample_id)
            self.classes = classes
            self._has_unsaved = True
            if known >= 0:
                memory.relabel(known, k)
                return self._tend(sample_id)
            self._counters["labels"] += 1
            if sample.is_faulty:
                message = "The sample came from a faulty sensor: its label is not learned."
                return [Event("sensor_fault", sample_id, message)]
            return self._learn(sample, sample_id, k)

    def _learn(self, sample: PendingSample, sample_id: int, k: int) -> list[Event]:
        memory, upkeep = self._open()
        slot = self._policy.slot if sample.slot is None else sample.slot
        memory.exemplars.add(
            sample.features, k, slot=slot or 0, sample=sample_id, time=sample.time,
            scene=-1 if sample.group is None else sample.group,
        )  # fmt: skip
        self._calibrate(sample, k)
        upkeep.append(memory)
        self._policy.on_label(sample_id, k, sample.predicted == k)
        events = self._tend(sample_id)
        if self._policy.is_trial_due:
            events += self._hold_trial(sample_id)
        return events

    def _calibrate(self, sample: PendingSample, k: int) -> None:
        """Rank later samples against this one too: it was answered before its label came."""
        model, score = self._model, sample.ood_score
        if model is None or score is None or sample.slot is None or self._policy.state == "asking":
            return
        if (k, sample.slot) in model.cells.index:
            model.score.add(score, k, sample.slot)

    def learn_many(
        self,
        X: Sequence[Any],
        labels: Sequence[Label],
        groups: Sequence[int] | None = None,
    ) -> list[Event]:
        """Learn labelled samples in order of arrival, as `step` and `learn` one by one would.

        Before anything is known, they are learned at once.

        Raises
        ------
        LabelError, SampleError
            The lengths differ, or something cannot be used; nothing has changed.
        """
        if len(X) != len(labels) or len(X) == 0:
            raise LabelError(f"{len(X)} samples and {len(labels)} labels: expected as many, > 0")
        if groups is not None and len(groups) != len(X):
            raise LabelError(f"{len(groups)} groups for {len(X)} samples: expected as many")
        with self._lock:
            indices, classes = indices_of(labels, self.classes)
            features = self._reader.read(X)
            memory, upkeep = self._open()
            self._check_fits(len(classes))
            self._note(None, len(indices))
            self.classes, self._has_unsaved = classes, True
            self._counters["labels"] += len(indices)
            events: list[Event] = []
            first = self._pending.next_id
            is_first = upkeep.model is None
            for i, (x, k) in enumerate(zip(features, indices, strict=True)):
                group = None if groups is None else int(groups[i])
                if is_first:
                    scene = -1 if group is None else group
                    memory.exemplars.add(x, k, sample=first + i, time=float(first + i), scene=scene)
                    if i % 256 == 255:
                        events += self._keep_budget(first)
                    continue
                answer = self._answers(x[None])[0]
                noticed, _ = self._policy.observe(first + i, answer, float(first + i), group)
                events += [each for each in noticed if each.kind not in ("ood", "label_request")]
                waiting = PendingSample(
                    x, answer.slot, answer.best, float(first + i), group, False, answer.ood_score
                )
                events += self._learn(waiting, first + i, k)
            self._pending.skip_to(first + len(indices))
            events += self._tend(first, is_now=True)
            if is_first:
                for i, k in enumerate(indices):
                    self._policy.on_label(first + i, k, True)
                events.append(self._started(first))
            return events

    def _started(self, sample_id: int) -> Event:
        memory, upkeep = self._open()
        self._policy.slot = 0
        accuracy, n = upkeep.model.stated.get(0, (math.nan, 0)) if upkeep.model else (math.nan, 0)
        stated = f", cross-validated accuracy {accuracy:.0%} on {n} labels" if n else ""
        n_labels = f"{len(memory)} {'label' if len(memory) == 1 else 'labels'}"
        message = f"Slot 0 was started with {n_labels}{stated}."
        evidence = {"labels": len(memory), "accuracy": accuracy}
        return Event("grown", sample_id, message, 0, evidence)

    def _has_cell(self, k: int, slot: int | None) -> bool:
        """Whether one more label of this class and slot takes no more than a row."""
        return self._model is not None and (k, slot) in self._model.cells.index

    @property
    def _n_cells(self) -> int:
        """Cells of class and slot, at the least those of one slot."""
        known = 0 if self._model is None else len(self._model.cells.classes)
        return max(known, len(self.classes))

    def _check_fits(self, n_classes: int, n_more: int = 1) -> None:
        """Refuse a class that there is no room for, even if all rows had to go."""
        n_new = max(n_classes - len(self.classes), n_more)
        needed = self._least_bytes(self._n_cells + n_new, n_classes)
        if needed > self.options["budget_bytes"]:
            raise BudgetError(
                f"{n_classes} classes of {self._reader.n_features} features need {needed} bytes, "
                f"but budget_bytes is {self.options['budget_bytes']}: raise it, or forget a class"
            )

    # -- upkeep -----------------------------------------------------------------------------

    def _tend(self, sample_id: int, *, is_now: bool = False) -> list[Event]:
        """Keep memory within its bytes, and the model up to date."""
        memory, upkeep = self._open()
        events: list[Event] = []
        for _ in range(2):  # a larger model leaves less room for rows, of which it is made again
            events += self._keep_budget(sample_id)
            fitted = upkeep.tend(memory, len(self.classes), is_now=is_now)
            if fitted is None:
                break
            events += self._on_fitted(fitted, sample_id)
        return events

    def finish_fit(self) -> list[Event]:
        """Wait for a fit that is due or under way, and answer by it; returns what came of it.

        Only with `background=True` is there anything to wait for.
        """
        with self._lock:
            if self._memory is None:
                return []
            return self._tend(self._pending.next_id, is_now=True)

    def _on_fitted(self, fitted: FittedModel, sample_id: int) -> list[Event]:
        memory, _ = self._open()
        self._policy.on_fitted(len(fitted.model.score), fitted.model.reference.chances)
        events = []
        for i in memory.suspect(fitted.judged, fitted.suspects).tolist():
            sample = int(memory.exemplars.samples[i])
            label = self.classes[int(memory.exemplars.labels[i])]
            message = (
                f"The label {label!r} of sample {sample} is suspected of being wrong, and left out "
                "until it is given again: the other labels contradict it."
            )
            slot = int(memory.exemplars.slots[i])
            events.append(Event("label_noise", sample_id, message, slot, {"sample": sample}))
        return events

    def _keep_budget(self, sample_id: int) -> list[Event]:
        memory, _ = self._open()
        done = memory.fit_into(self._room_for_rows())
        if done is None:
            return []
        self._pending.close(done.samples)
        evidence = {"exemplars": len(memory.exemplars), "evicted": len(memory.gone)}
        return [Event("evicted", sample_id, f"Memory is full: {done.message}.", None, evidence)]

    def _room_for_rows(self) -> int:
        """Bytes that exemplars and statistics may take beside all else."""
        others = sum(n for name, n in self.bytes_by_part.items() if name != "exemplars")
        growing = max(0, self._waiting_bytes - self.bytes_by_part["waiting"])
        return int(self.options["budget_bytes"] - others - growing)

    def _hold_trial(self, sample_id: int) -> list[Event]:
        """Compare one model with a new slot on the labels since the drift, and act on it."""
        memory, upkeep = self._open()
        store, policy = memory.exemplars, self._policy
        recent = self._recent_rows()
        if upkeep.model is None or len(recent) < 2:
            return []
        case = try_new_slot(
            store, recent, upkeep.model, tuple(self._reader.taps.values()), len(self.classes),
            policy.is_answered_right, self.options["random_state"],
        )  # fmt: skip
        verdict = judge(case, is_last=policy.is_last_trial)
        upkeep.expire()
        if verdict == "wait":
            policy.on_trial()
            return self._tend(sample_id)
        evidence = {**case._asdict(), "labels": case.n_labels}
        host = int(counts_of(store.slots[recent]).argmax())
        if verdict != "grown":
            policy.on_verdict(verdict, host)
            said = self._verdict_event(verdict, sample_id, host, evidence)
            return [said, *self._tend(sample_id)]
        n_new = len(np.unique(store.labels[recent]))
        needed = self._least_bytes(self._n_cells + n_new, len(self.classes))
        is_full = needed > self.options["budget_bytes"]
        if is_full or len(self.slots) >= self.settings.max_slots:
            policy.on_verdict("no_room", host)
            most = (
                "it has no room in budget_bytes"
                if is_full
                else (f"{self.settings.max_slots} slots are the most")
            )
            message = f"A new slot would help, but {most}."
            said = Event("no_room", sample_id, message, host, evidence)
            return [said, *self._tend(sample_id)]
        return self._grow(sample_id, host, evidence)

    def _recent_rows(self) -> npt.NDArray[np.int64]:
        """Indices of the rows whose labels came since the drift; an eviction changes them."""
        memory, _ = self._open()
        samples = memory.exemplars.column("samples")
        return np.flatnonzero(np.isin(samples, self._policy.requests.sample_ids))

    def _verdict_event(
        self, verdict: str, sample_id: int, slot: int, evidence: Mapping[str, Any]
    ) -> Event:
        now, before = evidence["one_model"], evidence["existing"]
        n = evidence["labels"]
        if verdict == "adapted":
            message = f"Slot {slot} learned {n} labels: held-out accuracy {now:.0%} instead of "
            return Event("adapted", sample_id, message + f"{before:.0%}.", slot, evidence)
        if verdict == "refuted":
            message = f"Labels say that nothing has changed: {before:.0%} of {n} were answered."
            return Event("returned", sample_id, message, slot, evidence)
        message = (
            f"Neither a new slot nor slot {slot} answers better with {n} labels; all are kept."
        )
        return Event("trial_rejected", sample_id, message, slot, evidence)

    def _grow(self, sample_id: int, host: int, evidence: Mapping[str, Any]) -> list[Event]:
        """Give the labels since the drift a slot of their own, and what came just before it."""
        memory, _ = self._open()
        self._save_before_growth()
        new = int(memory.exemplars.column("slots").max(initial=0)) + 1
        memory.move(self._with_those_before(self._recent_rows(), host), new)
        events = self._tend(sample_id)
        self._policy.on_verdict("grown", new)
        message = (
            f"Slot {new} was added: {evidence['labels']} labels are a domain of their own. "
            f"{evidence['nearer']:.0%} of them, held out, are nearer to the others than to slot "
            f"{host}."
        )
        return [*events, Event("grown", sample_id, message, new, evidence)]

    def _with_those_before(self, recent: npt.NDArray[np.int64], host: int) -> npt.NDArray[np.int64]:
        """Rows since a drift, and those just before it that are nearer to them than to the host."""
        memory, upkeep = self._open()
        store, first = memory.exemplars, int(recent.min())
        rows = np.arange(max(first - BEFORE_ALARM, 0), first)
        rows = rows[store.slots[rows] == host]
        if upkeep.model is None or len(rows) == 0:
            return recent
        is_nearer = upkeep.model.is_nearer(
            (store.raw(rows), store.labels[rows].astype(np.int64)),
            (store.raw(recent), store.labels[recent].astype(np.int64)),
            host,
        )
        return np.concatenate([rows[is_nearer], recent])

    def _save_before_growth(self) -> None:
        """Save what can be gone back to; a disk that is full does not keep a slot from growing."""
        if self._directory is None:
            return
        try:
            self._before_growth = self.save(self._directory)
            self._has_unsaved = True
        except OSError as error:
            message = f"the state before growing could not be saved: {error}"
            warnings.warn(message, stacklevel=2)

    # -- edits ------------------------------------------------------------------------------

    def forget(self, sample_id: int | Iterable[int]) -> list[Event]:
        """Forget the label of one sample, or of several: as if they had never been learned.

        Raises
        ------
        LabelError
            One has no label, or its label was evicted into sums, of which only a class or an origin
            can be taken out; nothing has changed.
        """
        with self._lock:
            memory, _ = self._open()
            mask = np.zeros(len(memory.exemplars), np.bool_)
            for each in [sample_id] if isinstance(sample_id, SupportsInt) else sample_id:
                index = memory.exemplars.find(each)
                if index < 0:
                    gone = f"; {len(memory.gone)} labels were evicted" if len(memory.gone) else ""
                    raise LabelError(
                        f"sample {each} has no label that is kept by itself{gone}: a class can be "
                        "forgotten with forget_class"
                    )
                mask[index] = True
            if not mask.any():
                return []
            memory.remove(mask)
            self._has_unsaved = True
            return self._tend(self._pending.next_id)

    def forget_class(self, label: Label, *, purge: bool = False) -> list[Event]:
        """Forget a class: its labels, and what evicted ones left in sums.

        Parameters
        ----------
        purge : delete the saved generations that know it as well.

        Raises
        ------
        LabelError
            There is no such class; nothing has changed.
        """
        with self._lock:
            k = self._index_of(label)
            if self._memory is not None:
                self._memory.remove_class(k)
            self.classes = [each for i, each in enumerate(self.classes) if i != k]
            self._policy.remove_class(k)
            self._pending.remove_class(k)
            self._has_unsaved = True
            events: list[Event] = []
            if self._memory is not None:
                events += self._tend(self._pending.next_id, is_now=True)
            if purge and self._directory is not None:
                newest = self.save(self._directory)
                generations.remove_before(self._directory, newest)
                self._before_growth = None
            return events

    def rename_class(self, old: Label, new: Label) -> None:
        """Give a class another name; where a class has the new one, the two become one.

        Raises
        ------
        LabelError
            There is no such class, or the new name is of another type; nothing has changed.
        """
        with self._lock:
            k, name = self._index_of(old), plain_label(new)
            if type(name) is not type(self.classes[k]):
                raise LabelError(f"{name!r} is no {type(self.classes[k]).__name__}, as labels are")
            self._has_unsaved = True
            if name not in self.classes:
                self.classes = [name if i == k else each for i, each in enumerate(self.classes)]
                return
            if name == self.classes[k]:
                return
            other = self.classes.index(name)
            if self._memory is not None:
                store, gone = self._memory.exemplars, self._memory.gone
                store.labels[store.labels == k] = other
                gone.classes[gone.classes == k] = other
                self._memory.remove_class(k)
            self.classes = [each for i, each in enumerate(self.classes) if i != k]
            self._policy.remove_class(k)
            self._pending.remove_class(k)
            if self._memory is not None:
                self._tend(self._pending.next_id, is_now=True)

    def merge(self, other: EdgeRuntime) -> list[Event]:
        """Take in the exemplars and statistics of another runtime, as if they had been taught here.

        Its slots become slots of their own here. What came from it has an origin, named in the
        event, by which `unmerge` takes it out again.

        Raises
        ------
        StateError
            The other was learned on other taps or another encoder; nothing has changed.
        LabelError
            Its labels are of another type; nothing has changed.
        BudgetError
            Its classes and slots do not fit; nothing has been learned.
        """
        with self._lock, other._lock:
            ours, theirs = (
                snapshot.fingerprint_of(self.encoder),
                snapshot.fingerprint_of(other.encoder),
            )
            if ours != theirs or (self.taps and self.taps != other.taps) or other is self:
                raise StateError(
                    f"taps {dict(other.taps)} of another encoder cannot join {dict(self.taps)}: "
                    "only runtimes on the same encoder and taps can be merged, each with another"
                )
            if other._memory is None:
                return []
            indices, classes = indices_of(other.classes, self.classes)
            if not self.taps:
                self._reader = FeatureReader(self.encoder, dict(other.taps))
            memory, _ = self._open()
            self._check_fits(len(classes), other._n_cells)
            self.classes = classes
            origin = memory.merge(other._memory, np.array(indices, np.int64))
            self._has_unsaved = True
            n = len(other._memory)
            self._counters["labels"] += n
            events = self._tend(self._pending.next_id, is_now=True)
            message = f"{n} labels of another learner were taken in, as origin {origin}."
            evidence = {"labels": n, "origin": origin}
            return [*events, Event("merged", self._pending.next_id, message, None, evidence)]

    def unmerge(self, origin: int) -> list[Event]:
        """Take out what `merge` took in, evicted labels too; classes stay.

        Raises
        ------
        LabelError
            Nothing here is of that origin; nothing has changed.
        """
        with self._lock:
            memory, _ = self._open()
            if origin < 1 or memory.remove_origin(origin) == 0:
                raise LabelError(f"no label here is of origin {origin}")
            self._has_unsaved = True
            return self._tend(self._pending.next_id, is_now=True)

    def _index_of(self, label: Any) -> int:
        name = plain_label(label)
        if name not in self.classes:
            known = ", ".join(repr(each) for each in self.classes[:10]) or "none"
            raise LabelError(f"there is no class {name!r}: known classes are {known}")
        return self.classes.index(name)

    def explain(self, x: Any, n: int = 5) -> list[tuple[int, Label, float]]:
        """The exemplars nearest to a sample: (sample id, label, distance), the nearest first.

        Distances are in the frame: about 1 between samples of different classes.
        """
        with self._lock:
            memory, _ = self._open()
            model, store = self._model, memory.exemplars
            if model is None:
                return []
            features = self._reader.read([x])
            u = model.project(features)
            distances = np.empty(len(store))
            for start in range(0, len(store), 512):
                rows = np.arange(start, min(start + 512, len(store)))
                U = model.project(store.raw(rows))
                distances[rows] = np.sqrt(((U - u) ** 2).sum(axis=1))
            nearest = np.argsort(distances, kind="stable")[:n]
            return [
                (int(store.samples[i]), self.classes[int(store.labels[i])], float(distances[i]))
                for i in nearest.tolist()
            ]

    def suspected_labels(self) -> list[tuple[int, Label]]:
        """Samples whose labels are suspected of being wrong, with these labels."""
        if self._memory is None:
            return []
        store = self._memory.exemplars
        rows = np.flatnonzero(
            (store.column("is_suspect") == 1) & (store.column("is_confirmed") == 0)
        )
        return [(int(store.samples[i]), self.classes[int(store.labels[i])]) for i in rows.tolist()]

    # -- sizes ------------------------------------------------------------------------------

    @property
    def has_unsaved(self) -> bool:
        """Whether anything was learned or edited since the last save."""
        return self._has_unsaved

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned and buffered."""
        return sum(self.bytes_by_part.values())

    @property
    def bytes_by_part(self) -> dict[str, int]:
        """What everything learned and buffered costs, by part."""
        parts = {"exemplars": 0, "frame": 0, "kernel": 0, "adaptor": 0, "prototypes": 0,
                 "calibration": 0, "waiting": self._pending.n_bytes}  # fmt: skip
        if self._memory is not None:
            parts["exemplars"] = self._memory.n_bytes
        if self._model is not None:
            parts |= self._model.bytes_by_part
        return parts

    def status(self) -> Mapping[str, Any]:
        """Slots, bytes, counters and promises, as plain values: what an agent reports."""
        with self._lock:
            drift = self._policy.drift
            memory = self._memory
            return {
                "state": self._policy.state,
                "sensor": None if self._sensor.fault is None else str(self._sensor.fault),
                "generation": self.generation,
                "classes": list(self.classes),
                "bytes": self.n_bytes,
                "bytes_by_part": self.bytes_by_part,
                "budget_bytes": self.options["budget_bytes"],
                "exemplars": 0 if memory is None else len(memory.exemplars),
                "evicted_labels": 0 if memory is None else len(memory.gone),
                "suspected_labels": len(self.suspected_labels()),
                "damaged_generations": list(self.damaged),
                "lost_labels": 0 if self.lost_labels is None else self.lost_labels.count,
                "counters": dict(self._counters),
                "false_alarm_rate": self.settings.false_alarm_rate,
                "drift": {
                    "run_length": self.settings.drift_run_length,
                    "scene_length": round(drift.scene_length, 1),
                    "scenes_since_alarm": drift.n_scenes,
                },
                "current_slot": self._policy.slot,
                "slots": [each._asdict() for each in self.slots],
            }

    # -- disk -------------------------------------------------------------------------------

    def _note(self, sample_id: int | None, n_labels: int = 1) -> None:
        """Write down a label before it is learned; a full disk does not keep it from that."""
        if self._journal is None:
            return
        try:
            self._journal.note(sample_id, n_labels)
        except OSError as error:
            self._journal = None  # until something can be saved again
            warnings.warn(f"labels are no longer noted: {error}", stacklevel=3)

    def save(self, directory: str | Path) -> int:
        """Write everything learned as the next generation in `directory`; return its number.

        After a power cut there is either this generation or the one before, never half of one.
        """
        with self._lock:
            self._directory = Path(directory)
            header, arrays = snapshot.take(self)
            kept_for = () if self._before_growth is None else (self._before_growth,)
            self.generation = generations.save(self._directory, header, arrays, kept_for=kept_for)
            self._has_unsaved = False
            self._journal = Journal(self._directory, self.generation)
            return self.generation

    @classmethod
    def load(
        cls, directory: str | Path, encoder: Encoder | None = None, *, background: bool = False
    ) -> Self:
        """The newest whole generation in `directory`, ready to go on learning.

        Generations that are damaged or do not fit together are named in `damaged` and in a warning,
        and so are labels that came after it was saved: in `lost_labels`, in a warning, and in a
        `labels_lost` event of the next step.

        Raises
        ------
        StateError
            There is no generation that can be read.
        EncoderMismatchError
            It was learned on another encoder, or on other taps.
        """
        runtime = cls._newest(Path(directory), None, encoder, background)
        runtime._say_lost(journal.read(Path(directory), runtime.generation))
        return runtime

    def _say_lost(self, lost: LostLabels | None) -> None:
        self.lost_labels = lost
        if lost is None:
            return
        newest = max(lost.sample_ids, default=-1)
        self._pending.skip_to(min(newest, snapshot.MAX_ID) + 1)
        named = ", ".join(str(each) for each in lost.sample_ids[-journal.NAMED :])
        evidence = {"labels": lost.count, "generation": lost.generation, "ids": named}
        self._news.append(Event("labels_lost", self._pending.next_id, lost.message, None, evidence))
        warnings.warn(lost.message, stacklevel=3)

    @classmethod
    def _newest(
        cls, directory: Path, at_most: int | None, encoder: Encoder | None, background: bool
    ) -> Self:
        """The newest generation that is whole and fits together, no newer than `at_most`."""
        damaged: list[str] = []
        while True:
            try:
                saved = generations.load(directory, at_most)
            except StateError as error:
                found = f"no state to load in {directory}: found {'; '.join(damaged)}"
                raise StateError(found) if damaged else error from None
            damaged += saved.damaged
            try:
                runtime = snapshot.restored(cls, saved, encoder, background)
            except EncoderMismatchError:
                raise
            except StateError as error:
                damaged.append(f"{generations.path_of(directory, saved.number).name}: {error}")
                at_most = saved.number - 1
                continue
            runtime.generation, runtime._directory = saved.number, directory
            runtime._journal = Journal(directory, saved.number)
            runtime.damaged = tuple(damaged)
            for damage in damaged:
                warnings.warn(f"damaged state skipped: {damage}", stacklevel=3)
            return runtime

    def forget_since(
        self, sample_id: int | None = None, *, time_s: float | None = None
    ) -> list[Event]:
        """Forget the labels of this sample and of all later ones: as if they had never come.

        Parameters
        ----------
        time_s : instead of a sample, a time as it was given to `step`; without one, and in
            `learn_many`, a sample's number is its time.

        Raises
        ------
        LabelError
            No label since then is kept by itself; nothing has changed.
        """
        if (sample_id is None) == (time_s is None):
            raise TypeError("give a sample or a time: forget_since(sample_id) or (time_s=...)")
        with self._lock:
            memory, _ = self._open()
            store = memory.exemplars
            own = store.column("origins") == 0
            if time_s is not None:
                mask, what = own & (store.column("times") >= time_s), f"time {time_s:g}"
            else:
                mask, what = own & (store.column("samples") >= sample_id), f"sample {sample_id}"
            if not mask.any():
                raise LabelError(f"no label of {what} or later is kept by itself")
            memory.remove(mask)
            self._has_unsaved = True
            return self._tend(self._pending.next_id, is_now=True)

    def undo(self, n_generations: int = 1, *, to: UndoTo | None = None) -> int:
        """Go back to how things were `n_generations` saves ago; return the new generation.

        What was learned since the last save counts as one. The state gone back to is saved as a new
        generation, so that a restart finds it. Samples that wait for a label go on waiting.

        Parameters
        ----------
        to : "growth" for how things were before the last slot was grown, a generation that is
            saved by itself; "factory" for the first generation, the state as delivered. Both are
            kept however old they are.

        Raises
        ------
        StateError
            Nothing was saved so long ago; nothing has changed.
        """
        with self._lock:
            if to is None:
                target: int | None = self.generation - (n_generations - self._has_unsaved)
            elif to in get_args(UndoTo):
                target = generations.FACTORY if to == "factory" else self._before_growth
            else:
                known = ", ".join(get_args(UndoTo))
                raise ValueError(f"undo to {to!r}, expected one of {known}")
            what = n_generations if to is None else f"to {to}"
            if self._directory is None or n_generations < 1 or target is None or target < 1:
                raise StateError(
                    f"cannot undo {what}: {self.generation} generations were saved"
                    + ("" if self._directory else "; call save(directory) first")
                )
            return self._go_back(self._directory, target, to)

    def _go_back(self, directory: Path, number: int, to: UndoTo | None) -> int:
        restored = self._newest(directory, number, self.encoder, self._background)
        if to is not None and restored.generation != number:
            found = "; ".join(restored.damaged)
            raise StateError(f"generation {number} is gone or damaged: {found}")
        waiting, lock = self._pending, self._lock
        if self._upkeep is not None:
            self._upkeep.forget()
        self.__dict__.update(restored.__dict__)
        waiting.skip_to(restored._pending.next_id)
        waiting.keep_slots({slot.number for slot in restored.slots})
        self._pending, self._lock = waiting, lock
        return self.save(directory)

    # -- copies -----------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        if self.encoder is not None:
            raise TypeError(
                "a runtime with an encoder cannot be copied or pickled, as no inference library "
                "can be: save(directory), and load(directory, encoder) where it is needed"
            )
        if self._upkeep is not None:
            self._upkeep.wait()
        return {k: v for k, v in self.__dict__.items() if k != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.RLock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = type(self).__new__(type(self))
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return made
