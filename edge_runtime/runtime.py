"""EdgeRuntime: predict, notice, ask, learn. The loop, and nothing else.

Samples come in by `step`, labels by `learn`, in any order and as late as the buffer allows. What
to do is decided in `policy`, carried out in `bank`, said in `records`, saved in `state`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_runtime import snapshot, state
from edge_runtime.bank import Answer, SlotBank
from edge_runtime.classes import indices_of
from edge_runtime.errors import LabelError, SampleError, StateError
from edge_runtime.features import FeatureReader, Matrix
from edge_runtime.growth import MAX_COLLECTED, Growth, grown_event
from edge_runtime.pending import PendingSample, PendingSamples
from edge_runtime.policy import Policy, PolicySettings
from edge_runtime.records import Event, Label, Prediction
from edge_runtime.slots import Slot, SlotSettings

if TYPE_CHECKING:
    from edge_runtime.encoders.base import Encoder

DEFAULT_BUDGET_BYTES = 32 * 2**20


class EdgeRuntime:
    """Learns from labels on the board, knows what it does not know, and forgets nothing.

    Parameters
    ----------
    encoder : from `open_encoder`; None if samples are features already: a vector, or a mapping
        from tap to vector whose last entry is the embedding.
    classes : labels known beforehand; others join when they first come.
    budget_bytes : promise for everything learned and buffered; see `status()["bytes"]`.
    random_state : seed; the same seed and stream give the same answers and the same state.
    policy : every threshold, see `PolicySettings`.
    n_dims, rank, hidden : size of hypervectors, of each slot's whitening, and of its adaptor.
    pending_samples : how many recent samples can still get their label.
    max_slots : how many domains can be known at once.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 16)) + 3 * np.eye(16)[np.arange(100) % 2]
    >>> runtime = EdgeRuntime(n_dims=1024)
    >>> for i, x in enumerate(X):
    ...     prediction = runtime.step(x)
    ...     _ = runtime.learn(prediction.sample_id, ["left", "right"][i % 2])
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
        policy: PolicySettings | None = None,
        n_dims: int = 8192,
        rank: int = 128,
        hidden: tuple[int, ...] = (128,),
        pending_samples: int = 256,
        max_slots: int = 16,
    ) -> None:
        self.encoder = encoder
        self.generation = 0
        self.options: dict[str, Any] = {
            "budget_bytes": budget_bytes,
            "random_state": random_state,
            "n_dims": n_dims,
            "rank": rank,
            "hidden": tuple(hidden),
            "pending_samples": pending_samples,
            "max_slots": max_slots,
        }
        self._reader = FeatureReader(encoder)
        self._policy = Policy(policy or PolicySettings())
        self._pending = PendingSamples(pending_samples)
        self._counters = dict.fromkeys(("samples", "labels", "strange", "rejected", "asked"), 0)
        self._bank: SlotBank | None = None
        self._growth = Growth(self._policy)
        self._directory: Path | None = None
        self._has_unsaved = False
        self.damaged: tuple[str, ...] = ()
        _, self.classes = indices_of(classes or (), ())
        if self._reader.n_features:
            self._open_bank()

    # -- samples ----------------------------------------------------------------------------

    def step(self, x: Any) -> Prediction:
        """Predict one sample, and say what it makes the runtime notice.

        Raises
        ------
        SampleError
            The sample cannot be used; nothing has changed.
        """
        return self._take([x])[0]

    def step_many(self, X: Sequence[Any]) -> list[Prediction]:
        """The same as `step` for each sample in order, faster; a bad one refuses them all."""
        if len(X) == 0:
            raise SampleError("an empty batch of samples: is the stream empty?")
        return self._take(X)

    def run(self, stream: Iterable[Any]) -> Iterator[Prediction | Event]:
        """Predict every sample of a stream; a bad one is counted and answered by an event.

        Yields a `Prediction` for each good sample and a `rejected` event for each bad one.
        """
        for x in stream:
            try:
                yield self.step(x)
            except SampleError as error:
                self._counters["rejected"] += 1
                yield Event("rejected", self._pending.next_id, f"bad sample skipped: {error}")

    def peek(self, x: Any) -> Prediction:
        """What `step` would answer, without taking notice: nothing changes, its id is -1."""
        return self.peek_many([x])[0]

    def peek_many(self, X: Sequence[Any]) -> list[Prediction]:
        """`peek` at many samples at once."""
        return [self._prediction(-1, answer, False, []) for answer in self._read(X)[1]]

    def _take(self, X: Sequence[Any]) -> list[Prediction]:
        features, answers = self._read(X)
        return [self._take_row(x, answer) for x, answer in zip(features, answers, strict=True)]

    def _read(self, X: Sequence[Any]) -> tuple[Matrix, list[Answer]]:
        features = self._reader.read(X)
        return features, self.bank.answer(features, len(self.classes))

    def _take_row(self, x: Matrix, answer: Answer) -> Prediction:
        """Let the policy see one answered sample, and keep it for its label."""
        sample_id = self._pending.next_id
        events, wants_label = self._policy.observe(sample_id, answer, self._growth.seems(x, answer))
        pending = PendingSample(x.copy(), answer.slot, answer.best)
        forgotten = self._pending.add(pending)
        if forgotten is not None:
            self._policy.forget(forgotten)
        events += self._growth.tend(self.bank, sample_id)
        self._counters["samples"] += 1
        self._counters["strange"] += answer.p_value <= self._policy.settings.false_alarm_rate
        self._counters["asked"] += wants_label
        return self._prediction(sample_id, answer, wants_label, events)

    def _prediction(
        self, sample_id: int, answer: Answer, wants_label: bool, events: list[Event]
    ) -> Prediction:
        threshold = self._policy.settings.false_alarm_rate
        return Prediction(
            sample_id=sample_id,
            label=self.classes[answer.best] if answer.best >= 0 else None,
            probabilities=answer.probabilities,
            slot=answer.slot,
            ood_score=answer.ood_score,
            p_value=answer.p_value,
            is_ood=answer.p_value <= threshold,
            wants_label=wants_label,
            events=tuple(events),
            threshold=threshold,
            generation=self.generation,
        )

    # -- labels -----------------------------------------------------------------------------

    def learn(self, sample_id: int, label: Label) -> list[Event]:
        """Learn the label of a sample seen before, and return what came of it.

        Raises
        ------
        LabelError
            The sample was never seen, is forgotten, or has had its label; nothing has changed.
        """
        sample = self._pending.get(sample_id)
        (k,), self.classes = indices_of([label], self.classes)
        self._pending.remove(sample_id)
        self._counters["labels"] += 1
        self._has_unsaved = True
        use = self._policy.on_label(sample_id, k)
        if use == "learn" or not self._growth.collect(sample, k):
            self._learn_in_slot(sample, k)
            return []
        return self._growth.decide(self.bank, sample_id) if use == "decide" else []

    def learn_many(self, X: Sequence[Any], labels: Sequence[Label]) -> list[Event]:
        """Learn a labelled batch of one domain at once: the first domain, or a new one.

        The first batch becomes the first slot. A later one is put on trial as a drift's labels
        are: a new slot is grown only if held-out labels say that it helps.
        """
        if len(X) != len(labels) or len(X) == 0:
            raise LabelError(f"{len(X)} samples and {len(labels)} labels: expected as many, > 0")
        indices, classes = indices_of(labels, self.classes)
        features, y = self._reader.read(X), np.array(indices)
        bank, self.classes = self.bank, classes
        self._counters["labels"] += len(y)
        self._has_unsaved = True
        sample_id = self._pending.next_id
        if bank.slots:
            answers = bank.answer(features, len(classes))
            answered = np.array([(answer.best, answer.slot or 0) for answer in answers])
            return self._growth.put_on_trial(bank, features, y, answered, sample_id)
        slot = bank.new_slot().start(features, y)
        bank.add(slot)
        bank.trim()
        self._policy.on_calibrated(len(slot.calibration), slot.number)
        return [grown_event(slot, None, sample_id)]

    def _learn_in_slot(self, sample: PendingSample, k: int) -> None:
        if not self.bank.slots:
            self.bank.add(self.bank.new_slot())
        slot = self.bank.get(sample.slot) if sample.slot is not None else self.bank.slots[0]
        slot.learn(sample.features, k)
        self.bank.trim()
        self._policy.on_calibrated(len(slot.calibration), slot.number)

    # -- parts ------------------------------------------------------------------------------

    @property
    def bank(self) -> SlotBank:
        """The slots and what they share; opened when the width of a sample is known."""
        return self._bank or self._open_bank()

    @property
    def slots(self) -> Sequence[Slot]:
        """The slots, oldest first."""
        return tuple(self._bank.slots) if self._bank is not None else ()

    @property
    def taps(self) -> Mapping[str, int]:
        """Names and widths of the taps that samples are made of; empty before the first sample."""
        return dict(self._reader.taps)

    @property
    def policy_settings(self) -> PolicySettings:
        """Every threshold in force."""
        return self._policy.settings

    def _open_bank(self) -> SlotBank:
        sizes = {name: self.options[name] for name in ("n_dims", "rank", "hidden")}
        self._bank = SlotBank(
            SlotSettings(tuple(self._reader.taps.values()), **sizes),
            budget_bytes=self.options["budget_bytes"] - self._reserved_bytes,
            max_slots=self.options["max_slots"],
            seed=self.options["random_state"],
        )
        return self._bank

    # -- state ------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> int:
        """Write everything learned as the next generation in `directory`; return its number.

        After a power cut there is either this generation or the one before, never half of one.
        """
        self._directory = Path(directory)
        header, arrays = snapshot.take(self)
        self.generation = state.save(self._directory, header, arrays)
        self._has_unsaved = False
        return self.generation

    @classmethod
    def load(cls, directory: str | Path, encoder: Encoder | None = None) -> EdgeRuntime:
        """The newest whole generation in `directory`, ready to go on learning.

        Damaged generations are named in `damaged` and in a warning.

        Raises
        ------
        StateError
            There is no generation that can be read.
        EncoderMismatchError
            It was learned on another encoder, or on other taps.
        """
        return cls._from_generation(state.load(Path(directory)), Path(directory), encoder)

    @classmethod
    def _from_generation(
        cls, saved: state.Generation, directory: Path, encoder: Encoder | None
    ) -> EdgeRuntime:
        snapshot.check(saved.header, encoder)
        try:
            policy = snapshot.settings_of(saved.header)
            options = {
                **saved.header["options"],
                "hidden": tuple(saved.header["options"]["hidden"]),
            }
            runtime = cls(encoder, saved.header["classes"], policy=policy, **options)
            if encoder is None and saved.header["taps"]:
                runtime._reader = FeatureReader(None, dict(saved.header["taps"]))
            for slot in snapshot.restore_slots(runtime, saved.header, saved.arrays):
                runtime.bank.add(slot)
            runtime.progress = saved.header["progress"]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"generation {saved.number} does not fit together: {error}") from error
        runtime.generation, runtime._directory = saved.number, directory
        runtime.damaged = saved.damaged
        for damage in saved.damaged:
            warnings.warn(f"damaged state skipped: {damage}", stacklevel=3)
        return runtime

    def undo(self, n_generations: int = 1) -> int:
        """Go back to how things were `n_generations` saves ago; return the new generation.

        What was learned since the last save counts as one. The state gone back to is saved as a
        new generation, so that a restart finds it, and the undone ones stay until they age out.

        Raises
        ------
        StateError
            Nothing was saved so long ago; nothing has changed.
        """
        steps = n_generations - self._has_unsaved
        if self._directory is None or n_generations < 1 or self.generation - steps < 1:
            raise StateError(
                f"cannot undo {n_generations}: {self.generation} generations were saved"
                + ("" if self._directory else "; call save(directory) first")
            )
        saved_directory = self._directory
        saved = state.load(saved_directory, at_most=self.generation - steps)
        restored = self._from_generation(saved, saved_directory, self.encoder)
        next_id = self._pending.next_id
        self.__dict__.update(restored.__dict__)
        self._pending.skip_to(next_id)
        return self.save(saved_directory)

    @property
    def progress(self) -> dict[str, Any]:
        """Counters and where the stream is: the part of the state that is no array."""
        return {
            "counters": dict(self._counters),
            "next_id": self._pending.next_id,
            "is_learning": self._policy.state == "learning",
            "slot": self._policy.slot,
        }

    @progress.setter
    def progress(self, saved: Mapping[str, Any]) -> None:
        self._counters = {name: int(saved["counters"][name]) for name in self._counters}
        self._pending.skip_to(int(saved["next_id"]))
        if not saved["is_learning"]:
            self._policy.resume(saved["slot"])

    # -- status -----------------------------------------------------------------------------

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned and buffered."""
        slots = self._bank.n_bytes if self._bank is not None else 0
        return self._pending.n_bytes + self._growth.n_bytes + slots

    @property
    def _reserved_bytes(self) -> int:
        """Bytes that samples waiting for a label, and labels for a trial, may come to need."""
        waiting = 4 * self.options["pending_samples"] + 2 * MAX_COLLECTED
        return int(self._reader.n_features * waiting)

    def status(self) -> Mapping[str, Any]:
        """Slots, bytes, counters and calibration, as plain values: what an agent reports."""
        return {
            "state": self._policy.state,
            "generation": self.generation,
            "classes": list(self.classes),
            "bytes": self.n_bytes,
            "budget_bytes": self.options["budget_bytes"],
            "damaged_generations": list(self.damaged),
            "counters": dict(self._counters),
            "false_alarm_rate": self._policy.settings.false_alarm_rate,
            "current_slot": self._policy.slot,
            "slots": [
                {
                    "slot": slot.number,
                    "labels": slot.n_labels,
                    "classes": int(np.count_nonzero(slot.domain.counts)),
                    "adaptor": slot.adaptor is not None,
                    "calibration_scores": len(slot.calibration),
                    "cross_accuracy": slot.cross_accuracy,
                    "bytes": slot.n_bytes,
                }
                for slot in self.slots
            ],
        }
