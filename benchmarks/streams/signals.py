"""Feature sets of signals and tables: people who wear a sensor, and letters.

The IMU encoder has seen users 1 to 20; everything here is of users 21 to 30.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from benchmarks.features import FeatureSet, Labels, Matrix
from examples.datasets import hapt, letter
from examples.encoders.imu import LAST_USER, open_imu_encoder

ENCODED_AT_ONCE = 256
GAIN, BIAS, DEGREES = 2.0, 0.4, 60.0  # of a drift that is complete
GYRO_BIAS = 0.4  # rad/s
Spoil = Callable[[Matrix, Matrix], Matrix]


def imu_windows() -> tuple[Matrix, Labels, Labels]:
    """Windows (n, 128, 6), activity 0 to 5 and user, of the users that the encoder never saw."""
    signals, y, users = hapt.load()
    rows = (y <= hapt.N_BASIC) & (users > LAST_USER)
    return signals[rows], y[rows] - 1, users[rows]


def encode_windows(windows: Matrix) -> Matrix:
    """All taps of windows side by side."""
    encoder = open_imu_encoder()
    parts = [
        np.concatenate(list(encoder(windows[i : i + ENCODED_AT_ONCE]).values()), axis=1)
        for i in range(0, len(windows), ENCODED_AT_ONCE)
    ]
    return np.concatenate(parts)


def imu_taps() -> Mapping[str, int]:
    """Width of each tap of the IMU encoder."""
    return open_imu_encoder().dims


@cache
def imu_users() -> FeatureSet:
    """One domain for each of ten people."""
    windows, y, users = imu_windows()
    people, domain = np.unique(users, return_inverse=True)
    names = tuple(f"user {user}" for user in people)
    return FeatureSet(
        encode_windows(windows), y, domain, imu_taps(), hapt.ACTIVITIES[: hapt.N_BASIC], names
    )


def gain(windows: Matrix, progress: Matrix) -> Matrix:
    """All channels double."""
    return (windows * (1 + progress[:, None, None] * (GAIN - 1))).astype(np.float32)


def bias(windows: Matrix, progress: Matrix) -> Matrix:
    """A constant comes to every channel: 0.4 g, 0.4 rad/s."""
    shift = np.array([BIAS] * 3 + [GYRO_BIAS] * 3, np.float32)
    return (windows + progress[:, None, None] * shift).astype(np.float32)


def rotation(windows: Matrix, progress: Matrix) -> Matrix:
    """The phone turns by 60 degrees about its third axis."""
    angle = np.radians(DEGREES) * progress
    c, s = (f(angle)[:, None] for f in (np.cos, np.sin))
    turned = windows.copy()
    for x in (0, 3):  # the accelerometer's axes, then the gyroscope's
        turned[..., x] = c * windows[..., x] - s * windows[..., x + 1]
        turned[..., x + 1] = s * windows[..., x] + c * windows[..., x + 1]
    return turned.astype(np.float32)


RAMPS: Mapping[str, Spoil] = {"gain": gain, "bias": bias, "rotation": rotation}


@cache
def letters() -> FeatureSet:
    """All 20,000 letters in one domain; there is no encoder, sixteen measures are the features."""
    X, y = letter.load()
    return FeatureSet(
        X, y, np.zeros(len(y), np.int64), {"measures": X.shape[1]}, letter.CLASSES, ("letters",)
    )


def in_steps(data: FeatureSet, steps: int, per_class: int | None = None) -> FeatureSet:
    """The same samples with classes in steps for domains; `per_class` rows of each, the first."""
    of_class = np.arange(len(data.classes)) * steps // len(data.classes)
    rows = np.concatenate(
        [np.flatnonzero(data.y == k)[:per_class] for k in range(len(data.classes))]
    )
    rows.sort()
    names = []
    for step in range(steps):
        members = [c for c, s in zip(data.classes, of_class, strict=True) if s == step]
        names.append(f"{members[0]} to {members[-1]}")
    return FeatureSet(
        data.X[rows], data.y[rows], of_class[data.y[rows]], data.taps, data.classes, tuple(names)
    )
