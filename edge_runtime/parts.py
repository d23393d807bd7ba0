"""What a runtime is made of: reader, bank, policy, pending samples; what they cost and report.

The base of `EdgeRuntime`: nothing here takes a sample or a label. Not here: the loop (`stepping`,
`learning`), files (`persistence`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge_runtime.bank import SlotBank
from edge_runtime.budget import MEASURES, Measure, check_measures
from edge_runtime.classes import indices_of
from edge_runtime.growth import Growth
from edge_runtime.guard import Guard
from edge_runtime.inputs.features import FeatureReader
from edge_runtime.inputs.sensors import SensorWatch
from edge_runtime.labelled import bytes_of_rows
from edge_runtime.pending import PendingSamples
from edge_runtime.policy import Policy, PolicySettings
from edge_runtime.records import Event, Label
from edge_runtime.slots import Slot, SlotSettings
from edge_runtime.state.journal import Journal, LostLabels

if TYPE_CHECKING:
    from edge_runtime.inputs.encoders.base import Encoder

DEFAULT_BUDGET_BYTES = 32 * 2**20


class RuntimeParts:
    """The parts of an `EdgeRuntime`, and what they hold."""

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
        n_fourier: int = 0,
        pending_samples: int = 256,
        max_slots: int = 16,
        when_full: Sequence[Measure] = MEASURES,
    ) -> None:
        self.encoder = encoder
        self.generation = 0
        self.options: dict[str, Any] = {
            "budget_bytes": budget_bytes,
            "random_state": random_state,
            "n_dims": n_dims,
            "rank": rank,
            "hidden": tuple(hidden),
            "n_fourier": n_fourier,
            "pending_samples": pending_samples,
            "max_slots": max_slots,
            "when_full": check_measures(when_full),
        }
        self._reader = FeatureReader(encoder)
        self._policy = Policy(policy or PolicySettings())
        self._pending = PendingSamples(pending_samples)
        self._counters = dict.fromkeys(("samples", "labels", "strange", "rejected", "asked"), 0)
        self._bank: SlotBank | None = None
        self._sensor = SensorWatch(self._policy.settings)
        self._growth = Growth(self._policy, self._before_growing)
        self._directory: Path | None = None
        self._has_unsaved = False
        self.lost_labels: LostLabels | None = None
        self._journal: Journal | None = None
        self._noted: tuple[int | None, int] = None, 0  # the label that is being learned
        self._news: list[Event] = []  # told with the next sample
        self._before_growth: int | None = None  # the generation before the last growth
        self.damaged: tuple[str, ...] = ()
        _, self.classes = indices_of(classes or (), ())
        if self._reader.n_features:
            self._open_bank()

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
        sizes = {name: self.options[name] for name in ("n_dims", "rank", "hidden", "n_fourier")}
        seed = self.options["random_state"]
        self._bank = SlotBank(
            SlotSettings(tuple(self._reader.taps.values()), **sizes),
            budget_bytes=self.options["budget_bytes"] - self._reserved_bytes,
            max_slots=self.options["max_slots"],
            seed=seed,
            when_full=self.options["when_full"],
            guard=Guard(self._policy.settings, self._reader.n_features, seed),
        )
        return self._bank

    def _follow_slots(self) -> None:
        """Make the common frame of what slots have learned now: an answer would wait for it."""
        if len(self.slots) > 1:
            self.bank.router.follow(self.slots)

    def _note_label(self, sample_id: int | None, n_labels: int = 1) -> None:
        """A label, or a batch of them, is about to be learned."""

    def _before_growing(self) -> None:
        """A slot is about to be added: a good time to save."""

    @property
    def progress(self) -> dict[str, Any]:
        """Counters and where the stream is: the part of the state that is no array."""
        return {
            "counters": dict(self._counters),
            "next_id": self._pending.next_id,
            "policy": self._policy.to_state(),
            "before_growth": self._before_growth,
            "prior": self._bank.prior.to_state() if self._bank is not None else None,
            "usage": self._bank.usage.to_state() if self._bank is not None else None,
        }

    @progress.setter
    def progress(self, saved: Mapping[str, Any]) -> None:
        self._counters = {name: int(saved["counters"][name]) for name in self._counters}
        self._pending.skip_to(int(saved["next_id"]))
        self._before_growth = saved["before_growth"]
        if saved["prior"] is not None and self._bank is not None:
            self._bank.prior.restore(saved["prior"])
            self._bank.usage.restore(saved["usage"])
        self._policy.restore(saved["policy"])

    def loop_state(self) -> dict[str, npt.NDArray[Any]]:
        """Labels that wait to be learned, and what the sensor is judged by."""
        arrays = {f"sensor/{k}": v for k, v in self._sensor.to_state().items()}
        return arrays | {f"labels/{k}": v for k, v in self._growth.to_state().items()}

    def restore_loop(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `loop_state` gave, once the taps are known."""
        for lead, restore in (("sensor/", self._sensor.restore), ("labels/", self._restore_labels)):
            restore({k.removeprefix(lead): v for k, v in arrays.items() if k.startswith(lead)})

    def _restore_labels(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._growth.restore(arrays, self._reader.n_features)

    @property
    def n_bytes(self) -> int:
        """Bytes of everything learned and buffered."""
        return sum(self.bytes_by_part.values())

    @property
    def bytes_by_part(self) -> dict[str, int]:
        """What everything learned and buffered costs, by part; never above `budget_bytes`."""
        bank, slots = self._bank, self.slots
        young = [slot.young.n_bytes for slot in slots if slot.young is not None]
        adaptors = [slot.adaptor.n_bytes_ for slot in slots if slot.adaptor is not None]
        learned = sum(slot.n_bytes for slot in slots) - sum(young) - sum(adaptors)
        copies = bank.guard.copies_n_bytes(bank) if bank is not None else 0
        in_bank = sum(slot.n_bytes for slot in slots) + copies
        return {
            "adaptors": sum(adaptors),
            "statistics": learned,  # with prototypes and calibrations
            "shared": bank.n_bytes - in_bank if bank is not None else 0,  # projection, router
            "young_labels": sum(young),
            "copies": copies,
            "canaries": bank.guard.n_bytes if bank is not None else 0,  # and doubtful labels
            "collected": self._growth.n_bytes,
            "waiting": self._pending.n_bytes,
        }

    @property
    def _reserved_bytes(self) -> int:
        """Bytes that buffers outside the slots may come to need."""
        d, settings = self._reader.n_features, self._policy.settings
        waiting = 4 * d * (self.options["pending_samples"] + settings.held_labels)
        waiting += bytes_of_rows(settings.collected_labels, d)
        return int(waiting + Guard.most_bytes(settings, d))

    def status(self) -> Mapping[str, Any]:
        """Slots, bytes, counters and calibration, as plain values: what an agent reports."""
        return {
            "state": self._policy.state,
            "sensor": None if self._sensor.fault is None else str(self._sensor.fault),
            "generation": self.generation,
            "classes": list(self.classes),
            "bytes": self.n_bytes,
            "bytes_by_part": self.bytes_by_part,
            "budget_bytes": self.options["budget_bytes"],
            "damaged_generations": list(self.damaged),
            "lost_labels": 0 if self.lost_labels is None else self.lost_labels.count,
            "counters": dict(self._counters),
            "false_alarm_rate": self._policy.settings.false_alarm_rate,
            "current_slot": self._policy.slot,
            "slots": [
                {
                    "slot": slot.number,
                    "labels": slot.n_labels,
                    "classes": int(np.count_nonzero(slot.domain.counts)),
                    "adaptor": slot.adaptor is not None,
                    "quantised": slot.is_quantised,
                    "calibration_scores": len(slot.calibration),
                    "cross_accuracy": slot.cross_accuracy,
                    "bytes": slot.n_bytes,
                }
                for slot in self.slots
            ],
        }
