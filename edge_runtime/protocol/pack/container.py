"""The MCUboot image around a model pack: header, payload, signed TLVs.

    header (32) | payload | protected TLVs | TLVs: SHA-256, key hash, Ed25519 signature

The hash covers header, payload and protected TLVs; the signature covers the hash, as `imgtool` has
it. Stricter than MCUboot: every byte must be accounted for, each TLV comes once, unknown ones are
refused, nothing follows the last. Source: MCUboot's design.md, and imgtool 2.x as the judge in
the tests. Not here: files, zip, and whether the pack suits this board.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.windows import read_at, sha256, size_of

if TYPE_CHECKING:  # 9 MB, where there are no keys for nothing
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

MAGIC: Final = 0x96F3B83D
# magic, load address, header size, protected size, payload size, flags, version (4), padding
HEADER: Final = struct.Struct("<IIHHIIBBHII")
TLV_INFO: Final = struct.Struct("<HH")
TLV: Final = struct.Struct("<HH")
DEPENDENCY: Final = struct.Struct("<B3xBBHI")
assert (HEADER.size, TLV_INFO.size, TLV.size, DEPENDENCY.size) == (32, 4, 4, 12)

INFO_MAGIC: Final = 0x6907
PROTECTED_MAGIC: Final = 0x6908
KEY_HASH, PUBLIC_KEY, SHA256, ED25519 = 0x01, 0x02, 0x10, 0x24
DEPENDS, SECURITY_COUNTER = 0x40, 0x50
NON_BOOTABLE: Final = 0x10  # the only flag that says nothing about the payload's coding
MAX_PACK_BYTES: Final = 640 * 2**20  # the largest encoder (512 MiB) with a state beside it
MAX_TLV_BYTES: Final = 4096  # ours are 152; a DER public key and some dependencies fit well


class Version(NamedTuple):
    """MCUboot's version, ordered.

    Examples
    --------
    >>> Version.parse("1.2.3") < Version.parse("1.10.0+7")
    True
    >>> str(Version(1, 2, 3, 0))
    '1.2.3'
    """

    major: int
    minor: int
    revision: int
    build: int = 0

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read ``major.minor.revision`` with an optional ``+build``."""
        numbers, plus, build = text.partition("+")
        parts = [*numbers.split("."), build if plus else "0"]
        limits = (0xFF, 0xFF, 0xFFFF, 0xFFFFFFFF)
        is_plain = len(parts) == 4 and all(p.isascii() and p.isdecimal() for p in parts)
        values = [int(p) for p in parts] if is_plain and len(text) < 32 else []
        if not values or any(v > limit for v, limit in zip(values, limits, strict=True)):
            raise PackError(
                "manifest",
                f"version {text[:32]!r}, expected MAJOR.MINOR.REVISION[+BUILD] up to 255.255.65535",
            )
        return cls(*values)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}" + (f"+{self.build}" * (self.build > 0))


@dataclass(frozen=True)
class Image:
    """A container that was read and found whole.

    Attributes
    ----------
    sha256
        Of header, payload and protected TLVs, hexadecimal: names the pack, also on the wire.
    key_hash
        Of the key it says it is signed by; empty if it names none.
    dependencies
        Image number to the least version of it that this one needs.
    is_trusted
        True if the signature of a pinned key was checked.
    """

    version: Version
    sha256: str
    security_counter: int
    key_hash: str
    dependencies: Mapping[int, Version]
    payload_offset: int
    payload_bytes: int
    is_trusted: bool


