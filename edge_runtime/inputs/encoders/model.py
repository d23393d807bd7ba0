"""An encoder made of a model file: the same behaviour whatever library runs it.

Samples run one by one, never as a batch. On one thread that costs nothing (EfficientNet-Lite0:
14 ms a sample either way), models with a batch of 1 built in need no second path, memory does not
grow with the batch, and a sample's vectors cannot depend on its neighbours, so that a recorded
stream replays to the same bytes. Not here: files, and the inference libraries behind `Runner`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from edge_runtime.errors import EncoderError, SampleError, UnknownTapError
from edge_runtime.inputs.encoders.base import (
    Array,
    Floats,
    InputSpec,
    Layout,
    Quantisation,
    check_batch,
    dequantise,
    pool,
    quantise,
)

DEFAULT_EMBEDDING = "embedding"
MAX_SAMPLE_BYTES = 256 * 2**20  # a 4K colour frame in float32 has 100 MB
INPUT_TYPES = ("float16", "float32", "float64", "int8", "uint8")


@dataclass(frozen=True)
class InputTensor:
    """One input as the file declares it; a free dimension is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantisation: Quantisation | None = None


class Runner(Protocol):
    """A loaded model, one sample at a time: what an inference library must provide."""

    @property
    def backend(self) -> str:
        """Name of the library."""

    @property
    def accelerator(self) -> str:
        """Name of what computes: "cpu", or the accelerator that was asked for and is in use."""

    @property
    def layout(self) -> Layout:
        """Where the format keeps the channels of a feature map."""

    @property
    def inputs(self) -> tuple[InputTensor, ...]:
        """Inputs as the file declares them; an encoder has one."""

    @property
    def outputs(self) -> dict[str, Quantisation | None]:
        """Names of the outputs in the file's order, and how to read their integers."""

    def run(self, sample: Array, names: Sequence[str]) -> list[Any]:
        """Compute these outputs for a sample with a batch axis of 1; any exception may come."""


