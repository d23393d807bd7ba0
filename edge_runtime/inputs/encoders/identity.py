"""An encoder for samples that are features already: it checks them and hands them on.

Not here: whitening or any other arithmetic; that is the learner's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_runtime.errors import EncoderError, SampleError
from edge_runtime.inputs.encoders.base import Floats, InputSpec, check_batch


class IdentityEncoder:
    """Features in, the same features out as float32; see `edge_runtime.inputs.encoders.Encoder`.

    Parameters
    ----------
    dims
        Width of the vectors, or {tap: width} with the embedding last if a sample is a dict.

    Examples
    --------
    >>> IdentityEncoder(2)([[1, 2]])
    {'embedding': array([[1., 2.]], dtype=float32)}
    """

    n_bytes = 0
    backend = "identity"

    def __init__(self, dims: int | Mapping[str, int]) -> None:
        is_dict = isinstance(dims, Mapping)
        widths = dict(dims) if isinstance(dims, Mapping) else {"embedding": dims}
        if not widths or any(type(d) is not int or d < 1 for d in widths.values()):
            raise EncoderError(f"dims is {dims!r}, expected a width of at least 1 for each tap")
        self.dims = widths
        self.taps = tuple(widths)
        self.embedding = self.taps[-1]
        self.input_spec = (
            None if is_dict else InputSpec((widths[self.embedding],), np.dtype(np.float32))
        )
        recipe = json.dumps(["identity", list(widths.items())])
        self.fingerprint = hashlib.sha256(recipe.encode()).hexdigest()

    def __call__(self, batch: Any, /) -> dict[str, Floats]:
        """Check and copy the features.

        Raises
        ------
        SampleError
            If a tap is missing or unknown, has another width or length, or holds NaN or inf.
        """
        features = batch if isinstance(batch, Mapping) else {self.embedding: batch}
        if set(features) != set(self.taps):
            found = ", ".join(map(str, features))
            raise SampleError(f"the sample has the taps {found}, expected {', '.join(self.taps)}")
        checked: dict[str, Floats] = {}
        for name, width in self.dims.items():
            try:
                checked[name] = check_batch(features[name], (width,)).copy()
            except SampleError as error:
                raise SampleError(f"tap {name!r}: {error}") from error
        lengths = {name: len(vectors) for name, vectors in checked.items()}
        if len(set(lengths.values())) != 1:
            raise SampleError(f"the taps have different numbers of samples: {lengths}")
        return checked
