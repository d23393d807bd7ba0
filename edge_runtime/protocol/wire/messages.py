"""Every message of the wire: standard groups 0, 1, 2 and 8, and this project's group 64.

A field's name is its key on the wire; optional keys default to None and are then not sent. What
the keys mean is in `docs/protocol.md`; the standard ones follow Zephyr's SMP specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_runtime.protocol.wire.smp import Group, Message, Op, message

_READ, _READ_ANSWER, _WRITE, _WRITE_ANSWER = Op.READ, Op.READ_ANSWER, Op.WRITE, Op.WRITE_ANSWER

# Group 0: operating system


@message(_WRITE, Group.OS, 0)
@dataclass(frozen=True)
class EchoRequest(Message):
    """Send a text back; without one, an empty text."""

    d: str = ""


@message(_WRITE_ANSWER, Group.OS, 0)
@dataclass(frozen=True)
class EchoAnswer(Message):
    """The text."""

    r: str


@message(_READ, Group.OS, 0)
@dataclass(frozen=True)
class EchoReadRequest(Message):
    """The same as `EchoRequest`: some clients take echo for a reading."""

    d: str = ""


@message(_READ_ANSWER, Group.OS, 0)
@dataclass(frozen=True)
class EchoReadAnswer(Message):
    """The text."""

    r: str


@message(_READ, Group.OS, 4)
@dataclass(frozen=True)
class DatetimeRequest(Message):
    """Ask for the time."""


@message(_READ_ANSWER, Group.OS, 4)
@dataclass(frozen=True)
class DatetimeAnswer(Message):
    """ISO 8601."""

    datetime: str


@message(_WRITE, Group.OS, 4)
@dataclass(frozen=True)
class SetDatetimeRequest(Message):
    """Set the clock, ISO 8601."""

    datetime: str


@message(_WRITE_ANSWER, Group.OS, 4)
@dataclass(frozen=True)
class SetDatetimeAnswer(Message):
    """The clock is set."""


@message(_WRITE, Group.OS, 5)
@dataclass(frozen=True)
class ResetRequest(Message):
    """Start again; what was marked for test becomes active."""

    force: int | None = None
    boot_mode: int | None = None


@message(_WRITE_ANSWER, Group.OS, 5)
@dataclass(frozen=True)
class ResetAnswer(Message):
    """Sent before the reset."""


@message(_READ, Group.OS, 6)
@dataclass(frozen=True)
class ParametersRequest(Message):
    """Ask how much the board takes at once."""


@message(_READ_ANSWER, Group.OS, 6)
@dataclass(frozen=True)
class ParametersAnswer(Message):
    """Bytes of the largest message, and how many may be on their way."""

    buf_size: int
    buf_count: int


@message(_READ, Group.OS, 7)
@dataclass(frozen=True)
class InfoRequest(Message):
    """Ask what this is; `format` as of ``uname``."""

    format: str | None = None


@message(_READ_ANSWER, Group.OS, 7)
@dataclass(frozen=True)
class InfoAnswer(Message):
    """The names, separated by spaces."""

    output: str


@message(_READ, Group.OS, 8)
@dataclass(frozen=True)
class BootloaderRequest(Message):
    """Ask which loader starts the images."""

    query: str | None = None


@message(_READ_ANSWER, Group.OS, 8)
@dataclass(frozen=True)
class BootloaderAnswer(Message):
    """Its name; or, to the query "mode", how it swaps images, as MCUboot counts the ways."""

    bootloader: str | None = None
    response: Any = None
    mode: int | None = None


# Group 1: images


@dataclass(frozen=True)
class ImageEntry:
    """One image in one slot of the two that every image number has."""

    slot: int
    version: str
    image: int | None = None
    hash: bytes | None = None
    bootable: bool | None = None
    pending: bool | None = None
    confirmed: bool | None = None
    active: bool | None = None
    permanent: bool | None = None


@message(_READ, Group.IMAGE, 0)
@dataclass(frozen=True)
class ImageStateRequest(Message):
    """Ask which images are there."""


@message(_READ_ANSWER, Group.IMAGE, 0)
@dataclass(frozen=True)
class ImageStateAnswer(Message):
    """The images, active and waiting."""

    images: tuple[ImageEntry, ...]
    splitStatus: int | None = None


@message(_WRITE, Group.IMAGE, 0)
@dataclass(frozen=True)
class SetImageStateRequest(Message):
    """Mark the image `hash` for test, or confirm it; without `hash`, the active one."""

    hash: bytes | None = None
    confirm: bool | None = None


@message(_WRITE_ANSWER, Group.IMAGE, 0)
@dataclass(frozen=True)
class SetImageStateAnswer(Message):
    """The images after the change."""

    images: tuple[ImageEntry, ...]
    splitStatus: int | None = None


@message(_WRITE, Group.IMAGE, 1)
@dataclass(frozen=True)
class ImageUploadRequest(Message):
    """A piece of an image; the first one, `off` 0, also says which and how long."""

    off: int
    data: bytes = b""
    len: int | None = None
    sha: bytes | None = None
    image: int | None = None
    upgrade: bool | None = None


@message(_WRITE_ANSWER, Group.IMAGE, 1)
@dataclass(frozen=True)
class ImageUploadAnswer(Message):
    """The offset that is wanted next; at the end, whether the digest was right."""

    off: int | None = None
    match: bool | None = None


@message(_WRITE, Group.IMAGE, 5)
@dataclass(frozen=True)
class ImageEraseRequest(Message):
    """Throw away the image of a slot that is not active, and any upload."""

    slot: int | None = None


@message(_WRITE_ANSWER, Group.IMAGE, 5)
@dataclass(frozen=True)
class ImageEraseAnswer(Message):
    """It is gone."""


# Group 2: statistics


@message(_READ, Group.STAT, 0)
@dataclass(frozen=True)
class StatRequest(Message):
    """The counters of one statistics group."""

    name: str


@message(_READ_ANSWER, Group.STAT, 0)
@dataclass(frozen=True)
class StatAnswer(Message):
    """The counters."""

    name: str
    fields: dict[str, int]


@message(_READ, Group.STAT, 1)
@dataclass(frozen=True)
class StatListRequest(Message):
    """The names of the statistics groups."""


@message(_READ_ANSWER, Group.STAT, 1)
@dataclass(frozen=True)
class StatListAnswer(Message):
    """The names."""

    stat_list: tuple[str, ...]


# Group 8: files, read-only


@message(_READ, Group.FS, 0)
@dataclass(frozen=True)
class FileRequest(Message):
    """A piece of a file."""

    name: str
    off: int


@message(_READ_ANSWER, Group.FS, 0)
@dataclass(frozen=True)
class FileAnswer(Message):
    """The piece; with `off` 0, also how long the file is."""

    off: int
    data: bytes
    len: int | None = None


@message(_READ, Group.FS, 1)
@dataclass(frozen=True)
class FileStatusRequest(Message):
    """Ask how long a file is."""

    name: str


@message(_READ_ANSWER, Group.FS, 1)
@dataclass(frozen=True)
class FileStatusAnswer(Message):
    """Its bytes."""

    len: int


@message(_READ, Group.FS, 2)
@dataclass(frozen=True)
class FileHashRequest(Message):
    """The check sum of a file, or of a part; `type` is ``sha256`` (default) or ``crc32``."""

    name: str
    type: str | None = None
    off: int | None = None
    len: int | None = None


@message(_READ_ANSWER, Group.FS, 2)
@dataclass(frozen=True)
class FileHashAnswer(Message):
    """Digest as bytes, or check sum as a number."""

    type: str
    len: int
    output: bytes | int
    off: int | None = None
