"""SMP messages as bytes: an eight-byte header, then one CBOR map.

    0        1      2-3     4-5    6         7
    version  flags  length  group  sequence  command      big-endian; version << 3 | op

A message class is a frozen dataclass whose fields are the keys of its map, by the same names;
a field that is None is not sent. `messages.py` has them all. Unknown keys are ignored on arrival,
and never sent in answers to standard commands: strict clients refuse them.
"""

from __future__ import annotations

import struct
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import IntEnum
from functools import cache
from typing import Any, ClassVar, Final, TypeVar

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.wire import cbor

HEADER: Final = struct.Struct("!BBHHBB")
assert HEADER.size == 8
VERSION_1: Final = 0
VERSION_2: Final = 1


class Op(IntEnum):
    """What a message is; an answer is its request plus one."""

    READ = 0
    READ_ANSWER = 1
    WRITE = 2
    WRITE_ANSWER = 3


class Group(IntEnum):
    """Command groups; 64 and above are the user's."""

    OS = 0
    IMAGE = 1
    STAT = 2
    FS = 8
    EDGE = 64


class Rc(IntEnum):
    """Return codes that every group shares (``mcumgr_err_t``)."""

    OK = 0
    UNKNOWN = 1
    NO_MEMORY = 2
    INVALID = 3
    TIMEOUT = 4
    NO_ENTRY = 5
    BAD_STATE = 6
    TOO_LARGE = 7
    NOT_SUPPORTED = 8
    CORRUPT = 9
    BUSY = 10
    ACCESS_DENIED = 11


class WireError(EdgeRuntimeError, ValueError):
    """A message that cannot be used; `rc` is what to answer, `header` whom, where it is known."""

    def __init__(self, text: str, *, rc: Rc = Rc.INVALID, header: Header | None = None) -> None:
        super().__init__(text)
        self.rc = rc
        self.header = header


@dataclass(frozen=True)
class Header:
    """The first eight bytes of a message."""

    op: Op
    group: int
    command: int
    sequence: int
    version: int = VERSION_2
    flags: int = 0
    length: int = 0

    def to_bytes(self) -> bytes:
        """Eight bytes."""
        first = self.version << 3 | self.op
        return HEADER.pack(first, self.flags, self.length, self.group, self.sequence, self.command)

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """The header at the start of `data`; `WireError` if there is none that can be answered."""
        if len(data) < HEADER.size:
            raise WireError(f"message of {len(data)} bytes, expected at least {HEADER.size}")
        first, flags, length, group, sequence, command = HEADER.unpack_from(data)
        if first & 0b111 > Op.WRITE_ANSWER or first >> 3 > VERSION_2:
            raise WireError(f"first byte 0x{first:02x} is no operation of SMP version 1 or 2")
        return cls(Op(first & 0b111), group, command, sequence, first >> 3, flags, length)

    @property
    def is_answer(self) -> bool:
        """Whether this is an answer, not a request."""
        return self.op in (Op.READ_ANSWER, Op.WRITE_ANSWER)

    def answer(self) -> Header:
        """The header of the answer to this."""
        op = Op.READ_ANSWER if self.op is Op.READ else Op.WRITE_ANSWER
        return Header(op, self.group, self.command, self.sequence, self.version)


