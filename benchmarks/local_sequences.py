"""Sequences for `benchmarks.local_learning`: images row by row, and windows of a motion sensor.

One recurrent layer of 128 units, Elman's or a GRU, and a dense output that reads its last state.
The peers are the same cells by backpropagation through time (torch), truncated or whole. tpSGD
looks one step back and no further.

MNIST: a step is a row of pixels. HAPT: a step is four readings of six channels, a window 32 steps;
the users of the test and those that settings are chosen by are others than those learned from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from adaptors import Recurrent
from benchmarks.features import Labels
from benchmarks.local_methods import Method
from benchmarks.local_networks import NetworkClassifier
from benchmarks.local_tasks import PART_ROWS, Loader, Model, Task
from benchmarks.peers.recurrent import RecurrentClassifier
from examples.datasets import hapt, mnist

N_UNITS = 128
TRUNCATION = 8
READINGS_PER_STEP = 4
CELLS = {"elman": "Elman", "gru": "GRU"}
# Users 1 to 20 are for training, and four of them for choosing settings.
LAST_TRAINING_USER, LAST_LEARNING_USER = 20, 16


@dataclass(frozen=True)
class UserTask(Task):
    """A task whose settings are chosen on users that are not learned from.

    Attributes
    ----------
    users : (n_samples,)
        Whose sample each row of X is.
    """

    users: Labels = field(default_factory=lambda: np.zeros(0, np.int64))

    def tuning_splits(self) -> list[tuple[Labels, Labels]]:
        """Return the training rows of most users, and those of the others."""
        held = self.users[self.train] > LAST_LEARNING_USER
        return [(self.train[~held][: self.tuning_rows], self.train[held])]


def _rows_task(cell: str) -> Task:
    (images, y), (test_images, test_y) = mnist.load()
    X = np.concatenate([images[:PART_ROWS], test_images]).astype(np.float32) / 255
    labels = np.concatenate([y[:PART_ROWS], test_y])
    return Task(
        key=f"rows_{cell}",
        name=f"MNIST row by row, {PART_ROWS:,} images, {CELLS[cell]} {N_UNITS}",
        X=X.reshape(-1, 28, 28),
        y=labels,
        group=np.zeros(len(X), np.int64),
        train=np.arange(PART_ROWS),
        test=np.arange(PART_ROWS, len(X)),
        hidden=(N_UNITS,),
        kind=cell,
    )


def _sensor_task(cell: str) -> Task:
    X, labels, users = hapt.load()
    rows = np.random.default_rng(0).permutation(len(X))
    is_train = users[rows] <= LAST_TRAINING_USER
    return UserTask(
        key=f"hapt_{cell}",
        name=f"HAPT, users 1-20 and 21-30, {CELLS[cell]} {N_UNITS}",
        X=X.reshape(len(X), hapt.WINDOW // READINGS_PER_STEP, -1),
        y=labels - 1,
        group=np.zeros(len(X), np.int64),
        train=rows[is_train],
        test=rows[~is_train],
        hidden=(N_UNITS,),
        kind=cell,
        users=users,
    )


def _local(task: Task, **settings: Any) -> Model:
    return NetworkClassifier([Recurrent(N_UNITS, task.kind)], **settings)


def _through_time(task: Task, **settings: Any) -> Model:
    cell: Any = task.kind
    return RecurrentClassifier(cell, N_UNITS, **settings)


def _methods() -> Sequence[Method]:
    adam = [3e-4, 1e-3, 3e-3, 1e-2]
    rates = [1.0, 3.0, 10.0, 30.0]
    return (
        Method(
            "tpSGD, cross entropy",
            _local,
            {"hidden_learning_rate": [3.0, 10.0, 30.0], "learning_rate": rates},
        ),
        Method(
            "random frozen recurrent layer",
            _local,
            {"hidden_learning_rate": [0.0], "learning_rate": rates},
        ),
        Method(
            f"backprop through {TRUNCATION} steps, Adam",
            _through_time,
            {"truncation": [TRUNCATION], "learning_rate": adam},
        ),
        Method(
            "backprop through all steps, Adam",
            _through_time,
            {"truncation": [None], "learning_rate": adam},
        ),
    )


TASKS: Mapping[str, Loader] = {
    "rows_elman": lambda _: _rows_task("elman"),
    "rows_gru": lambda _: _rows_task("gru"),
    "hapt_elman": lambda _: _sensor_task("elman"),
    "hapt_gru": lambda _: _sensor_task("gru"),
}
METHODS: Mapping[str, Sequence[Method]] = dict.fromkeys(CELLS, _methods())
