"""What known samples look like: whitening, class means and their hypervectors, in one frozen unit.

Measures a sample in two ways: by direction (cosine of its hypervector to the nearest prototype)
and by whitened distance to the nearest class mean. Weighing and calibrating the two is the
business of `hdc.ood`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hdc import _state
from hdc._checks import Bits, Float32, Float64, IntArray
from hdc.covariance import PooledCovariance
from hdc.hypervector import hamming
from hdc.projection import SignedHadamard
from hdc.whitening import Form, Shrinkage, Whitening

_KIND, _VERSION = "hdc.Reference", 1


class Measured(NamedTuple):
    """Two measurements of n samples, and the class that is nearest by distance."""

    cosine: Float64
    distance: Float64
    nearest: IntArray


@dataclass(frozen=True)
class Reference:
    """Class means in whitened space, and their packed signs.

    Attributes
    ----------
    classes : (n_classes,) int64
    means : (n_classes, n_outputs) float32
    bits : (n_classes, n_dims // 64) uint64
    """

    whitening: Whitening
    projection: SignedHadamard
    classes: IntArray
    means: Float32
    bits: Bits

    @classmethod
    def of(
        cls,
        statistics: PooledCovariance,
        projection: SignedHadamard,
        *,
        shrinkage: Shrinkage,
        form: Form,
        rank: int,
    ) -> Reference:
        """Freeze the statistics as they are now."""
        rank = min(rank, statistics.n_features)
        whitening = Whitening.of(statistics, shrinkage=shrinkage, form=form, rank=rank)
        means = whitening.transform(statistics.class_means_)
        return cls(whitening, projection, statistics.classes_, means, projection.bits(means))

    @property
    def n_bytes(self) -> int:
        """Bytes held."""
        arrays = (self.classes, self.means, self.bits)
        return sum(a.nbytes for a in arrays) + self.whitening.n_bytes + self.projection.n_bytes

    def measure(self, X: Float32) -> Measured:
        """Measure samples (n, n_features).

        A single class is the origin of whitened space and has no direction: the cosine is 0 then.
        """
        Z = self.whitening.transform(X)
        norms = np.einsum("ij,ij->i", self.means, self.means)
        squares = np.einsum("ij,ij->i", Z, Z)[:, None] + norms - 2 * (Z @ self.means.T)
        nearest = self.classes[np.argmin(squares, axis=1)]
        distance = np.sqrt(np.maximum(squares.min(axis=1), 0)).astype(np.float64)
        if len(self.classes) == 1:
            return Measured(np.zeros(len(Z)), distance, nearest)
        differing = hamming(self.projection.bits(Z), self.bits).min(axis=1)
        return Measured(np.cos(np.pi / self.projection.n_dims * differing), distance, nearest)

    def to_state(self) -> tuple[_state.Header, _state.Arrays]:
        """Return header and arrays; `from_state` measures identically."""
        whitening, arrays = self.whitening.to_state()
        fields = {"n_dims": self.projection.n_dims, "seed": self.projection.seed}
        header = _state.make_header(_KIND, _VERSION, whitening=whitening, **fields)
        own: _state.Arrays = {n: getattr(self, n).copy() for n in ("classes", "means", "bits")}
        return header, own | _state.nest("whitening", arrays)

    @classmethod
    def from_state(cls, header: _state.Header, arrays: _state.Arrays) -> Reference:
        """Rebuild what `to_state` gave; raises `ValueError` for anything else."""
        _state.check_header(header, _KIND, _VERSION)
        whitening = Whitening.from_state(*_state.nested("whitening", header, arrays))
        n_dims, seed = _state.integer(header, "n_dims"), _state.integer(header, "seed")
        projection = SignedHadamard(whitening.n_outputs, n_dims, seed)
        classes = _state.take(arrays, "classes", (None,), np.int64)
        shape = (len(classes), whitening.n_outputs)
        means = _state.take(arrays, "means", shape, np.float32)
        bits = _state.take(arrays, "bits", (len(classes), n_dims // 64), np.uint64)
        if len(classes) == 0 or (bits != projection.bits(means)).any():
            raise ValueError("state has prototypes that its class means do not give")
        return cls(whitening, projection, classes, means, bits)
