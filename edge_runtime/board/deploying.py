"""From packs on the disk to a runtime that goes on learning where the last one stopped.

Each deployment has a directory of learned state to itself. An update copies what was learned into
the new one's if it fits; the old directory is never written again, so going back costs nothing
and cannot lose anything. What does not fit stays where it is, and the reason is reported.

Runs in the child of the self-test first, then in the process that serves. Not here: the choice of
packs (`images`), their signatures (checked when they were staged).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_runtime.errors import LabelError, StateError
from edge_runtime.inputs.encoders import Encoder
from edge_runtime.memory.classes import indices_of
from edge_runtime.policy.settings import Settings
from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.manifest import STATE
from edge_runtime.protocol.pack.opening import open_packed_encoder
from edge_runtime.protocol.pack.verify import ModelPack, read_pack
from edge_runtime.runtime import EdgeRuntime
from edge_runtime.state import generations, snapshot


@dataclass(frozen=True)
class Place:
    """Where a deployment's parts are: pack files, its learned state, unpacked encoders."""

    model: Path
    head: Path | None
    learned: Path
    unpacked: Path


def place_of(fields: Mapping[str, str | None]) -> Place:
    """A place from the paths in text that came from another process (`selftest.Places`)."""
    model, head = fields["model"], fields["head"]
    learned, unpacked = fields["learned"], fields["unpacked"]
    assert model is not None
    assert learned is not None
    assert unpacked is not None
    return Place(Path(model), None if head is None else Path(head), Path(learned), Path(unpacked))


def open_deployment(
    place: Place,
    *,
    carry_from: Path | None = None,
    set_aside: bool = False,
    lean: bool = False,
    background: bool = False,
) -> tuple[EdgeRuntime, str]:
    """A runtime, and in words where its learned state comes from.

    The first that fits: what was learned in ``carry_from`` (unless a head brings its own), what
    this deployment learned before, what the head or the model brings. Else it starts empty. With
    ``set_aside``, what it learned before and cannot be read is given another name, and is no error.
    ``lean`` is `open_encoder`'s, ``background`` the runtime's: no fit holds up an answer then.

    Raises
    ------
    PackError, EncoderError, BackendError, StateError
        The deployment cannot run here; says why.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(place.model.open("rb"))
        model = read_pack(file, None)
        encoder = open_packed_encoder(model, file, place.unpacked, lean=lean)
        source, source_file = model, file
        if place.head is not None:
            source_file = stack.enter_context(place.head.open("rb"))
            source = read_pack(source_file, None)
        settings = _settings(source)  # checked even where learned state brings its own
        refusal = ""
        if carry_from not in (None, place.learned) and place.head is None:
            assert carry_from is not None
            try:
                if has_state(carry_from):
                    return _carry(
                        carry_from, place.learned, encoder, source, background
                    ), "carried over"
            except StateError as error:
                refusal = f"; what was learned before is kept aside: {error}"
        if has_state(place.learned):
            try:
                return _load(place.learned, encoder, source, background), f"its own{refusal}"
            except StateError as error:
                if not set_aside:
                    raise
                refusal = f"; {_set_aside(place.learned, error)}"
        _bring_state(place.learned, encoder, source, source_file)
        if has_state(place.learned):
            return _load(place.learned, encoder, source, background), f"the pack's{refusal}"
        classes = source.manifest.classes
        runtime = EdgeRuntime(encoder, classes, settings=settings, background=background)
        return runtime, f"none yet{refusal}"


def has_state(directory: Path) -> bool:
    """Whether anything was ever saved there."""
    return directory.is_dir() and bool(generations.numbers(directory))


def _set_aside(learned: Path, error: StateError) -> str:
    """Give a directory another name, once: a second one is for a person to look at."""
    aside = learned.with_name(f"{learned.name}.aside")
    if aside.exists():
        raise error
    learned.rename(aside)
    return f"what was learned is kept aside in {aside.name}: {error}"


def _carry(
    old: Path, new: Path, encoder: Encoder, pack: ModelPack, background: bool
) -> EdgeRuntime:
    _load(
        old, encoder, pack, background
    )  # read by the code that will use it, before anything is copied
    saved = generations.load(old)
    generations.save(new, saved.header, saved.arrays)
    return _load(new, encoder, pack, background)


def _bring_state(learned: Path, encoder: Encoder, pack: ModelPack, file: BinaryIO) -> None:
    """Save the state in the pack, if there is one, as the first generation."""
    if STATE not in pack.members:
        return
    try:
        header, arrays = generations.from_bytes(pack.read(file, STATE))
        snapshot.check(header, encoder)
    except StateError as error:
        raise PackError("manifest", f"the learned state in the pack: {error}") from error
    generations.save(learned, header, arrays)


def _settings(pack: ModelPack) -> Settings:
    try:
        return Settings(**pack.manifest.thresholds)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise PackError("manifest", f"thresholds: {error}") from error


def _load(learned: Path, encoder: Encoder, pack: ModelPack, background: bool) -> EdgeRuntime:
    runtime = EdgeRuntime.load(learned, encoder, background=background)
    try:
        _, runtime.classes = indices_of(pack.manifest.classes, runtime.classes)
    except LabelError as error:
        raise StateError(f"the pack's classes do not join the learned ones: {error}") from error
    return runtime
