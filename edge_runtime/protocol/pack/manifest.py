"""`manifest.json`: what a model pack holds and what it needs, validated field by field.

Two kinds. A *model* carries an encoder and everything to start with it. A *head* carries learned
state for an encoder that the board already has: tens of kilobytes instead of the encoder again.
A schema is closed: an unknown field is refused, and whatever is added later gets the next number.
Schema 2 adds ``accelerator``; a manifest without one is written as schema 1, for older boards.
Not here: files, signatures, NumPy.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

from edge_runtime.protocol.accelerators import CPU, NAMES, suits
from edge_runtime.protocol.pack.errors import PackError

SCHEMA: Final = 2
MAX_MANIFEST_BYTES: Final = 256 * 1024  # 256 classes of 64 characters and 1,024 canaries fit
MAX_CLASSES: Final = 256
MAX_CANARIES: Final = 1024
MAX_TAPS: Final = 64
MAX_CHANNELS: Final = 4096
MAX_BOARDS: Final = 32
MAX_TEXT: Final = 256
MANIFEST: Final = "manifest.json"
STATE: Final = "state.edge"
CANARIES: Final = "canaries.npy"
LICENCES: Final = "LICENCES"
ENCODERS: Final = ("encoder.onnx", "encoder.tflite")
IMAGE_NUMBERS: Final = {"model": 1, "head": 2}

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
RELEASE: Final = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}")
INPUT_TYPES: Final = ("float16", "float32", "float64", "int8", "uint8")

Kind: TypeAlias = Literal["model", "head"]
Label: TypeAlias = "int | str"


@dataclass(frozen=True)
class Content:
    """Size and SHA-256 (hexadecimal) of one member."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class EncoderEntry:
    """The encoder that is inside, or that a head is for.

    Attributes
    ----------
    file
        Name of its member.
    fingerprint
        Of the encoder with its taps and preprocessing: what learned state remembers.
    """

    file: str
    sha256: str
    fingerprint: str
    taps: tuple[str, ...]
    input_shape: tuple[int, ...]
    input_dtype: str


@dataclass(frozen=True)
class Preprocessing:
    """``x * scale + offset`` before the encoder: one number each, or one for each channel.

    Both empty: samples come as the encoder takes them.
    """

    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()


@dataclass(frozen=True)
class Requirements:
    """What the board must be: at least this release, one of these boards (if any are named).

    ``memory_bytes`` is what the pack is allowed in its self-test; 0 leaves it to the board.
    """

    runtime: str = "0.1.0"
    boards: tuple[str, ...] = ()
    memory_bytes: int = 0


