"""Which rules compete in `benchmarks.local_learning`, and the rates that validation chooses among.

The ladders of rates are at the end, one list of methods for each kind of task. A choice climbs the
ladders from their middle, one at a time, on validation rows alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptors import Conv2d, TargetProjectionClassifier, TargetProjectionNetwork
from benchmarks.features import Labels
from benchmarks.local_networks import NetworkClassifier
from benchmarks.local_tasks import Model, Task
from benchmarks.memory import Rule, peak_bytes
from benchmarks.peers.backprop import BackpropClassifier
from benchmarks.peers.closed_form import ForwardProjectionClassifier, LabelProjectionClassifier
from benchmarks.peers.convolution import ConvolutionalClassifier
from benchmarks.peers.local_rules import (
    DirectFeedbackAlignment,
    DirectRandomTargetProjection,
    StaticContrast,
)

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A learning rule and the settings among which validation chooses.

    Attributes
    ----------
    build
        Called with the task, ``epochs``, ``batch_size``, ``random_state`` and one of each setting.
    ladders
        Values of each setting, in their order; a setting with one value is fixed.
    rule
        Which formula of `memory.DenseStack` counts its bytes and products; None: neither.
    is_relative
        Whether it is here for comparison only, with fewer seeds where a task is dear.
    """

    name: str
    build: Callable[..., Model]
    ladders: Mapping[str, Sequence[Any]]
    rule: Rule | None = None
    is_relative: bool = False

    @property
    def start(self) -> Settings:
        """The middle of each ladder, the lower of two."""
        return {name: values[(len(values) - 1) // 2] for name, values in self.ladders.items()}

    def tune(self, task: Task) -> Settings:
        """Return the settings that answer validation rows best, found by climbing."""
        splits = task.tuning_splits()

        def score(settings: Settings) -> float:
            models = (self.fit(task, learn, 0, settings) for learn, _ in splits)
            held = (rows for _, rows in splits)
            return float(
                np.mean([task.score(m, rows) for m, rows in zip(models, held, strict=True)])
            )

        return climb(self.ladders, self.start, score)

    def fit(self, task: Task, rows: Labels, seed: int, settings: Settings) -> Model:
        """Return a model that has learned `rows`."""
        schedule = {"epochs": task.epochs, "batch_size": task.batch_size, "random_state": seed}
        model = self.build(task, **schedule, **settings)
        with warnings.catch_warnings():  # a rate that diverges is a bad candidate, no more
            warnings.simplefilter("ignore", RuntimeWarning)
            model.fit(task.X[rows], task.y[rows])
        return model

    def describe(self, settings: Settings) -> str:
        """Return what was chosen among several, with a star where it is the first or last rate."""
        parts = []
        for name, value in settings.items():
            ladder = self.ladders[name]
            if len(ladder) > 1:
                at_end = not isinstance(value, str) and value in (ladder[0], ladder[-1])
                parts.append(f"{name}={value}{'*' if at_end else ''}")
        return ", ".join(parts)


def climb(
    ladders: Mapping[str, Sequence[Any]], start: Settings, score: Callable[[Settings], float]
) -> Settings:
    """Return the settings from which no step along one ladder scores better; none is tried twice.

    >>> best = climb({"a": range(9), "b": "xyz"}, {"a": 4, "b": "y"}, lambda s: -abs(s["a"] - 7))
    >>> best
    {'a': 7, 'b': 'y'}
    """
    known: dict[tuple[int, ...], float] = {}

    def scored(place: tuple[int, ...]) -> float:
        if place not in known:
            known[place] = score(at(place))
        return known[place]

    def at(place: tuple[int, ...]) -> Settings:
        return {name: ladders[name][i] for name, i in zip(ladders, place, strict=True)}

    best = tuple(list(values).index(start[name]) for name, values in ladders.items())
    improved = True
    while improved:
        improved = False
        for axis, values in enumerate(ladders.values()):
            for step in (1, -1):
                while 0 <= best[axis] + step < len(values):
                    place = (*best[:axis], best[axis] + step, *best[axis + 1 :])
                    if scored(place) <= scored(best):
                        break
                    best, improved = place, True
    return at(best)


def update_peak(model: Model, task: Task, n_rows: int) -> int | None:
    """Bytes that one update on `n_rows` rows allocates at its peak; None where it is not seen.

    The rows themselves, standardised, and what the model holds between updates are not counted.
    """
    rows = task.train[np.arange(n_rows) % len(task.train)]
    X, y = task.X[rows].astype(np.float32), task.y[rows]
    network = getattr(model, "network_", getattr(model, "network", None))
    if isinstance(network, TargetProjectionNetwork):

        def update() -> None:
            network.step(X, y, learning_rate=0.0, hidden_learning_rate=0.0)

    elif isinstance(model, BackpropClassifier):

        def update() -> None:
            model._update(model._gradients(X, y), 0.0, 1)

    else:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        update()
        return peak_bytes(update)


# -- what competes, and its ladders -------------------------------------------------------------


def _dense(model: Callable[..., Model]) -> Callable[..., Model]:
    return lambda task, **settings: model(hidden=task.hidden, **settings)


def _closed_form(model: Callable[..., Model]) -> Callable[..., Model]:
    """Return a builder of what passes over the data once: epochs and batches do not apply."""

    def build(task: Task, epochs: int, batch_size: int, **settings: Any) -> Model:
        del epochs, batch_size
        return model(hidden=task.hidden, **settings)

    return build


def _tpsgd(loss: str, hidden_rates: Sequence[float]) -> Method:
    compares = loss == "cross_entropy"
    ladders = {
        "loss": ["cross_entropy", "sharp_cross_entropy"] if compares else [loss],
        "activation": ["relu", "tanh"] if compares else ["tanh"],
        "hidden_learning_rate": hidden_rates,
        "learning_rate": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0],
    }
    rule: Rule = "local cross-entropy" if compares else "local"
    name = f"tpSGD, {loss.replace('_', ' ')}"
    return Method(name, _dense(TargetProjectionClassifier), ladders, rule)


def _backprop(name: str, rule: Rule | None = "backprop", **ladders: Sequence[Any]) -> Method:
    return Method(
        name, _dense(BackpropClassifier), {"activation": ["relu", "tanh"], **ladders}, rule
    )


def _relative(name: str, model: Callable[..., Model], **ladders: Sequence[Any]) -> Method:
    activations = {"activation": ["relu", "tanh"]}
    return Method(name, model, {**activations, **ladders}, is_relative=True)


ADAM_RATES = [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]

DENSE = (
    _tpsgd("l2", [0.1, 0.3, 1.0, 3.0, 10.0]),
    _tpsgd("l1", [0.3, 1.0, 3.0, 10.0, 30.0, 100.0]),
    _tpsgd("cross_entropy", [1.0, 3.0, 10.0, 30.0, 100.0, 300.0]),
    _backprop(
        "random frozen hidden",
        None,
        freeze_hidden=[True],
        optimiser=["adam"],
        learning_rate=[3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
    ),
    _backprop(
        "backprop, SGD momentum",
        optimiser=["sgd"],
        learning_rate=[1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1],
    ),
    _backprop("backprop, Adam", optimiser=["adam"], learning_rate=ADAM_RATES),
    _relative("DRTP", _dense(DirectRandomTargetProjection), learning_rate=ADAM_RATES),
    _relative("DFA", _dense(DirectFeedbackAlignment), learning_rate=ADAM_RATES),
    _relative("DCL-S", _dense(StaticContrast), learning_rate=ADAM_RATES),
    _relative(
        "label projection",
        _closed_form(LabelProjectionClassifier),
        ridge=[10.0, 1e2, 1e3, 1e4, 1e5],
    ),
    _relative(
        "forward projection",
        _closed_form(ForwardProjectionClassifier),
        ridge=[10.0, 1e2, 1e3, 1e4, 1e5],
    ),
)


def _target_projection_images(task: Task, **settings: Any) -> Model:
    """The shape of `peers.convolution.ConvolutionalClassifier`, its layers by tpSGD."""
    layers = [
        Conv2d(width, 3, "relu", padding=1, pool="max", normalise=True, target="grid")
        for width in task.hidden
    ]
    return NetworkClassifier(layers, standardise="whole", whiten=True, **settings)


def _torch_images(task: Task, **settings: Any) -> Model:
    shape = tuple(task.X.shape[1:])
    return ConvolutionalClassifier(shape, task.hidden, **settings)


CONVOLUTIONAL = (
    Method(
        "tpSGD, cross entropy",
        _target_projection_images,
        {
            "loss": ["cross_entropy"],
            "hidden_learning_rate": [3.0, 10.0, 30.0, 100.0],
            "learning_rate": [3.0, 10.0, 30.0],
        },
    ),
    Method(
        "random frozen convolutions, tpSGD output",
        _target_projection_images,
        {"hidden_learning_rate": [0.0], "learning_rate": [1.0, 3.0, 10.0, 30.0]},
    ),
    Method(
        "random frozen convolutions, Adam output",
        _torch_images,
        {"freeze_convolutions": [True], "learning_rate": [3e-4, 1e-3, 3e-3, 1e-2]},
    ),
    Method("backprop, Adam", _torch_images, {"learning_rate": [3e-4, 1e-3, 3e-3, 1e-2]}),
)

METHODS: Mapping[str, Sequence[Method]] = {"dense": DENSE, "convolutional": CONVOLUTIONAL}
