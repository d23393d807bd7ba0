"""Is this pack whole, signed, and right for this board? Bytes, keys and facts in, a verdict out.

Everything is checked before anything is used, from the outside in: container, digest, signature,
counter, zip, manifest, members, board. No file is opened here and no clock is read: the caller
brings a seekable file, which a test makes of bytes. Memory is constant whatever the pack's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from edge_runtime.protocol.pack.archive import Member, read_archive
from edge_runtime.protocol.pack.container import Image, Version, read_image
from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, from_bytes
from edge_runtime.protocol.pack.windows import read_at, sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True)
class ModelPack:
    """A pack that was read and found whole: its container, its manifest, where its members are."""

    image: Image
    manifest: Manifest
    members: Mapping[str, Member]

    @property
    def id(self) -> str:
        """SHA-256 of the image: names the pack on the board and on the wire."""
        return self.image.sha256

    def read(self, file: BinaryIO, name: str) -> bytes:
        """Bytes of one member, checked again: the file may have changed since."""
        member = self.members[name]
        data = read_at(file, member.offset, member.n_bytes, "archive")
        if name != MANIFEST and _digest(data) != self.manifest.members[name].sha256:
            raise PackError("digest", f"member {name} changed after it was verified")
        return data


@dataclass(frozen=True)
class BoardFacts:
    """What a pack is held against.

    Attributes
    ----------
    runtime
        Release of edge-runtime, ``major.minor.patch``.
    names
        What the board calls itself, as in the device tree ("raspberrypi,4-model-b").
    memory_bytes
        What a pack may use; 0 if unknown.
    encoder
        Fingerprint of the encoder in use; None if there is none yet.
    counters
        Highest security counter seen, by `counter_key`.
    versions
        Image number to the version in use.
    """

    runtime: str
    names: tuple[str, ...] = ()
    memory_bytes: int = 0
    encoder: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[int, Version] = field(default_factory=dict)


def counter_key(pack: ModelPack) -> str:
    """Security counters are kept for each key and image: a lost key cannot block a new one."""
    return f"{pack.image.key_hash}:{pack.manifest.image}"


def read_pack(file: BinaryIO, keys: Sequence[Ed25519PublicKey] | None) -> ModelPack:
    """Check everything that a pack says of itself; ``keys`` as in `read_image`.

    Raises
    ------
    PackError
        Says why it is refused.
    """
    image = read_image(file, keys)
    members = read_archive(file, image.payload_offset, image.payload_bytes)
    if next(iter(members)) != MANIFEST or members[MANIFEST].n_bytes > MAX_MANIFEST_BYTES:
        raise PackError("manifest", f"the first member is {next(iter(members))}, or too long")
    place = members[MANIFEST]
    manifest = from_bytes(read_at(file, place.offset, place.n_bytes, "archive"))
    if set(members) - {MANIFEST} != set(manifest.members):
        raise PackError(
            "manifest",
            f"manifest names {sorted(manifest.members)}, the archive has {sorted(members)}",
        )
    for name, content in manifest.members.items():
        member = members[name]
        if member.n_bytes != content.bytes:
            raise PackError("manifest", f"{name} has {member.n_bytes} bytes, not {content.bytes}")
        if sha256(file, member.offset, member.n_bytes, "archive").hex() != content.sha256:
            raise PackError("digest", f"the digest of {name} is not the manifest's")
    return ModelPack(image, manifest, members)


def check_board(pack: ModelPack, board: BoardFacts) -> None:
    """Refuse a whole pack that does not suit this board.

    Raises
    ------
    PackError
        For "counter", "runtime", "board" or "encoder".
    """
    needs, image = pack.manifest.requires, pack.image
    floor = board.counters.get(counter_key(pack), 0)
    if image.security_counter < floor:
        raise PackError(
            "counter", f"security counter {image.security_counter}, this board has had {floor}"
        )
    if _release(needs.runtime) > _release(board.runtime):
        raise PackError("runtime", f"needs edge-runtime {needs.runtime}, this is {board.runtime}")
    if needs.boards and not set(needs.boards) & set(board.names):
        raise PackError(
            "board",
            f"made for {', '.join(needs.boards)}; this is {', '.join(board.names) or 'unnamed'}",
        )
    if board.memory_bytes and needs.memory_bytes > board.memory_bytes:
        raise PackError(
            "board", f"needs {needs.memory_bytes} bytes of memory, {board.memory_bytes} are allowed"
        )
    for number, version in image.dependencies.items():
        found = board.versions.get(number)
        if found is None or found < version:
            raise PackError("board", f"needs image {number} at {version}, found {found}")
    wanted = pack.manifest.encoder.fingerprint
    if pack.manifest.kind == "head" and wanted != board.encoder:
        found_encoder = board.encoder[:12] if board.encoder else "none"
        raise PackError(
            "encoder",
            f"a head for encoder {wanted[:12]}, in use is {found_encoder}: push its model first",
        )


def _release(text: str) -> tuple[int, ...]:
    """Numbers of a release; what follows them ("0.2.0.dev1") does not count."""
    return tuple(int(part) for part in text.split(".")[:3] if part.isdecimal())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
