"""Raw samples to feature vectors: through the encoder, or as they are where there is none.

A feature vector is the concatenation of all taps, in their order, the embedding last. What an
encoder gives is float32; measures are float64, since a clock or a counter has more digits than
float32 holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.errors import SampleError
from edge_runtime.inputs.encoders.base import Encoder

Matrix = npt.NDArray[Any]
# Squares of larger numbers, and sums of them, would leave float64's range behind.
LARGEST = 3e38


class FeatureReader:
    """Turns samples into rows of numbers, and refuses those that cannot be turned.

    Without an encoder the first sample decides the taps: a vector is one tap called "features", a
    mapping has its own, vectors or single numbers; later samples must have the same. With one, a
    mapping is what the encoder gave for a sample: it is checked and not encoded again.
    """

    def __init__(self, encoder: Encoder | None, taps: Mapping[str, int] | None = None) -> None:
        self.encoder = encoder
        self.taps: dict[str, int] = dict(taps or (encoder.dims if encoder is not None else {}))

    @property
    def n_features(self) -> int:
        """Width of a feature vector; 0 before the first sample without an encoder."""
        return sum(self.taps.values())

    def read(self, samples: Sequence[Any]) -> Matrix:
        """Features (n, d) of n samples.

        Raises
        ------
        SampleError
            Another shape, dtype or set of taps than expected, NaN or infinity.
        """
        if self.encoder is not None and not any(isinstance(each, Mapping) for each in samples):
            try:
                return self._join(self.encoder(np.stack([np.asarray(each) for each in samples])))
            except SampleError:
                raise
            except ValueError as error:
                raise SampleError(str(error)) from error
        return np.concatenate([self._join(self._as_taps(each)) for each in samples])

    def _as_taps(self, sample: Any) -> dict[str, npt.NDArray[Any]]:
        parts = sample if isinstance(sample, Mapping) else {"features": sample}
        arrays = {str(name): np.atleast_1d(np.asarray(part))[None] for name, part in parts.items()}
        if not arrays:
            raise SampleError("the sample is an empty mapping, expected names and values")
        for name, array in arrays.items():
            if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiub":
                raise SampleError(
                    f"{name} has shape {array.shape[1:]} and dtype {array.dtype}, expected a "
                    "vector of numbers: is an encoder missing?"
                )
        return arrays

    def _join(self, arrays: Mapping[str, npt.NDArray[Any]]) -> Matrix:
        widths = {name: array.shape[1] for name, array in arrays.items()}
        if self.taps and list(widths.items()) != list(self.taps.items()):
            raise SampleError(
                f"sample has taps {widths}, expected {self.taps} in this order: does it come from "
                "another encoder?"
            )
        dtype = np.float32 if self.encoder is not None else np.float64
        features = np.concatenate(list(arrays.values()), axis=1).astype(dtype)
        if not np.isfinite(features).all() or np.abs(features).max(initial=0.0) > LARGEST:
            raise SampleError(
                "features hold NaN or infinity, or are too large for float32: is the sensor broken?"
            )
        self.taps = self.taps or widths
        return features
