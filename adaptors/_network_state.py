"""How a network becomes a header and arrays, and back, from the present format or the first.

What is read is believed only as far as the arrays bear it out: no size is allocated that a header
alone claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from adaptors._state import check_format, positive_int
from adaptors.conv import Conv1d, Conv2d
from adaptors.layers import Dense, DenseLayer
from adaptors.recurrent import Recurrent, completed
from adaptors.rule import Array, LocalLayer, Shape

FORMAT: Final = "adaptors.network"
# 2: layers of every kind, momentum, noise, values. A state of version 1 is still read.
VERSION: Final = 2
SPECS: Final[dict[str, Any]] = {
    "dense": Dense,
    "conv1d": Conv1d,
    "conv2d": Conv2d,
    "recurrent": Recurrent,
}


class Parts(NamedTuple):
    """What a network is put together from: all that its state describes, but the progress."""

    input_shape: Shape
    layers: list[LocalLayer]
    output: DenseLayer
    loss: Any
    seed: int
    outputs: str
    codes: str
    momentum: float
    noise: float


def saved(parts: Parts) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a JSON-able header and copies of all learned arrays."""
    if not isinstance(parts.loss, str):
        raise ValueError(f"a network with the loss object {parts.loss!r} has no saved form.")
    hidden = [(f"hidden{i}", layer) for i, layer in enumerate(parts.layers)]
    places: list[tuple[str, LocalLayer]] = [*hidden, ("output", parts.output)]
    arrays = {
        f"{place}.{name}": array.copy()
        for place, layer in places
        for name, array in layer.arrays.items()
    }
    header = {
        "format": FORMAT,
        "version": VERSION,
        "input_shape": list(parts.input_shape),
        "n_outputs": parts.output.n_units,
        "outputs": parts.outputs,
        "layers": [layer.spec.header() for layer in parts.layers],
        "loss": parts.loss,
        "codes": parts.codes,
        "momentum": parts.momentum,
        "noise": parts.noise,
        "seed": parts.seed,
        "n_steps": parts.output.n_steps,
        "rate_factors": [layer.rate_factor for _, layer in places],
    }
    return header, arrays


def upgraded(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a header in the words of the present version; refuse an unknown one."""
    if header.get("format") == FORMAT and header.get("version") == 1:
        header = _from_version_1(header)
    check_format(header, FORMAT, VERSION)
    return header


def restored(header: Mapping[str, Any], arrays: Mapping[str, Any]) -> Parts:
    """Return the parts that an `upgraded` header and its arrays describe."""
    momentum, noise = (_number(header, name) for name in ("momentum", "noise"))
    by_place: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        place, _, leaf = name.rpartition(".")
        by_place.setdefault(place, {})[leaf] = array
    shape = tuple(positive_int({"input_shape": n}, "input_shape") for n in header["input_shape"])
    if not shape:
        raise ValueError("state has an empty input_shape.")
    layers: list[LocalLayer] = []
    for i, described in enumerate(header["layers"]):
        before = layers[-1].output_shape if layers else shape
        layers.append(_spec(described).restore(before, by_place.pop(f"hidden{i}")))
    before = layers[-1].output_shape if layers else shape
    output = Dense(positive_int(header, "n_outputs"), "linear").restore(
        before, by_place.pop("output")
    )
    if by_place:
        raise ValueError(f"state has arrays of unknown layers {sorted(by_place)}.")
    seed = positive_int(header, "seed", least=0)
    loss, outputs, codes = header["loss"], header["outputs"], header["codes"]
    return Parts(shape, layers, output, loss, seed, outputs, codes, momentum, noise)


def restore_progress(
    layers: Sequence[LocalLayer], momentum: float, header: Mapping[str, Any]
) -> None:
    """Give all layers, the output last, the rates and steps of an `upgraded` header.

    Comes after the network has checked its momentum, so that a wrong one is named as such.
    """
    factors = header["rate_factors"]
    if len(factors) != len(layers):
        raise ValueError(f"state has rate factors {factors!r}, expected one per layer.")
    for layer, factor in zip(layers, factors, strict=True):
        if not isinstance(factor, float) or not 0.0 < factor <= 1.0:
            raise ValueError(f"state has rate factor {factor!r}, expected within (0, 1].")
        if bool(layer.velocity) != bool(momentum):
            raise ValueError(f"state has momentum {momentum} but other arrays.")
        layer.rate_factor = factor
        layer.n_steps = positive_int(header, "n_steps", least=0)


def _from_version_1(header: Mapping[str, Any]) -> Mapping[str, Any]:
    new = {"outputs": "classes", "codes": "sign", "momentum": 0.0, "noise": 0.0, "n_steps": 0}
    kept = {name: header[name] for name in ("format", "layers", "loss", "seed", "rate_factors")}
    return {
        **kept,
        **new,
        "version": VERSION,
        "input_shape": [header["n_inputs"]],
        "n_outputs": header["n_classes"],
        "layers": [{"normalise": False, **described} for described in header["layers"]],
    }


def _spec(described: Mapping[str, Any]) -> Any:
    fields = dict(described)
    if fields["kind"] == "recurrent":
        fields = completed(fields)
    kind = SPECS.get(fields.pop("kind"))
    if kind is None or set(fields) != set(kind.__dataclass_fields__):
        raise ValueError(f"state describes an unknown layer {dict(described)!r}.")
    return kind(**fields)


def _number(header: Mapping[str, Any], name: str) -> float:
    value = header[name]
    if not isinstance(value, float) or not np.isfinite(value):
        raise ValueError(f"state header has {name} = {value!r}, expected a finite number.")
    return value
