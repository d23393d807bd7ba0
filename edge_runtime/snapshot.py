"""A runtime as a JSON-able header and a flat dict of arrays, and back.

Saved: classes, slots with their adaptors and calibrations, counters, sizes and thresholds, labels
that are held back or collected for a trial, and what the policy is about. Not saved: samples that
wait for a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from edge_runtime.errors import EncoderMismatchError, StateError
from edge_runtime.policy import PolicySettings
from edge_runtime.slots import Slot

if TYPE_CHECKING:
    from edge_runtime.inputs.encoders.base import Encoder
    from edge_runtime.parts import RuntimeParts

KIND, VERSION = "edge-runtime state", 2
Arrays = dict[str, npt.NDArray[Any]]
# Thresholds that older states were saved with.
GONE = frozenset({"moved_accuracy"})


def take(runtime: RuntimeParts) -> tuple[dict[str, Any], Arrays]:
    """Everything a runtime has learned."""
    arrays: Arrays = {}
    if runtime.slots:
        if len(runtime.slots) > 1:  # else each start would make the frame before its first answer
            runtime.bank.router.follow(runtime.slots)
        arrays |= {f"router/{k}": v for k, v in runtime.bank.router.to_state().items()}
        arrays |= {f"lift/{k}": v for k, v in runtime.bank.lift.to_state().items()}
    arrays |= runtime.loop_state()
    slot_headers = []
    for slot in runtime.slots:
        adaptor_header = None
        if slot.adaptor is not None:
            adaptor_header, adaptor_arrays = slot.adaptor.to_state()
            arrays |= {f"{slot.number}/adaptor/{k}": v for k, v in adaptor_arrays.items()}
        arrays |= {f"{slot.number}/{k}": v for k, v in slot.to_state().items()}
        slot_headers.append({"number": slot.number, "adaptor": adaptor_header})
    guard_header: dict[str, Any] = {}
    if runtime.slots:
        guard_header, guard_arrays = runtime.bank.guard.to_state()
        arrays |= {f"guard/{k}": v for k, v in guard_arrays.items()}
    header = {
        "kind": KIND,
        "version": VERSION,
        "encoder": fingerprint_of(runtime.encoder),
        "taps": list(runtime.taps.items()),
        "classes": runtime.classes,
        "options": runtime.options,
        "policy": asdict(runtime.policy_settings),
        "progress": runtime.progress,
        "slots": slot_headers,
        "guard": guard_header,
    }
    return header, arrays


def check(header: Mapping[str, Any], encoder: Encoder | None) -> None:
    """Refuse a state of another kind, version or encoder.

    Raises
    ------
    StateError, EncoderMismatchError
        Says what was found and what was expected.
    """
    found = header.get("kind"), header.get("version")
    if found != (KIND, VERSION):
        raise StateError(
            f"state is {found[0]!r} version {found[1]!r}, expected {KIND!r} version {VERSION}: "
            "was it saved by another release?"
        )
    if header.get("encoder") != fingerprint_of(encoder):
        raise EncoderMismatchError(
            f"state was learned on encoder {_short(header.get('encoder'))}, but this is "
            f"{_short(fingerprint_of(encoder))}: open the encoder, and the taps, it was learned on"
        )


def restore_slots(runtime: RuntimeParts, header: Mapping[str, Any], arrays: Arrays) -> list[Slot]:
    """The slots of a state, for a runtime of the same options."""
    slots: list[Slot] = []
    bank = runtime.bank
    lead = "lift/"
    part = {k.removeprefix(lead): v for k, v in arrays.items() if k.startswith(lead)}
    if header["slots"]:
        bank.lift = bank.lift.restored(part)
    for entry in header["slots"]:
        prefix = f"{entry['number']}/"
        part = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        older = {each.number: each for each in slots}
        slot = Slot.from_state(part, bank.settings, bank.projection, bank.lift, older)
        if entry["adaptor"] is not None:
            from adaptors import QuantisedClassifier, TargetProjectionClassifier

            lead = "adaptor/"
            weights = {k.removeprefix(lead): v for k, v in part.items() if k.startswith(lead)}
            kind = QuantisedClassifier if slot.is_quantised else TargetProjectionClassifier
            slot.adaptor = kind.from_state(entry["adaptor"], weights)
        slots.append(slot)
    return slots


def restore_guard(runtime: RuntimeParts, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Canaries and doubts of a state, for a runtime that has its slots."""
    part = {k.removeprefix("guard/"): v for k, v in arrays.items() if k.startswith("guard/")}
    if part:
        runtime.bank.guard.restore(header["guard"], part)


def restore_router(runtime: RuntimeParts, arrays: Arrays) -> None:
    """What all slots share for routing, once they are in the bank."""
    lead = "router/"
    part = {k.removeprefix(lead): v for k, v in arrays.items() if k.startswith(lead)}
    runtime.bank.router.restore(part, runtime.slots)


def settings_of(header: Mapping[str, Any]) -> PolicySettings:
    """The thresholds that a state was saved with, but for those that are no more."""
    return PolicySettings(**{k: v for k, v in header["policy"].items() if k not in GONE})


def fingerprint_of(encoder: Encoder | None) -> str | None:
    """What a state remembers of the encoder it was learned on."""
    return None if encoder is None else encoder.fingerprint


def _short(fingerprint: str | None) -> str:
    return "none (features)" if fingerprint is None else fingerprint[:12]
