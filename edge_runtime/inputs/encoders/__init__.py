"""Frozen encoders: one call from a batch of samples to named vectors.

Importing this package loads NumPy and no inference library; `open_encoder` loads the one it needs.
"""

from edge_runtime.inputs.encoders.base import Encoder, InputSpec, Quantisation
from edge_runtime.inputs.encoders.identity import IdentityEncoder
from edge_runtime.inputs.encoders.opening import open_encoder

__all__ = ["Encoder", "IdentityEncoder", "InputSpec", "Quantisation", "open_encoder"]