def key_bytes(key: Ed25519PublicKey) -> bytes:
    """The form of a public key that MCUboot hashes: DER, SubjectPublicKeyInfo."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_hash(key: Ed25519PublicKey) -> str:
    """Name of a key: SHA-256 of its DER form, hexadecimal."""
    return hashlib.sha256(key_bytes(key)).hexdigest()


def write_image(
    payload: bytes, key: Ed25519PrivateKey, *, version: Version, security_counter: int
) -> bytes:
    """The payload, signed: the same bytes for the same key, as Ed25519 is deterministic."""
    if not 0 <= security_counter < 2**32:
        raise PackError("counter", f"security counter {security_counter}, expected 0 to 2**32 - 1")
    counter = _tlv(SECURITY_COUNTER, security_counter.to_bytes(4, "little"))
    protected = TLV_INFO.pack(PROTECTED_MAGIC, TLV_INFO.size + len(counter)) + counter
    header = HEADER.pack(MAGIC, 0, HEADER.size, len(protected), len(payload), 0, *version, 0)
    signed = header + payload + protected
    if len(signed) > MAX_PACK_BYTES:
        raise PackError("container", f"{len(signed)} bytes, expected at most {MAX_PACK_BYTES}")
    digest = hashlib.sha256(signed).digest()
    tlvs = (
        _tlv(SHA256, digest)
        + _tlv(KEY_HASH, bytes.fromhex(key_hash(key.public_key())))
        + _tlv(ED25519, key.sign(digest))
    )
    return signed + TLV_INFO.pack(INFO_MAGIC, TLV_INFO.size + len(tlvs)) + tlvs


def _tlv(kind: int, value: bytes) -> bytes:
    return TLV.pack(kind, len(value)) + value


def read_image(file: BinaryIO, keys: Sequence[Ed25519PublicKey] | None) -> Image:
    """Check a container from a seekable file in constant memory.

    Parameters
    ----------
    keys
        The pinned ones; an empty sequence accepts nothing. None checks the digest alone: what an
        unprovisioned board, and a look at somebody else's pack, can do.

    Raises
    ------
    PackError
        For "container", "digest", "key", "signature".
    """
    size = size_of(file)
    if not HEADER.size <= size <= MAX_PACK_BYTES + MAX_TLV_BYTES:
        raise PackError("container", f"{size} bytes: too few or too many for a model pack")
    head = HEADER.unpack(read_at(file, 0, HEADER.size, "container"))
    magic, _, header_size, protected_size, payload_size, flags, *version, _ = head
    if magic != MAGIC:
        raise PackError("container", f"starts with {magic:#010x}, expected {MAGIC:#010x}: no image")
    if flags & ~NON_BOOTABLE or header_size < HEADER.size:
        raise PackError("container", f"flags {flags:#x}, header of {header_size}: encrypted, RAM?")
    signed_size = header_size + payload_size + protected_size
    if signed_size + TLV_INFO.size > size or size - signed_size > MAX_TLV_BYTES:
        raise PackError(
            "container",
            f"the header promises {signed_size} bytes before the signature, the file has {size}: "
            "cut short, or signed with --pad?",
        )
    if protected_size > MAX_TLV_BYTES:
        raise PackError("container", f"protected TLVs of {protected_size} bytes")
    start = signed_size - protected_size
    protected = _read_tlvs(file, PROTECTED_MAGIC, start, protected_size) if protected_size else []
    tlvs = _read_tlvs(file, INFO_MAGIC, signed_size, size - signed_size)
    digest = _check_digest(file, signed_size, _once(tlvs, SHA256, 32))
    signer = _check_signature(tlvs, digest, keys)
    return Image(
        version=Version(*version),
        sha256=digest.hex(),
        security_counter=int.from_bytes(_once(protected, SECURITY_COUNTER, 4) or b"", "little"),
        key_hash=signer,
        dependencies=_dependencies(protected),
        payload_offset=header_size,
        payload_bytes=payload_size,
        is_trusted=keys is not None,
    )


def _read_tlvs(file: BinaryIO, magic: int, offset: int, n_bytes: int) -> list[tuple[int, bytes]]:
    """Every TLV of an area that must fill exactly ``n_bytes``, its own header included."""
    data = read_at(file, offset, n_bytes, "container")
    if n_bytes < TLV_INFO.size or TLV_INFO.unpack_from(data) != (magic, n_bytes):
        raise PackError("container", f"no TLV area of {n_bytes} bytes at {offset}: trailing bytes?")
    tlvs = []
    position = TLV_INFO.size
    while position < n_bytes:
        if position + TLV.size > n_bytes:
            raise PackError("container", f"a TLV is cut short at {offset + position}")
        kind, length = TLV.unpack_from(data, position)
        position += TLV.size
        if position + length > n_bytes:
            raise PackError("container", f"TLV {kind:#06x} of {length} bytes leaves its area")
        tlvs.append((kind, data[position : position + length]))
        position += length
    return tlvs


def _once(tlvs: Sequence[tuple[int, bytes]], kind: int, length: int) -> bytes | None:
    found = [value for each, value in tlvs if each == kind]
    if len(found) > 1 or any(len(value) != length for value in found):
        raise PackError("container", f"TLV {kind:#06x} twice, or not of {length} bytes")
    return found[0] if found else None


def _check_digest(file: BinaryIO, n_bytes: int, expected: bytes | None) -> bytes:
    if expected is None:
        raise PackError("container", "no SHA-256: signed with --pure or another --sha?")
    digest = sha256(file, 0, n_bytes, "container")
    if digest != expected:
        raise PackError("digest", "the digest does not match: changed on the way")
    return digest


def _check_signature(
    tlvs: Sequence[tuple[int, bytes]],
    digest: bytes,
    keys: Sequence[Ed25519PublicKey] | None,
) -> str:
    """Hash of the key that signed, checked if there are pinned ones."""
    unknown = {kind for kind, _ in tlvs} - {SHA256, KEY_HASH, PUBLIC_KEY, ED25519}
    if unknown:
        raise PackError("container", f"unknown TLV {min(unknown):#06x}: not signed with Ed25519?")
    signature, named = _once(tlvs, ED25519, 64), _once(tlvs, KEY_HASH, 32)
    whole = _once(tlvs, PUBLIC_KEY, 44)
    if named is not None and whole is not None:
        raise PackError("container", "both a key and the hash of a key")
    signer = (hashlib.sha256(whole).digest() if whole is not None else named or b"").hex()
    if keys is None:
        return signer
    if not signer or signature is None:
        raise PackError("key", "not signed, and this board has a pinned key")
    from cryptography.exceptions import InvalidSignature

    pinned = {key_hash(key): key for key in keys}
    if signer not in pinned:
        names = ", ".join(name[:12] for name in pinned) or "none"
        raise PackError("key", f"signed by key {signer[:12]}, pinned here: {names}")
    try:
        pinned[signer].verify(signature, digest)
    except InvalidSignature as error:
        raise PackError("signature", f"the signature by key {signer[:12]} is wrong") from error
    return signer


def _dependencies(protected: Sequence[tuple[int, bytes]]) -> dict[int, Version]:
    needed: dict[int, Version] = {}
    for kind, value in protected:
        if kind == DEPENDS:
            if len(value) != DEPENDENCY.size:
                raise PackError("container", f"a dependency of {len(value)} bytes, expected 12")
            image, *version = DEPENDENCY.unpack(value)
            needed[image] = max(Version(*version), needed.get(image, Version(0, 0, 0)))
    return needed
