"""Inner tensors of a model: list them, and make some of them outputs.

Exposed taps come first, in the order given; the original outputs follow, unchanged. So the last
output, by default the embedding, stays the last. Maps are exposed as they are: the board pools
them. Not here: the two file formats (`onnx_taps`, `tflite_taps`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from edge_runtime.errors import EncoderError, UnknownTapError
from edge_runtime.inputs.encoders.opening import read_model
from firmware_tools.encoder_tools import onnx_taps, tflite_taps
from firmware_tools.files import write_atomically

MAX_NAMES_IN_ERROR = 12


@dataclass(frozen=True)
class Tap:
    """A tensor that some node of the model computes.

    Attributes
    ----------
    shape
        With the batch; a free dimension is None; None altogether if it cannot be inferred.
    dtype
        In NumPy's spelling; "unknown" if it cannot be inferred.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    is_output: bool


def list_taps(path: str | Path) -> list[Tap]:
    """Every computed tensor, in the order of execution.

    Raises
    ------
    EncoderError
        If the file is no model, or damaged.
    BackendError
        If the library that reads the format is not installed.
    """
    path = Path(path)
    return _list_taps(_format(path), read_model(path))


def expose_taps(source: str | Path, target: str | Path, taps: Sequence[str]) -> Path:
    """Write a copy of a model that has these inner tensors as outputs, before its own outputs.

    Raises
    ------
    UnknownTapError
        If the model computes no tensor of that name.
    EncoderError
        If a tap is an output already, named twice or ambiguous, if ``target`` is the source or
        of another format, or the source is no model.
    """
    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise EncoderError(f"{target} is the source itself; the original is never overwritten")
    if source.suffix != target.suffix:
        raise EncoderError(f"{target.name} must end in {source.suffix}: taps change no format")
    data = read_model(source)
    format_tools = _format(source)
    _check_names(_list_taps(format_tools, data), taps)
    return write_atomically(target, format_tools.expose(data, list(taps)))


def _format(path: Path) -> ModuleType:
    return tflite_taps if path.suffix == ".tflite" else onnx_taps


def _list_taps(format_tools: ModuleType, data: bytes) -> list[Tap]:
    return [Tap(*row) for row in format_tools.rows(data)]


def _check_names(known: list[Tap], taps: Sequence[str]) -> None:
    if isinstance(taps, str) or not taps:
        raise EncoderError(f"taps is {taps!r}, expected a list of at least one name")
    if len(set(taps)) != len(taps):
        raise EncoderError(f"a tap is named twice in {list(taps)}")
    for name in taps:
        same = [tap for tap in known if tap.name == name]
        if not same:
            names = ", ".join(tap.name for tap in known[:MAX_NAMES_IN_ERROR])
            more = ", ..." if len(known) > MAX_NAMES_IN_ERROR else ""
            raise UnknownTapError(
                f"the model computes no tensor {name!r}; it computes {names}{more} "
                "(`edgectl encoder taps MODEL` lists all)"
            )
        if len(same) > 1:
            raise EncoderError(f"the model has {len(same)} tensors of the name {name!r}")
        if same[0].is_output:
            raise EncoderError(f"{name!r} is an output already: open the model with it as a tap")
        if same[0].dtype == "unknown":
            raise EncoderError(f"the type of {name!r} cannot be inferred: choose another tensor")
