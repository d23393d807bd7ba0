"""How a network becomes a header and arrays, and back, from the present format or the first.

What is read is believed only as far as the arrays bear it out: no size is allocated that a header
alone claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from adaptors._state import check_format, positive_int
from adaptors.conv import Conv1d, Conv2d
from adaptors.layers import Dense
from adaptors.recurrent import Recurrent, completed
from adaptors.rule import Array, LocalLayer

if TYPE_CHECKING:
    from adaptors.network import TargetProjectionNetwork

FORMAT: Final = "adaptors.network"
# 2: layers of every kind, momentum, noise, values. A state of version 1 is still read.
VERSION: Final = 2
SPECS: Final[dict[str, Any]] = {
    "dense": Dense,
    "conv1d": Conv1d,
    "conv2d": Conv2d,
    "recurrent": Recurrent,
}


def saved(network: TargetProjectionNetwork) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a JSON-able header and copies of all learned arrays."""
    if not isinstance(network.loss, str):
        raise ValueError(f"a network with the loss object {network.loss!r} has no saved form.")
    places = _places(network)
    arrays = {
        f"{place}.{name}": array.copy()
        for place, layer in places
        for name, array in layer.arrays.items()
    }
    header = {
        "format": FORMAT,
        "version": VERSION,
        "input_shape": list(network.input_shape),
        "n_outputs": network.n_outputs,
        "outputs": network.outputs,
        "layers": [layer.spec.header() for layer in network.layers],
        "loss": network.loss,
        "codes": network.codes,
        "momentum": network.momentum,
        "noise": network.noise,
        "seed": network.seed,
        "n_steps": network.output.n_steps,
        "rate_factors": [layer.rate_factor for _, layer in places],
    }
    return header, arrays


def restore(
    network: TargetProjectionNetwork, header: Mapping[str, Any], arrays: Mapping[str, Any]
) -> None:
    """Make ``network``, which is empty, what the state describes."""
    header = _upgraded(header)
    check_format(header, FORMAT, VERSION)
    momentum, noise = (_number(header, name) for name in ("momentum", "noise"))
    parts: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        place, _, leaf = name.rpartition(".")
        parts.setdefault(place, {})[leaf] = array
    shape = tuple(positive_int({"input_shape": n}, "input_shape") for n in header["input_shape"])
    if not shape:
        raise ValueError("state has an empty input_shape.")
    layers: list[LocalLayer] = []
    for i, described in enumerate(header["layers"]):
        before = layers[-1].output_shape if layers else shape
        layers.append(_spec(described).restore(before, parts.pop(f"hidden{i}")))
    before = layers[-1].output_shape if layers else shape
    output = Dense(positive_int(header, "n_outputs"), "linear")
    restored = output.restore(before, parts.pop("output"))
    if parts:
        raise ValueError(f"state has arrays of unknown layers {sorted(parts)}.")
    seed = positive_int(header, "seed", least=0)
    network._assemble(shape, layers, restored, header["loss"], seed)
    # Codes are made last, because the arrays have now shown that these sizes are real.
    network._begin(header["outputs"], header["codes"], momentum, noise)
    _restore_progress(network, header)


def _restore_progress(network: TargetProjectionNetwork, header: Mapping[str, Any]) -> None:
    places, factors = _places(network), header["rate_factors"]
    if len(factors) != len(places):
        raise ValueError(f"state has rate factors {factors!r}, expected one per layer.")
    for (_, layer), factor in zip(places, factors, strict=True):
        if not isinstance(factor, float) or not 0.0 < factor <= 1.0:
            raise ValueError(f"state has rate factor {factor!r}, expected within (0, 1].")
        if bool(layer.velocity) != bool(network.momentum):
            raise ValueError(f"state has momentum {network.momentum} but other arrays.")
        layer.rate_factor = factor
        layer.n_steps = positive_int(header, "n_steps", least=0)


def _places(network: TargetProjectionNetwork) -> list[tuple[str, LocalLayer]]:
    hidden = [(f"hidden{i}", layer) for i, layer in enumerate(network.layers)]
    return [*hidden, ("output", network.output)]


def _upgraded(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a header of version 1 in the words of the present one; any other as it is."""
    if header.get("format") != FORMAT or header.get("version") != 1:
        return header
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
