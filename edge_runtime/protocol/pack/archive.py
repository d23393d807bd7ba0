"""The payload of a model pack: a zip of whole, uncompressed members, in one form only.

Whatever a zip can express beyond names and bytes is refused: the local headers are read from the
front, and everything after them must be, byte for byte, the directory that `write_archive` would
have written. So compression, bombs, duplicate names, symbolic links, comments, gaps, encryption
and the two-directories trick have no place to be in. Any unzip program opens the result. The
standard library's `zipfile` reads leniently on purpose; it is the judge in the tests instead.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.windows import chunks, read_at

# signature, needed version, flags, method, time, date, CRC, compressed, size, name, extra
LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
# signature, made by, then as above from the needed version on; comment, disk, attributes, offset
CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
END: Final = struct.Struct("<4sHHHHIIH")
assert (LOCAL.size, CENTRAL.size, END.size) == (30, 46, 22)

LOCAL_MAGIC, CENTRAL_MAGIC, END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
VERSION_NEEDED: Final = 20
MADE_BY_UNIX: Final = (3 << 8) | VERSION_NEEDED
MIDNIGHT, DAY_ONE = 0, (1 << 5) | 1  # 1980-01-01: the same content gives the same bytes
REGULAR_FILE: Final = 0o100644 << 16
MAX_MEMBERS: Final = 16  # an encoder, a state, canaries, a manifest, licences
MAX_NAME_BYTES: Final = 64
SAFE_NAME: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]*")  # no directories at all


@dataclass(frozen=True)
class Member:
    """Where the bytes of one member are in the file."""

    name: str
    offset: int
    n_bytes: int
    crc: int


def write_archive(members: Mapping[str, bytes]) -> bytes:
    """A zip of these members, in this order."""
    out, found = bytearray(), []
    for name, data in members.items():
        _check_name(name.encode())
        member = Member(name, len(out) + LOCAL.size + len(name), len(data), zlib.crc32(data))
        found.append(member)
        out += _local(member) + data
    if not 0 < len(found) <= MAX_MEMBERS:
        raise PackError("archive", f"{len(found)} members, expected 1 to {MAX_MEMBERS}")
    return bytes(out) + _directory(found, 0, len(out))


def read_archive(file: BinaryIO, offset: int, n_bytes: int) -> dict[str, Member]:
    """The members of an archive that lies at ``offset``; their bytes are checked, not kept.

    Raises
    ------
    PackError
        For "archive": it is not in the one form that is taken.
    """
    found: dict[str, Member] = {}
    position, end = offset, offset + n_bytes
    while position + LOCAL.size <= end:
        head = read_at(file, position, LOCAL.size, "archive")
        if head[:4] != LOCAL_MAGIC:
            break
        member = _read_local(file, head, position, end)
        if member.name in found or len(found) == MAX_MEMBERS:
            raise PackError("archive", f"member {member.name!r} twice, or over {MAX_MEMBERS}")
        found[member.name] = member
        position = member.offset + member.n_bytes
    if not found:
        raise PackError("archive", "the payload is no zip of uncompressed members")
    expected = _directory(list(found.values()), offset, position - offset)
    if end - position != len(expected):
        raise PackError("archive", f"a directory of {end - position} bytes, not {len(expected)}")
    if read_at(file, position, len(expected), "archive") != expected:
        raise PackError("archive", "the directory does not describe the members before it")
    return found


def _read_local(file: BinaryIO, head: bytes, position: int, end: int) -> Member:
    """One member: the size is checked against the file before a byte of it is read."""
    *_, crc, _, size, name_length, _ = LOCAL.unpack(head)
    if name_length > MAX_NAME_BYTES:
        raise PackError("archive", f"a name of {name_length} bytes, at most {MAX_NAME_BYTES}")
    start = position + LOCAL.size + name_length
    if start + size > end:
        raise PackError("archive", f"a member of {size} bytes at {start} leaves the archive")
    name = read_at(file, position + LOCAL.size, name_length, "archive")
    _check_name(name)
    member = Member(name.decode(), start, size, crc)
    if head + name != _local(member):
        raise PackError(
            "archive", f"member {member.name!r} is compressed, encrypted or has extras: store it"
        )
    found = 0
    for chunk in chunks(file, start, size, "archive"):
        found = zlib.crc32(chunk, found)
    if found != crc:
        raise PackError("archive", f"member {member.name!r} is damaged: its CRC does not match")
    return member


def _check_name(name: bytes) -> None:
    if len(name) > MAX_NAME_BYTES or not SAFE_NAME.fullmatch(name):
        raise PackError("archive", f"member name {name[:80]!r}: letters, digits, '_', '.', '-'")


def _local(member: Member) -> bytes:
    sizes = (member.crc, member.n_bytes, member.n_bytes, len(member.name), 0)
    start = LOCAL.pack(LOCAL_MAGIC, VERSION_NEEDED, 0, 0, MIDNIGHT, DAY_ONE, *sizes)
    return start + member.name.encode()


def _directory(members: list[Member], base: int, n_bytes: int) -> bytes:
    """Directory and end record; ``base`` is where the archive starts in the file."""
    out = b""
    for member in members:
        sizes = (member.crc, member.n_bytes, member.n_bytes, len(member.name), 0)
        start = member.offset - LOCAL.size - len(member.name) - base
        out += CENTRAL.pack(
            CENTRAL_MAGIC, MADE_BY_UNIX, VERSION_NEEDED, 0, 0, MIDNIGHT, DAY_ONE,
            *sizes, 0, 0, 0, REGULAR_FILE, start,
        )  # fmt: skip
        out += member.name.encode()
    count = len(members)
    return out + END.pack(END_MAGIC, 0, 0, count, count, len(out), n_bytes, 0)
