"""Is the sensor broken? Samples that repeat, channels that no longer move, or stay at their limit.

Noise never repeats to the last bit, so a healthy analogue channel changes from sample to sample. A
channel whose values did repeat while it was healthy, or its extremes (whole numbers, features cut
off at zero, pixels that are black or white), is not judged. What a broken sensor says is no
evidence of anything: it is not learned from.

A sample of few values (`MOST_CHANNELS`) is a row of channels; a matrix with as few columns is a
window over time, whose channels are judged within it. Of wider samples, such as images and
embeddings, only whole repeats are judged: there a value may rightly stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["stuck", "dead", "saturated"]
Vector = npt.NDArray[np.float64]

MOST_CHANNELS = 64
# Samples by which it is learned how a healthy channel behaves.
BASELINE_SAMPLES = 50
# Share of healthy samples that may repeat the value before, in a channel that is judged.
HEALTHY_REPEATS = 0.05
# Values of a wide sample that are compared: as many as tell two images apart.
COMPARED_VALUES = 1024
# Rows that make a matrix a window over time.
LEAST_ROWS = 8
# Samples in a row that are equal to the last bit, or for which a channel does not move, before the
# sensor is called stuck: noise never repeats.
STUCK_SAMPLES = 5
# Share of samples at the end of a channel's range that means saturation; measured over twice as
# many samples as `STUCK_SAMPLES`.
SATURATED_SHARE = 0.5


@dataclass(frozen=True)
class Fault:
    """What is wrong, since how many samples, and in which channels (none: in all)."""

    kind: Kind
    n_samples: int
    channels: tuple[int, ...] = ()

    def __str__(self) -> str:
        which = f"channels {', '.join(map(str, self.channels))}" if self.channels else "the sensor"
        return f"{which} {self.kind} for {self.n_samples} samples"


class SensorWatch:
    """Remembers the last sample, how long nothing has moved, and the range of each channel."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self._last: Vector = np.zeros(0)
        self._same = 0  # samples in a row equal to the one before
        self._start_channels(0)

    def _start_channels(self, n: int) -> None:
        self._n_seen = 0
        self._run = np.zeros(n, np.int64)  # samples for which each channel has not moved
        self._repeats = np.zeros(n, np.int64)
        self._low, self._high = np.full(n, np.inf), np.full(n, -np.inf)
        self._at_limit = np.zeros(n)  # moving share of samples at an end of the range

    def look(self, sample: npt.NDArray[Any]) -> Fault | None:
        """What is wrong with the sensor, judged by this sample and those before it."""
        if sample.dtype.kind not in "fiub":
            return None
        is_window = (
            sample.ndim == 2
            and len(sample) >= LEAST_ROWS
            and sample.shape[1] <= min(MOST_CHANNELS, len(sample) - 1)
        )
        values = _compared(sample)
        is_same = np.array_equal(values, self._last)
        self._same = self._same + 1 if is_same else 0
        found: Fault | None = None
        if self._same >= STUCK_SAMPLES - 1:
            found = Fault("stuck", self._same + 1)
        elif is_window:
            found = self._window(sample.astype(np.float64))
        elif values.size == sample.size <= MOST_CHANNELS:
            found = self._channels(values)
        self._last, self.fault = values, found
        return found

    def _window(self, window: Vector) -> Fault | None:
        """Judge each channel by its values within one window."""
        low, high = window.min(axis=0), window.max(axis=0)
        at_limit = np.maximum((window == low).mean(axis=0), (window == high).mean(axis=0))
        if len(self._run) != window.shape[1]:
            self._start_channels(window.shape[1])
        is_flat = (low == high) & (self._repeats <= HEALTHY_REPEATS * max(self._n_seen, 1))
        is_cut = (at_limit >= SATURATED_SHARE) & (low < high)
        is_cut &= self._at_limit <= HEALTHY_REPEATS * max(self._n_seen, 1)
        if self._n_seen < BASELINE_SAMPLES:
            self._n_seen += 1
            self._repeats += low == high
            self._at_limit += at_limit >= SATURATED_SHARE
            return None
        return _fault("dead", 1, is_flat) or _fault("saturated", 1, is_cut)

    def _channels(self, values: Vector) -> Fault | None:
        """Judge each channel by how it has moved from sample to sample."""
        if len(self._run) != len(values) or len(self._last) != len(values):
            self._start_channels(len(values))
            self._low, self._high = values.copy(), values.copy()
            return None
        is_same = values == self._last
        self._run = np.where(is_same, self._run + 1, 0)
        is_limit = (values == self._low) | (values == self._high)
        rate = 1 / (2 * STUCK_SAMPLES)
        self._at_limit += rate * (is_limit - self._at_limit)
        self._low, self._high = np.minimum(self._low, values), np.maximum(self._high, values)
        self._n_seen += 1
        if self._n_seen <= BASELINE_SAMPLES:
            self._repeats += is_same | is_limit
            return None
        is_judged = self._repeats <= HEALTHY_REPEATS * BASELINE_SAMPLES
        is_cut = is_judged & (self._at_limit >= SATURATED_SHARE)
        is_dead = is_judged & (self._run >= STUCK_SAMPLES - 1)
        n = int(self._run[is_dead].max(initial=0)) + 1
        return _fault("saturated", 2 * STUCK_SAMPLES, is_cut) or _fault("dead", n, is_dead)

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that later samples are judged by."""
        counts = [self._same, self._n_seen, self.fault is not None]
        return {
            "counts": np.array(counts, np.int64),
            "last": self._last,
            "run": self._run,
            "repeats": self._repeats,
            "low": self._low,
            "high": self._high,
            "at_limit": self._at_limit,
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `to_state` gave.

        Raises
        ------
        ValueError, KeyError
            Arrays are missing or do not fit.
        """
        types = {"run": np.int64, "repeats": np.int64, "low": float, "high": float,
                 "at_limit": float}  # fmt: skip
        channels = [np.array(state[name], dtype) for name, dtype in types.items()]
        is_flat = channels[0].ndim == state["last"].ndim == 1
        if (
            state["counts"].shape != (3,)
            or len({each.shape for each in channels}) != 1
            or not is_flat
        ):
            raise ValueError("the state of the sensor's watch does not fit together: was it cut?")
        self._same, self._n_seen, is_broken = (int(each) for each in state["counts"])
        self._last = np.array(state["last"], np.float64)
        self._run, self._repeats, self._low, self._high, self._at_limit = channels
        self.fault = Fault("stuck", 1) if is_broken else None


def _compared(sample: npt.NDArray[Any]) -> Vector:
    flat = sample.reshape(-1)
    return flat[:: -(-flat.size // COMPARED_VALUES) or 1].astype(np.float64)


def _fault(kind: Kind, n_samples: int, channels: npt.NDArray[np.bool_]) -> Fault | None:
    which = tuple(np.flatnonzero(channels).tolist())
    return Fault(kind, n_samples, which) if which else None
