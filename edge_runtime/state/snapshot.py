"""A runtime as a JSON-able header and a flat dict of arrays, and back.

Saved: labels as exemplars and statistics, the model derived from them, classes, options, settings,
counters, and what the policy is about. Not saved: samples that wait for a label. The model could be
made anew; it is saved so that the first answer after a start costs what others do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from edge_runtime.errors import EncoderMismatchError, StateError
from edge_runtime.inputs.encoders.base import Encoder
from edge_runtime.inputs.features import FeatureReader
from edge_runtime.inputs.sensors import SensorWatch
from edge_runtime.memory.memory import Memory
from edge_runtime.memory.pending import PendingSamples
from edge_runtime.model.derived import DerivedModel
from edge_runtime.model.upkeep import Upkeep
from edge_runtime.policy.policy import Policy
from edge_runtime.policy.settings import Settings
from edge_runtime.records import Label
from edge_runtime.state.fields import put_under, under
from edge_runtime.state.generations import Generation

# No sample has an id above this: ids in a damaged file are not believed.
MAX_ID = 2**62
KIND, VERSION = "edge-runtime state", 3
Arrays = dict[str, npt.NDArray[Any]]


class Learner(Protocol):
    """What a snapshot sees of a runtime: its parts, each of which knows its own state."""

    encoder: Encoder | None
    classes: list[Label]
    options: dict[str, Any]
    settings: Settings
    _reader: FeatureReader
    _memory: Memory | None
    _upkeep: Upkeep | None
    _policy: Policy
    _sensor: SensorWatch
    _pending: PendingSamples
    _counters: dict[str, int]
    _before_growth: int | None

    @property
    def taps(self) -> Mapping[str, int]:
        """Names and widths of the taps."""

    def _open(self) -> tuple[Memory, Upkeep]: ...


R = TypeVar("R", bound=Learner)


def take(runtime: Learner) -> tuple[dict[str, Any], Arrays]:
    """Everything a runtime has learned."""
    arrays: Arrays = {}
    model = None if runtime._upkeep is None else runtime._upkeep.model
    if runtime._memory is not None:
        arrays |= put_under("memory", runtime._memory.to_state())
    if model is not None:
        arrays |= put_under("model", model.to_state())
    arrays |= put_under("sensor", runtime._sensor.to_state())
    header = {
        "kind": KIND,
        "version": VERSION,
        "encoder": fingerprint_of(runtime.encoder),
        "taps": list(runtime.taps.items()),
        "classes": runtime.classes,
        "options": runtime.options,
        "settings": asdict(runtime.settings),
        "counters": dict(runtime._counters),
        "next_id": runtime._pending.next_id,
        "policy": runtime._policy.to_state(),
        "before_growth": runtime._before_growth,
        "fitted_version": -1 if runtime._upkeep is None else runtime._upkeep.fitted_version,
        "memory_version": 0 if runtime._memory is None else runtime._memory.version,
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


def restored(
    kind: Callable[..., R], saved: Generation, encoder: Encoder | None, background: bool
) -> R:
    """The runtime of a generation, made by `kind`.

    Raises
    ------
    StateError, EncoderMismatchError
        It is of another release or encoder, or does not fit together.
    """
    check(saved.header, encoder)
    try:
        return _restored(kind, saved.header, saved.arrays, encoder, background)
    except StateError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise StateError(f"generation {saved.number} does not fit together: {error}") from error


def _restored(
    kind: Callable[..., R],
    header: Mapping[str, Any],
    arrays: Arrays,
    encoder: Encoder | None,
    background: bool,
) -> R:
    runtime = kind(
        encoder, header["classes"], settings=Settings(**header["settings"]), background=background,
        **header["options"],
    )  # fmt: skip
    if encoder is None and header["taps"]:
        runtime._reader = FeatureReader(None, {str(k): int(v) for k, v in header["taps"]})
    elif encoder is not None and header["taps"] != [list(each) for each in runtime.taps.items()]:
        raise StateError(f"taps are {header['taps']}, expected {list(runtime.taps.items())}")
    part, chances = under("memory", arrays), None
    if part:
        memory, upkeep = runtime._open()
        n_features = memory.exemplars.n_features
        memory = Memory.from_state(part, n_features, len(runtime.classes))
        memory.version = int(header["memory_version"])
        runtime._memory = memory
        learned = under("model", arrays)
        if learned:
            seed = runtime.options["random_state"]
            model = DerivedModel.from_state(learned, n_features, seed)
            model.check_classes(len(runtime.classes))
            upkeep.restore(model, int(header["fitted_version"]))
            chances = model.reference.chances
    runtime._sensor.restore(under("sensor", arrays))
    runtime._counters = {name: int(header["counters"][name]) for name in runtime._counters}
    if not 0 <= int(header["next_id"]) <= MAX_ID:
        raise StateError(f"the next sample has id {header['next_id']}: is it damaged?")
    runtime._pending.skip_to(int(header["next_id"]))
    before = header["before_growth"]
    runtime._before_growth = None if before is None else int(before)
    runtime._policy.restore(header["policy"])
    if chances is not None:
        runtime._policy.drift.start_anew(chances)
    return runtime


def fingerprint_of(encoder: Encoder | None) -> str | None:
    """What a state remembers of the encoder it was learned on."""
    return None if encoder is None else encoder.fingerprint


def _short(fingerprint: object) -> str:
    return "none (features)" if fingerprint is None else str(fingerprint)[:12]