@dataclass(frozen=True)
class Manifest:
    """Everything that a pack says of itself; see the classes of its parts.

    ``thresholds`` are fields of the policy's settings for a board that has learned nothing yet;
    learned state keeps its own. ``accelerator`` is what a model would like to run on: a board that
    has none of it uses its CPU, and says why.
    """

    kind: Kind
    name: str
    encoder: EncoderEntry
    members: Mapping[str, Content]
    preprocessing: Preprocessing = Preprocessing()
    classes: tuple[Label, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    canary_labels: tuple[Label, ...] = ()
    requires: Requirements = Requirements()
    accelerator: str = CPU

    @property
    def image(self) -> int:
        """Number on the wire: 1 for a model, 2 for a head."""
        return IMAGE_NUMBERS[self.kind]


def to_bytes(manifest: Manifest) -> bytes:
    """The manifest as JSON: the same content gives the same bytes."""
    fields = {"schema": SCHEMA, **asdict(manifest)}
    if manifest.accelerator == CPU:
        fields["schema"] = 1
        del fields["accelerator"]
    return json.dumps(fields, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def from_bytes(data: bytes) -> Manifest:
    """Read and validate a manifest.

    Raises
    ------
    PackError
        For "manifest": names the field, what was found and what was expected.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise _refusal(f"{len(data)} bytes, expected at most {MAX_MANIFEST_BYTES}")
    try:
        fields = json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _refusal(f"no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise _refusal("no JSON object")
    schema = fields.pop("schema", None)
    if type(schema) is int and schema > SCHEMA:
        raise _refusal(f"schema {schema}, this release reads {SCHEMA}: update edge-runtime first")
    if type(schema) is not int or schema < 1:
        raise _refusal(f"schema {str(schema)[:80]!r}, expected 1 or {SCHEMA}")
    readers = READERS if schema == 1 else {**READERS, "accelerator": _one_of(*NAMES)}
    manifest = cast(Manifest, _build(Manifest, fields, readers, ""))
    _check_together(manifest)
    return manifest


def _refusal(message: str) -> PackError:
    return PackError("manifest", f"manifest: {message}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field comes twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


# -- readers: (value, path) -> checked value -------------------------------------------------

Reader: TypeAlias = Callable[[Any, str], Any]


def _build(target: type, fields: Any, readers: Mapping[str, Reader], path: str) -> Any:
    """An instance whose every field is there, known, and good."""
    if not isinstance(fields, dict) or set(fields) != set(readers):
        found = sorted(fields) if isinstance(fields, dict) else type(fields).__name__
        raise _refusal(f"{path or 'fields'}: found {str(found)[:200]}, expected {sorted(readers)}")
    return target(**{name: read(fields[name], f"{path}{name}") for name, read in readers.items()})


def _object(target: type, **readers: Reader) -> Reader:
    return lambda value, path: _build(target, value, readers, f"{path}.")


def _text(pattern: re.Pattern[str] | None = None) -> Reader:
    def read(value: Any, path: str) -> str:
        is_text = isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()
        if not is_text or (pattern and not pattern.fullmatch(value)):
            wanted = pattern.pattern if pattern else f"1 to {MAX_TEXT} printable characters"
            raise _refusal(f"{path} is {str(value)[:80]!r}, expected {wanted}")
        return str(value)

    return read


def _one_of(*choices: str) -> Reader:
    def read(value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _refusal(f"{path} is {str(value)[:80]!r}, expected {' or '.join(choices)}")
        return value

    return read


def _integer(low: int, high: int) -> Reader:
    def read(value: Any, path: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _refusal(f"{path} is {str(value)[:80]}, expected an integer {low} to {high}")
        return value

    return read


def _number(value: Any, path: str) -> float:
    if type(value) not in (int, float) or not abs(value) <= 1e30 or not math.isfinite(value):
        raise _refusal(f"{path} is {str(value)[:80]}, expected a finite number")
    return cast(float, value)


def _label(value: Any, path: str) -> Label:
    read = _integer(-(2**63), 2**63 - 1) if type(value) is int else _text()
    return cast("int | str", read(value, path))


def _list(item: Reader, high: int, low: int = 0) -> Reader:
    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise _refusal(f"{path}: expected a list of {low} to {high}")
        return tuple(item(each, f"{path}[{i}]") for i, each in enumerate(value))

    return read


def _map(item: Reader, high: int) -> Reader:
    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > high:
            raise _refusal(f"{path}: expected an object of at most {high} fields")
        name = _text(NAME)
        return {name(key, path): item(each, f"{path}.{key}") for key, each in value.items()}

    return read


DIGEST: Final = _text(HEX_DIGEST)
READERS: Final[Mapping[str, Reader]] = {
    "kind": _one_of("model", "head"),
    "name": _text(NAME),
    "encoder": _object(
        EncoderEntry,
        file=_one_of(*ENCODERS),
        sha256=DIGEST,
        fingerprint=DIGEST,
        taps=_list(_text(), MAX_TAPS, 1),
        input_shape=_list(_integer(1, 2**24), 8),
        input_dtype=_one_of(*INPUT_TYPES),
    ),
    "members": _map(_object(Content, bytes=_integer(0, 2**32 - 1), sha256=DIGEST), 16),
    "preprocessing": _object(
        Preprocessing, scale=_list(_number, MAX_CHANNELS), offset=_list(_number, MAX_CHANNELS)
    ),
    "classes": _list(_label, MAX_CLASSES),
    "thresholds": _map(_number, 64),
    "canary_labels": _list(_label, MAX_CANARIES),
    "requires": _object(
        Requirements,
        runtime=_text(RELEASE),
        boards=_list(_text(), MAX_BOARDS),
        memory_bytes=_integer(0, 2**48),
    ),
}


def _check_together(manifest: Manifest) -> None:
    """What one field alone cannot show."""
    names, encoder = set(manifest.members), manifest.encoder
    known = {STATE, CANARIES, LICENCES} | ({encoder.file} if manifest.kind == "model" else set())
    needed = {encoder.file} if manifest.kind == "model" else {STATE}
    if not needed <= names <= known:
        raise _refusal(f"a {manifest.kind} holds {sorted(names)}, expected {sorted(needed)}")
    if manifest.kind == "model" and manifest.members[encoder.file].sha256 != encoder.sha256:
        raise _refusal(f"encoder.sha256 is not that of {encoder.file}")
    if (CANARIES in names) != bool(manifest.canary_labels):
        raise _refusal(f"{len(manifest.canary_labels)} canary labels: canaries come with labels")
    if not suits(manifest.accelerator, encoder.file[7:]) or (
        manifest.kind == "head" and manifest.accelerator != CPU
    ):
        raise _refusal(
            f"accelerator {manifest.accelerator!r} is none of a {manifest.kind}'s {encoder.file}"
        )
    kinds = {type(label) for label in manifest.classes + manifest.canary_labels}
    if len(kinds) > 1:
        raise _refusal("labels are numbers and texts: expected one or the other")
    for labels, what in ((manifest.classes, "class"), (encoder.taps, "tap")):
        if len(set(labels)) != len(labels):
            raise _refusal(f"a {what} comes twice")
    scale, offset = manifest.preprocessing.scale, manifest.preprocessing.offset
    if len(scale) != len(offset) or (len(scale) > 1 and len(scale) not in encoder.input_shape):
        raise _refusal(
            f"{len(scale)} scales, {len(offset)} offsets for input {encoder.input_shape}: expected "
            "as many, and one or as many as channels"
        )