class Message:
    """Base of every typed message; subclasses are frozen dataclasses made by `message`."""

    op: ClassVar[Op]
    group: ClassVar[int]
    command: ClassVar[int]


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that is not carried out.

    `group` says whose code `rc` is; None: one of `Rc`. Only then is `rsn`, the reason, sent. To a
    client of SMP version 1 a group's own code is just `Rc.UNKNOWN`.
    """

    rc: int
    group: int | None = None
    rsn: str | None = None


Answer = Message | Refusal
_Class = TypeVar("_Class", bound=type[Message])
_TABLE: Final[dict[tuple[Op, int, int], type[Message]]] = {}


def message(op: Op, group: Group, command: int) -> Callable[[_Class], _Class]:
    """Class decorator: this dataclass is the message of these numbers."""

    def register(cls: _Class) -> _Class:
        cls.op, cls.group, cls.command = op, group, command
        _TABLE[op, group, command] = cls
        return cls

    return register


def message_classes() -> tuple[type[Message], ...]:
    """Every typed message there is."""
    return tuple(_TABLE.values())


def request_bytes(request: Message, sequence: int, version: int = VERSION_2) -> bytes:
    """A request as bytes."""
    header = Header(request.op, request.group, request.command, sequence, version)
    return _bytes(header, _fields(request))


def answer_bytes(asked: Header, answer: Answer) -> bytes:
    """The answer to the request whose header is `asked`, in its version of SMP."""
    if isinstance(answer, Message):
        return _bytes(asked.answer(), _fields(answer))
    if answer.group is None:
        body: dict[str, Any] = {"rc": int(answer.rc)}
        if answer.rsn is not None:
            body["rsn"] = answer.rsn
    elif asked.version == VERSION_1:
        body = {"rc": int(Rc.UNKNOWN)}
    else:
        body = {"err": {"group": int(answer.group), "rc": int(answer.rc)}}
    return _bytes(asked.answer(), body)


def _bytes(header: Header, body: Mapping[str, Any]) -> bytes:
    data = cbor.encode(body)
    return replace(header, length=len(data)).to_bytes() + data


def parse_request(data: bytes) -> tuple[Header, Message]:
    """Header and typed request.

    Raises
    ------
    WireError
        With the code to answer; without `header` if there is nobody to answer.
    """
    header, body = _split(data)
    if header.is_answer:
        # A refusal is not refused in turn: on a line that echoes, that would never end.
        whom = None if "rc" in body or "err" in body else header
        raise WireError("an answer, expected a request", rc=Rc.NOT_SUPPORTED, header=whom)
    return header, _typed(header, body)


def parse_answer(data: bytes) -> tuple[Header, Answer]:
    """Header and typed answer, or the refusal that came in its place; else `WireError`."""
    header, body = _split(data)
    if not header.is_answer:
        raise WireError("a request, expected an answer: does the line echo?", header=header)
    if "err" in body:
        error = body["err"] if isinstance(body["err"], dict) else {}
        rc, group = error.get("rc"), error.get("group")
        if not isinstance(rc, int) or not isinstance(group, int):
            raise WireError("refusal without numbers", header=header)
        return header, Refusal(rc, group)
    if body.get("rc", 0) != 0:
        rc, rsn = body["rc"], body.get("rsn")
        if not isinstance(rc, int):
            raise WireError("refusal without a number", header=header)
        return header, Refusal(rc, None, rsn if isinstance(rsn, str) else None)
    return header, _typed(header, body)


def _split(data: bytes) -> tuple[Header, dict[str, Any]]:
    header = Header.from_bytes(data)
    length = len(data) - HEADER.size
    if header.length != length:
        text = f"header announces {header.length} bytes, {length} follow"
        raise WireError(text, rc=Rc.CORRUPT, header=header)
    try:
        return header, cbor.decode(data[HEADER.size :]) if length else {}
    except cbor.CborError as error:
        raise WireError(str(error), header=header) from error


def _typed(header: Header, body: Mapping[str, Any]) -> Message:
    cls = _TABLE.get((header.op, header.group, header.command))
    if cls is None:
        text = f"no command {header.command} in group {header.group} for {header.op.name}"
        raise WireError(text, rc=Rc.NOT_SUPPORTED, header=header)
    try:
        return typing.cast(Message, _read(cls, body))
    except ValueError as error:
        raise WireError(f"{cls.__name__}: {error}", header=header) from error


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass as the map that is sent."""
    named = ((field.name, getattr(value, field.name)) for field in fields(value))
    return {name: _plain(item) for name, item in named if item is not None}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _fields(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read(cls: type, body: Mapping[str, Any]) -> Any:
    """A dataclass from a map; ValueError names the key that is missing or of the wrong kind."""
    values = {}
    for field in fields(cls):
        if field.name in body:
            values[field.name] = _value(body[field.name], _hints(cls)[field.name], field.name)
        elif field.default is MISSING:
            raise ValueError(f"key {field.name!r} is missing")
    return cls(**values)


def _value(value: Any, hint: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is types.UnionType:
        kinds = [kind for kind in arguments if kind is not types.NoneType]
        if value is None and len(kinds) < len(arguments):
            return None
        hint = next((kind for kind in kinds if type(value) is kind), kinds[0])
        return _value(value, hint, name)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(item, arguments[0], name) for item in value)
    if origin is dict and isinstance(value, dict):
        items = value.items()
        return {_value(k, arguments[0], name): _value(v, arguments[1], name) for k, v in items}
    if is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        return _read(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        wanted = getattr(origin or hint, "__name__", str(hint))
        raise ValueError(f"key {name!r} is of type {type(value).__name__}, expected {wanted}")
    return value