class ModelEncoder:
    """See `edge_runtime.inputs.encoders.Encoder`; made by `open_encoder`."""

    def __init__(
        self, runner: Runner, data: bytes, taps: Sequence[str] | None, embedding: str | None
    ) -> None:
        self._runner = runner
        self.backend = runner.backend
        self.accelerator = runner.accelerator
        self.input_spec = _input_spec(runner)
        # One run on zeros tells what no declaration promises: that the model runs at all, which
        # outputs are vectors or maps, and how wide they are.
        zeros = np.zeros((1, *self.input_spec.shape), self.input_spec.dtype)
        answers = _run(runner, zeros, tuple(runner.outputs))
        usable = {name: _width(answer, runner.layout) for name, answer in answers.items()}
        self.taps = _choose_taps(usable, taps, embedding)
        self.embedding = self.taps[-1]
        self.dims = {name: _tap_width(name, usable) for name in self.taps}
        self.n_bytes = len(data)
        self.fingerprint = hashlib.sha256(data + json.dumps(self.taps).encode()).hexdigest()

    def __call__(self, batch: Any, /) -> dict[str, Floats]:
        """Encode every sample: tap name to (n, width), float32, the embedding last.

        Raises
        ------
        SampleError
            If the batch has the wrong shape or type, or the model answers with NaN.
        EncoderError
            If the inference library fails.
        """
        samples = check_batch(batch, self.input_spec.shape)
        taps = {name: np.empty((len(samples), d), np.float32) for name, d in self.dims.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # reported below as infinite
            values = quantise(samples, self.input_spec.dtype, self.input_spec.quantisation)
            for row in range(len(values)):
                for name, answer in _run(self._runner, values[row : row + 1], self.taps).items():
                    taps[name][row] = self._vector(name, answer)
        for name, vectors in taps.items():
            _check_finite(name, vectors)
        return taps

    def _vector(self, name: str, answer: Any) -> Floats:
        width = _width(answer, self._runner.layout)
        if width != self.dims[name]:
            raise EncoderError(f"tap {name!r} was {self.dims[name]} wide and is now {width}")
        real = dequantise(answer, self._runner.outputs[name])
        vector: Floats = pool(real, self._runner.layout)[0]
        return vector


def _input_spec(runner: Runner) -> InputSpec:
    if len(runner.inputs) != 1:
        names = ", ".join(tensor.name for tensor in runner.inputs) or "none"
        raise EncoderError(f"the model has the inputs {names}; an encoder takes exactly one")
    tensor = runner.inputs[0]
    found = f"the model's input {tensor.name!r} has"
    if tensor.dtype not in INPUT_TYPES:
        raise EncoderError(
            f"{found} type {tensor.dtype}, expected one of {', '.join(INPUT_TYPES)}: an encoder "
            "takes signals, not indices or strings"
        )
    batch, *shape = tensor.shape if tensor.shape else (0,)
    if batch not in (1, None):
        raise EncoderError(
            f"{found} shape {tensor.shape}, expected a first dimension (the batch) of 1 or free: "
            "export the model so"
        )
    sizes = tuple(size for size in shape if size)
    if len(sizes) != len(shape):
        raise EncoderError(
            f"{found} shape {tensor.shape}: only the batch may be free, fix the others "
            "(`python -m onnxruntime.tools.make_dynamic_shape_fixed`)"
        )
    n_bytes = prod(sizes) * np.dtype(tensor.dtype).itemsize
    if n_bytes > MAX_SAMPLE_BYTES:
        raise EncoderError(
            f"{found} {n_bytes} bytes a sample, at most {MAX_SAMPLE_BYTES} are accepted: damaged?"
        )
    return InputSpec(sizes, np.dtype(tensor.dtype), runner.layout, tensor.quantisation)


def _run(runner: Runner, sample: Array, names: Sequence[str]) -> dict[str, Any]:
    try:
        return dict(zip(names, runner.run(sample, names), strict=True))
    except Exception as error:  # each library has its own family of exceptions
        raise EncoderError(f"{runner.backend} cannot run the model: {error}") from error


def _width(answer: Any, layout: Layout) -> int | None:
    """Channels of an output for one sample; None if it is no vector or feature map of numbers."""
    if not isinstance(answer, np.ndarray) or answer.dtype.name not in INPUT_TYPES:
        return None
    if answer.ndim < 2 or answer.shape[0] != 1 or answer.size == 0:
        return None
    return int(answer.shape[-1 if layout == "channels_last" else 1])


def _choose_taps(
    usable: dict[str, int | None], taps: Sequence[str] | None, embedding: str | None
) -> tuple[str, ...]:
    """Names in order, the embedding last; see `open_encoder` for the rules."""
    if isinstance(taps, str):
        raise EncoderError(f"taps is the string {taps!r}, expected a list of names: [{taps!r}]")
    if taps is None:
        chosen = [name for name, width in usable.items() if width]
        if embedding is None and DEFAULT_EMBEDDING in chosen:
            embedding = DEFAULT_EMBEDDING
        if embedding in chosen:  # what follows the embedding is a head, not a tap
            chosen = chosen[: chosen.index(embedding)]
    else:
        chosen = [name for name in taps if name != embedding]
    if embedding is not None:
        chosen.append(embedding)
    if not chosen:
        raise EncoderError("no taps: the model has no output that is a vector or a feature map")
    if len(set(chosen)) != len(chosen):
        raise EncoderError(f"a tap is named twice in {chosen}")
    return tuple(chosen)


def _tap_width(name: str, usable: dict[str, int | None]) -> int:
    if name not in usable:
        raise UnknownTapError(
            f"the model has no output {name!r}; it has {', '.join(usable)}. An inner tensor "
            f"becomes an output by `edgectl encoder expose MODEL --tap {name} -o OUT`"
        )
    width = usable[name]
    if not width:
        raise EncoderError(
            f"output {name!r} is no tap: expected real numbers of shape (1, channels, ...)"
        )
    return width


def _check_finite(name: str, vectors: Floats) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise SampleError(
            f"tap {name!r} is NaN or infinite for sample {int(np.argmin(finite))}: is the sample "
            "prepared (scaled, normalised) as this encoder expects?"
        )
