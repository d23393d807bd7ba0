"""What every encoder offers, and the arithmetic around a model: check, quantise, pool.

A feature map becomes a vector by its mean over every axis between batch and channels. Which axis
holds the channels is the *format's* convention, not a guess from sizes: axis 1 in ONNX (exported
from channels-first frameworks), the last axis in TFLite. A model that departs from its format's
convention must expose vectors of its own, which pass through unchanged. Not here: any inference
library, any file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import SampleError

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float32]
Layout: TypeAlias = Literal["channels_first", "channels_last"]


@dataclass(frozen=True)
class Quantisation:
    """Integers ``q`` that stand for the real numbers ``(q - zero_point) * scale``."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class InputSpec:
    """What one sample must look like.

    Attributes
    ----------
    shape
        Of one sample, without the batch axis.
    dtype
        What the model file takes. Callers pass real numbers whatever it is.
    layout
        The format's convention for feature maps; None where there are none.
    quantisation
        How the real numbers become the model's integers; None if they do not.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: Layout | None = None
    quantisation: Quantisation | None = None


class Encoder(Protocol):
    """A frozen function from samples to named vectors; a sample's vectors ignore its neighbours."""

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the vectors, the embedding last."""

    @property
    def embedding(self) -> str:
        """Name of the last tap."""

    @property
    def dims(self) -> dict[str, int]:
        """Width of each tap."""

    @property
    def input_spec(self) -> InputSpec | None:
        """What one sample must look like; None if a sample is a dict of taps."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the model's bytes and the tap names: learned state remembers it."""

    @property
    def n_bytes(self) -> int:
        """Size of the model file."""

    @property
    def backend(self) -> str:
        """Name of the inference library."""

    def __call__(self, batch: Any, /) -> dict[str, Floats]:
        """Encode every sample: tap name to (n, width), float32, the embedding last."""


def check_batch(batch: Any, shape: tuple[int, ...]) -> Floats:
    """Return the batch as finite float32 of shape (n, ...), n > 0; the original is not changed.

    Raises
    ------
    SampleError
        If it is not an array of real numbers, has another shape, is empty, or holds NaN or inf.

    Examples
    --------
    >>> check_batch([[1, 2]], (2,))
    array([[1., 2.]], dtype=float32)
    """
    try:
        array = np.asarray(batch)
    except ValueError as error:
        raise SampleError(f"the batch is no array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise SampleError(f"the batch has dtype {array.dtype}, expected real numbers")
    if array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise SampleError(
            f"the batch has shape {array.shape}, expected (n, {', '.join(map(str, shape))})"
            f"{_likely_cause(array.shape, shape)}"
        )
    if len(array) == 0:
        raise SampleError("the batch is empty, expected at least one sample")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf and is refused below
        floats = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(floats).reshape(len(floats), -1).all(axis=1)
    if not finite.all():
        raise SampleError(
            f"sample {int(np.argmin(finite))} of the batch holds NaN or infinity: "
            "a disconnected sensor, or a division by zero before the encoder?"
        )
    return floats


def _likely_cause(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if found == expected:
        return ": this is one sample, pass x[None]"
    if sorted(found[1:]) == sorted(expected):
        return ": the axes are in another order, transpose them"
    return ": was the sample prepared for another encoder?"


def quantise(values: Floats, dtype: np.dtype[Any], quantisation: Quantisation | None) -> Array:
    """Real numbers as the model's own type; what exceeds the type's range saturates.

    Raises
    ------
    SampleError
        If the model takes integers without a scale and a value is not such an integer.

    Examples
    --------
    >>> quantise(np.float32([0, 1, 99]), np.dtype(np.int8), Quantisation(0.5, -3))
    array([ -3,  -1, 127], dtype=int8)
    """
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    if quantisation is not None:
        with np.errstate(over="ignore"):
            steps = np.rint(values / np.float32(quantisation.scale)) + quantisation.zero_point
        saturated: Array = np.clip(steps, limits.min, limits.max).astype(dtype)
        return saturated
    integers: Array = np.clip(values, limits.min, limits.max).astype(dtype)
    if not np.array_equal(integers, values):
        raise SampleError(
            f"the encoder takes raw {dtype} values from {limits.min} to {limits.max}, "
            f"found {values.min():g} to {values.max():g}: was the sample scaled already?"
        )
    return integers


def dequantise(values: Array, quantisation: Quantisation | None) -> Floats:
    """Real numbers that the model's output stands for.

    Examples
    --------
    >>> dequantise(np.array([-3, -1], np.int8), Quantisation(0.5, -3))
    array([0., 1.], dtype=float32)
    """
    floats = values.astype(np.float32)
    if quantisation is None:
        return floats
    return (floats - np.float32(quantisation.zero_point)) * np.float32(quantisation.scale)


def pool(features: Floats, layout: Layout) -> Floats:
    """Feature maps to vectors: (n, channels), the mean over space or time; vectors stay.

    Parameters
    ----------
    features : (n, channels, ...) or (n, ..., channels), as ``layout`` says.

    Examples
    --------
    >>> pool(np.arange(8, dtype=np.float32).reshape(1, 2, 4), "channels_first")
    array([[1.5, 5.5]], dtype=float32)
    """
    if features.ndim < 2:
        raise ValueError(f"features have shape {features.shape}, expected (n, channels, ...)")
    first = 1 if layout == "channels_last" else 2
    axes = tuple(range(first, first + features.ndim - 2))
    return features.mean(axis=axes, dtype=np.float32) if axes else features
