"""Where samples come from: files, tables, lines on standard input, a serial sensor. One at a time.

Every source is an iterator for `EdgeRuntime.run`. Rules of this file:

* A sample that cannot be read becomes a `BadSample`, which the runtime refuses, counts and skips
  like any other bad sample: it never ends the stream.
* A source that cannot be read at all is a `StreamError` at once; one that turns out to be empty
  is a `StreamError` at its end.
* Nothing from outside decides how much memory is taken.

A camera needs no code here: any iterator of arrays is a stream. Not here: encoding, preprocessing
of images (the caller's ``load``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import SampleError, StreamError

# More values than any encoder's features have; a line gives each of them 16 characters.
MAX_VALUES: Final = 16_384
MAX_LINE_BYTES: Final = 16 * MAX_VALUES
_CHUNK_BYTES: Final = 16_384

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class BadSample:
    """Stands where a sample could not be read; whoever uses it as an array learns why.

    Examples
    --------
    >>> np.asarray(BadSample("line 3: 'x' is no number"))
    Traceback (most recent call last):
    ...
    edge_runtime.errors.SampleError: line 3: 'x' is no number
    """

    reason: str

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        raise SampleError(self.reason)


class ByteSource(Protocol):
    """What a binary file has besides what `BinaryIO` says."""

    def read1(self, size: int, /) -> bytes:
        """At most `size` bytes, as soon as there are any; none at the end."""


def load_npy(path: Path) -> Array:
    """Read an .npy file: no pickle, and no more memory than the file is long."""
    return np.array(_map_npy(path))


def from_files(
    source: str | Path | Iterable[str | Path], load: Callable[[Path], Any] = load_npy
) -> Iterator[Any]:
    """One sample from each file: of a folder by name, hidden ones left out, or of a list in order.

    Parameters
    ----------
    load : makes a sample of a file, such as an image made ready for the encoder. Whatever it
        raises makes that one file a bad sample.

    Raises
    ------
    StreamError
        A file or the folder is missing; at the end: there was no file.
    """
    if isinstance(source, str | Path):
        paths = _files_in(Path(source))
    else:
        paths = [_existing(path) for path in source]
    return _never_empty((_load(path, load) for path in paths), str(source))


def from_table(path: str | Path) -> Iterator[Array | BadSample]:
    """One sample from each row of an .npy or .csv file; a .csv may begin with a line of names.

    Raises
    ------
    StreamError
        The file is missing or not such a table; at the end: it had no row.
    """
    path = _existing(path)
    if path.suffix.lower() == ".csv":
        return _never_empty(_csv_rows(path), str(path))
    if path.suffix.lower() != ".npy":
        raise StreamError(f"{path} ends in {path.suffix!r}, expected .npy or .csv")
    try:
        rows = _map_npy(path)
    except (OSError, ValueError) as error:
        raise StreamError(f"cannot read {path} as .npy: {error}") from error
    if rows.ndim < 2 or rows.dtype.kind not in "fiub":
        raise StreamError(
            f"{path} has shape {rows.shape} and dtype {rows.dtype}, expected rows of numbers"
        )
    return _never_empty((np.array(row) for row in rows), str(path))


def from_lines(file: BinaryIO | ByteSource) -> Iterator[Array | BadSample]:
    r"""One sample from each line of numbers, between commas or spaces; blank lines are no samples.

    Parameters
    ----------
    file : opened in binary mode; standard input is ``sys.stdin.buffer``.

    Raises
    ------
    StreamError
        At the end: there was no line.

    Examples
    --------
    >>> import io
    >>> list(from_lines(io.BytesIO(b"1,2\n3 oops\n")))
    [array([1., 2.]), BadSample(reason="line 2: '3 oops' is not a line of numbers")]
    """
    read1 = getattr(file, "read1", None)
    if read1 is None:
        raise StreamError(
            f"{type(file).__name__} gives no bytes: open the file in binary mode, or pass "
            "sys.stdin.buffer"
        )
    chunks = iter(lambda: read1(_CHUNK_BYTES), b"")
    return _never_empty(_parsed(_split_lines(chunks)), str(getattr(file, "name", "the stream")))


def from_serial(port: str, baud: int = 115_200) -> Iterator[Array | BadSample]:
    """One sample from each line that a serial sensor sends, for ever; see `from_lines`.

    The port is opened at the first sample and closed with the iterator. What arrives before the
    first end of line is dropped: it is rarely a whole line.

    Parameters
    ----------
    port : device, or a URL that pyserial knows.

    Raises
    ------
    StreamError
        The port cannot be opened, or is lost.
    """
    import serial

    try:
        with serial.serial_for_url(port, baudrate=baud) as opened:
            chunks = iter(lambda: opened.read(max(1, min(opened.in_waiting, _CHUNK_BYTES))), b"")
            lines = _split_lines(chunks)
            next(lines, None)
            yield from _parsed(lines)
    except (OSError, ValueError) as error:  # pyserial's own error is an OSError
        raise StreamError(f"serial port {port}: {error}; is it plugged in and free?") from error


def windows(
    readings: Iterable[Any], length: int, step: int | None = None
) -> Iterator[Array | BadSample]:
    """Windows (length, ...) over a signal that comes reading by reading, one every `step` readings.

    A reading is a number, or a vector of channels as `from_lines` and `from_serial` give them. Bad
    ones (`BadSample`, another shape than the first good one, not finite) end the window that they
    fall into: one bad sample stands for a run of them, and a new window begins after the last.
    Readings at the end that fill no window are left out. Holds `length` readings, never more.

    Parameters
    ----------
    length : readings in a window.
    step : readings between the beginnings of two windows; `length`, if not given: no overlap.

    Raises
    ------
    StreamError
        At the end: there was neither a window nor a bad sample.

    Examples
    --------
    >>> [window.tolist() for window in windows([1, 2, 3, 4, 5], length=3, step=2)]
    [[1, 2, 3], [3, 4, 5]]
    """
    step = length if step is None else step
    if not 1 <= length <= MAX_VALUES or step < 1:
        raise ValueError(
            f"length is {length}, step {step}: expected 1 to {MAX_VALUES}, and 1 or more readings"
        )
    return _never_empty(
        _windowed(readings, length, step), f"a signal of less than {length} readings"
    )


def _windowed(readings: Iterable[Any], length: int, step: int) -> Iterator[Array | BadSample]:
    kept: list[Array] = []
    shape: tuple[int, ...] | None = None
    to_skip = 0
    is_bad = False
    for number, reading in enumerate(readings, start=1):
        values, reason = _checked_reading(reading, shape)
        if values is None:
            if not is_bad:
                yield BadSample(f"reading {number}: {reason}")
            kept, to_skip, is_bad = [], 0, True
            continue
        shape, is_bad = values.shape, False
        if to_skip:
            to_skip -= 1
            continue
        kept.append(values)
        if len(kept) == length:
            yield np.stack(kept)
            kept, to_skip = kept[step:], max(step - length, 0)


def _checked_reading(reading: Any, shape: tuple[int, ...] | None) -> tuple[Array | None, str]:
    """The reading as a small array of numbers, or None and what is wrong with it."""
    if isinstance(reading, BadSample):
        return None, reading.reason
    try:
        values = np.asarray(reading)
    except ValueError as error:
        return None, f"no array: {error}"
    if values.dtype.kind not in "fiu" or values.size > MAX_VALUES:
        return None, f"{values.size} values of dtype {values.dtype}, expected numbers"
    if shape is not None and values.shape != shape:
        return None, f"shape {values.shape}, expected {shape} as before"
    if not np.isfinite(values).all():
        return None, "NaN or infinity: a disconnected sensor?"
    return values, ""


def _never_empty(samples: Iterable[Any], source: str) -> Iterator[Any]:
    is_empty = True
    for sample in samples:
        is_empty = False
        yield sample
    if is_empty:
        raise StreamError(f"{source} is empty, expected at least one sample")


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise StreamError(f"{path} {'is no file' if path.exists() else 'does not exist'}")
    return path


def _files_in(folder: Path) -> Sequence[Path]:
    if not folder.is_dir():
        found = "a file" if folder.exists() else "missing"
        raise StreamError(f"{folder} is {found}, expected a folder or a list of files")
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


def _load(path: Path, load: Callable[[Path], Any]) -> Any:
    try:
        return load(path)
    except Exception as error:  # a decoder may raise anything at a damaged file
        return BadSample(f"{path}: {type(error).__name__}: {error}")


def _map_npy(path: Path) -> Array:
    """Memory-mapped, so that a header cannot claim more than the file holds."""
    mapped: Array = np.lib.format.open_memmap(path, mode="r")
    return mapped


def _csv_rows(path: Path) -> Iterator[Array | BadSample]:
    with path.open("rb") as file:
        names = file.readline(MAX_LINE_BYTES)
        if any(_is_number(field) for field in _fields(names)):
            file.seek(0)
        yield from _parsed(_split_lines(iter(lambda: file.read1(_CHUNK_BYTES), b"")))


def _split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines without their ends; of one that is too long only the beginning, itself too long."""
    kept = bytearray()
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            kept += line
            yield bytes(kept[: MAX_LINE_BYTES + 1])
            kept.clear()
        kept += rest
        del kept[MAX_LINE_BYTES + 1 :]
    if kept:
        yield bytes(kept)


def _parsed(lines: Iterable[bytes]) -> Iterator[Array | BadSample]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parse(line, f"line {number}")


def _parse(line: bytes, where: str) -> Array | BadSample:
    if len(line) > MAX_LINE_BYTES:
        return BadSample(f"{where} is longer than {MAX_LINE_BYTES} bytes")
    fields = _fields(line)
    if len(fields) > MAX_VALUES:
        return BadSample(f"{where} has more than {MAX_VALUES} values")
    try:
        return np.array([float(field) for field in fields])
    except ValueError:
        shown = line[:40].decode("ascii", "replace").strip()
        return BadSample(f"{where}: {shown!r} is not a line of numbers")


def _fields(line: bytes) -> list[bytes]:
    return line.split(b"," if b"," in line else None, MAX_VALUES)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
