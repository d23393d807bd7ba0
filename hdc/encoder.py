"""Features to hypervectors as a scikit-learn transformer; the work is in `hdc.projection`."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import ArrayLike, NDArray

from hdc._checks import RandomState, derive_seed
from hdc._estimator import Estimator, TransformerMixin, check_is_fitted, check_X
from hdc.hypervector import unpack_bits
from hdc.projection import SignedHadamard


class HypervectorEncoder(TransformerMixin, Estimator):
    """Hypervectors whose angles are those of the samples. Nothing but the width is learned.

    Parameters
    ----------
    n_dims : a multiple of 64
    output : "packed" (uint64, 64 dimensions a word), "bipolar" (int8) or "real" (float32)
    random_state : an int gives the same bits on every platform

    Attributes
    ----------
    n_features_in_ : int
    projection_ : SignedHadamard

    Examples
    --------
    >>> import numpy as np
    >>> encoder = HypervectorEncoder(n_dims=256, random_state=0).fit(np.eye(3))
    >>> encoder.transform([[1.0, 2.0, 3.0]]).shape
    (1, 4)
    """

    def __init__(
        self,
        n_dims: int = 8192,
        output: Literal["packed", "bipolar", "real"] = "packed",
        random_state: RandomState = None,
    ) -> None:
        self.n_dims = n_dims
        self.output = output
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: ArrayLike, y: Any = None) -> HypervectorEncoder:
        """Learn the width of ``X``; ``y`` is ignored."""
        if self.output not in ("packed", "bipolar", "real"):
            raise ValueError(f"output is {self.output!r}, expected packed, bipolar or real")
        X = check_X(self, X, reset=True)
        self.n_features_in_: int
        seed = derive_seed(self.random_state)
        self.projection_ = SignedHadamard(X.shape[1], self.n_dims, seed)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Hypervectors of samples (n, n_features_in_): (n, n_dims), or n_dims // 64 if packed."""
        check_is_fitted(self)
        X = check_X(self, X)
        if self.output == "real":
            return self.projection_.real(X)
        bits = self.projection_.bits(X)
        return bits if self.output == "packed" else unpack_bits(bits)
