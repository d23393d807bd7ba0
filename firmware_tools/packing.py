"""Model packs from the files of a workshop: encoder, canaries, learned state.

Not here: the format (`edge_runtime.protocol.pack`), keys (`keys`), what is printed
(`pack_commands`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_runtime.errors import EncoderMismatchError
from edge_runtime.inputs.encoders import open_encoder
from edge_runtime.protocol.accelerators import CPU
from edge_runtime.protocol.pack import Manifest, ModelPack, PackError, read_pack
from edge_runtime.protocol.pack.canaries import write_canaries
from edge_runtime.protocol.pack.manifest import (
    CANARIES,
    LICENCES,
    STATE,
    EncoderEntry,
    Kind,
    Preprocessing,
    Requirements,
)
from edge_runtime.protocol.pack.opening import describe_encoder, prepare
from edge_runtime.protocol.pack.writing import write_payload
from edge_runtime.state import generations


@dataclass(frozen=True)
class Ingredients:
    """What goes into a pack besides its encoder; see `Manifest` of `edge_runtime.protocol.pack`.

    Attributes
    ----------
    state
        A saved generation, or the directory of a runtime: its newest.
    canaries
        A ``.npy`` of raw samples, with a label for each in ``canary_labels``.
    """

    classes: Sequence[int | str] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    requires: Requirements = field(default_factory=Requirements)
    state: Path | None = None
    canaries: Path | None = None
    canary_labels: Sequence[int | str] = ()
    licences: Path | None = None
    accelerator: str = CPU


def model_payload(
    name: str, encoder_path: Path, taps: Sequence[str] | None, parts: Ingredients
) -> bytes:
    """Payload of a model pack: the encoder is opened once, to write down what it is.

    Raises
    ------
    EncoderError, BackendError
        The encoder cannot be used.
    EncoderMismatchError
        The learned state was learned on another encoder, taps or preprocessing.
    PackError
        What was put together is no valid pack.
    """
    encoder = prepare(open_encoder(encoder_path, taps), parts.preprocessing)
    entry = describe_encoder(encoder_path, encoder)
    members = {entry.file: encoder_path.read_bytes(), **_members(parts, entry.fingerprint)}
    return write_payload(_manifest("model", name, entry, parts), members)


def head_payload(name: str, model: ModelPack, parts: Ingredients) -> bytes:
    """Payload of a head: learned state for the encoder of ``model``, without the encoder.

    Classes and preprocessing are the model's unless classes are given.

    Raises
    ------
    EncoderMismatchError, PackError
        As of `model_payload`; or there is no state to bring.
    """
    if parts.state is None:
        raise PackError("manifest", "a head brings learned state: name it with --state")
    parts = replace(
        parts,
        preprocessing=model.manifest.preprocessing,
        classes=parts.classes or model.manifest.classes,
    )
    entry = model.manifest.encoder
    members = _members(parts, entry.fingerprint)
    return write_payload(_manifest("head", name, entry, parts), members)


def open_pack(path: Path, keys: Sequence[Ed25519PublicKey] | None) -> ModelPack:
    """Read and check a pack's file; without keys, its signature is not checked."""
    with path.open("rb") as file:
        return read_pack(file, keys)


def _manifest(kind: Kind, name: str, encoder: EncoderEntry, parts: Ingredients) -> Manifest:
    return Manifest(
        kind,
        name,
        encoder,
        members={},
        preprocessing=parts.preprocessing,
        classes=tuple(parts.classes),
        thresholds=dict(parts.thresholds),
        canary_labels=tuple(parts.canary_labels),
        requires=parts.requires,
        accelerator=parts.accelerator if kind == "model" else CPU,
    )


def _members(parts: Ingredients, fingerprint: str) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    if parts.state is not None:
        members[STATE] = _read_state(parts.state, fingerprint)
    if parts.canaries is not None:
        members[CANARIES] = _read_canaries(parts.canaries, len(parts.canary_labels))
    if parts.licences is not None:
        members[LICENCES] = parts.licences.read_bytes()
    return members


def _read_state(path: Path, fingerprint: str) -> bytes:
    """A state's file, of the newest whole generation if ``path`` is a directory."""
    if path.is_dir():
        saved = generations.load(path)
        header, data = saved.header, generations.to_bytes(saved.header, saved.arrays)
    else:
        data = path.read_bytes()
        header, _ = generations.from_bytes(data)
    found = header.get("encoder")
    if found != fingerprint:
        raise EncoderMismatchError(
            f"{path} was learned on encoder {str(found)[:12]}, the pack's is {fingerprint[:12]}: "
            "another model file, other taps or another preprocessing?"
        )
    return data


def _read_canaries(path: Path, n_labels: int) -> bytes:
    from numpy.lib.format import open_memmap

    try:  # memory-mapped, so that a header cannot claim more than the file holds
        samples = open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise PackError("manifest", f"cannot read {path} as .npy: {error}") from error
    if samples.ndim == 0 or len(samples) != n_labels:
        raise PackError("manifest", f"canaries of shape {samples.shape}, {n_labels} labels")
    return write_canaries(samples)
