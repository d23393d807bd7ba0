r"""Frames on a serial line: console lines and COBS, sent and received on the same wire.

    console   06 09 base64 \n (04 14 base64 \n)*    base64 of length16 | message | CRC-16/XMODEM
    COBS      00 stuffed 00                         stuffed message | CRC-16/XMODEM, no zero inside
    text      anything printable \n                 telemetry, between frames

`encode` makes them; `receiver.py` finds them again, out of whatever comes.

The check sum starts at zero, so it does not see zeros added in front or at the end of a COBS
frame; the length in the header of the message does. COBS here is MCUboot's and smpclient's, with
one zero byte more in front: text or noise before a frame then cannot damage it. Sources: Zephyr's
``smp_console`` notes; Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999.
"""

from __future__ import annotations

import binascii
import struct
from base64 import b64encode
from dataclasses import dataclass
from enum import Enum
from typing import Final

START: Final = b"\x06\x09"
CONTINUE: Final = b"\x04\x14"
LENGTH: Final = struct.Struct("!H")
assert LENGTH.size == 2
CRC: Final = struct.Struct("!H")
assert CRC.size == 2
# 127 bytes with marker and newline, the longest that Zephyr's line buffer takes: 31 groups of 4.
LINE_CHARACTERS: Final = 124
# The length field of the console framing holds the message and its CRC.
MAX_MESSAGE_BYTES: Final = 0xFFFF - CRC.size


class Framing(Enum):
    """How a message is wrapped."""

    CONSOLE = "console"
    COBS = "cobs"


@dataclass(frozen=True)
class Frame:
    """One whole message whose check sum is right."""

    message: bytes
    framing: Framing


@dataclass(frozen=True)
class Text:
    """One line that is no part of a frame: what a board prints."""

    line: str


@dataclass(frozen=True)
class FrameError:
    """Bytes that were given up, and why."""

    reason: str
    n_bytes: int


Received = Frame | Text | FrameError


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM.

    >>> hex(crc16(b"123456789"))
    '0x31c3'
    """
    return binascii.crc_hqx(data, 0)


def cobs_encode(data: bytes) -> bytes:
    r"""`data` without a zero byte, at most 1 + 1/254 longer; no delimiter.

    >>> cobs_encode(b"\x11\x00\x22").hex()
    '02110222'
    """
    out = bytearray()
    for run in data.split(b"\0"):
        start = 0
        while len(run) - start >= 254:
            out.append(0xFF)
            out += run[start : start + 254]
            start += 254
        out.append(len(run) - start + 1)
        out += run[start:]
    return bytes(out)


def cobs_decode(data: bytes) -> bytes:
    r"""The bytes that `cobs_encode` was given.

    >>> cobs_decode(bytes.fromhex("02110222"))
    b'\x11\x00"'

    Raises
    ------
    ValueError
        There is a zero byte in `data`, or it ends inside a run.
    """
    if b"\0" in data:
        raise ValueError("zero byte inside a COBS frame")
    out = bytearray()
    at, end = 0, len(data)
    while at < end:
        code = data[at]
        out += data[at + 1 : at + code]
        at += code
        if code != 0xFF and at < end:
            out.append(0)
    if at != end:
        raise ValueError("COBS frame ends inside a run")
    return bytes(out)


def encode(message: bytes, framing: Framing) -> bytes:
    r"""One message as it goes over the wire.

    >>> encode(b"Hello, world!", Framing.CONSOLE)
    b'\x06\tAA9IZWxsbywgd29ybGQhet4=\n'

    Raises
    ------
    ValueError
        The message is empty, or longer than `MAX_MESSAGE_BYTES`.
    """
    if not 0 < len(message) <= MAX_MESSAGE_BYTES:
        raise ValueError(f"message of {len(message)} bytes, expected 1 to {MAX_MESSAGE_BYTES}")
    checked = message + CRC.pack(crc16(message))
    if framing is Framing.COBS:
        return b"\0" + cobs_encode(checked) + b"\0"
    text = b64encode(LENGTH.pack(len(checked)) + checked)
    lines = [text[at : at + LINE_CHARACTERS] for at in range(0, len(text), LINE_CHARACTERS)]
    return START + (b"\n" + CONTINUE).join(lines) + b"\n"
