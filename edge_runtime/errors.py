"""Every error that `edge_runtime` raises on purpose, in one tree.

Each class is also a builtin, so that a caller who knows nothing of this package can still catch
`ValueError` or `LookupError`. A message says what was found, what was expected, and the likely
cause. Not here: errors of `hdc` and `adaptors`, which raise plain `ValueError` and `TypeError`.

    EdgeRuntimeError
    |-- EncoderError (ValueError)      a model file that cannot be used
    |   `-- UnknownTapError            a tap that the model does not have
    |-- BackendError (RuntimeError)    no inference library that works on this machine
    |-- SampleError (ValueError)       one sample that cannot be used
    |-- StreamError (ValueError)       a source of samples that cannot be used
    |-- LabelError (LookupError)       a label for a sample that is unknown or forgotten
    |-- BudgetError (ValueError)       a byte budget that cannot hold what was asked for
    |-- StateError (ValueError)        learned state that cannot be loaded or undone
    |   `-- EncoderMismatchError       learned state that belongs to another encoder
    |-- WireError (ValueError)         a message that cannot be used: `protocol.wire.smp`
    |-- PackError (ValueError)         a model pack that is refused: `protocol.pack.errors`
    `-- StoreError (RuntimeError)      a damaged store of packs, or a step out of turn: `board`
"""

from __future__ import annotations


class EdgeRuntimeError(Exception):
    """Anything that `edge_runtime` refuses."""


class EncoderError(EdgeRuntimeError, ValueError):
    """A model file is missing, truncated, foreign, or not usable as an encoder."""


class UnknownTapError(EncoderError):
    """A tap was asked for that the model does not have."""


class BackendError(EdgeRuntimeError, RuntimeError):
    """No inference library for this model format works on this machine."""


class SampleError(EdgeRuntimeError, ValueError):
    """One sample has the wrong shape or dtype, or holds NaN or infinity."""


class StreamError(EdgeRuntimeError, ValueError):
    """A stream is empty or its source cannot be read."""


class LabelError(EdgeRuntimeError, LookupError):
    """A label names a sample that was never seen, or is forgotten by now."""


class BudgetError(EdgeRuntimeError, ValueError):
    """The byte budget cannot hold what is asked for."""


class StateError(EdgeRuntimeError, ValueError):
    """Learned state is damaged, of another version, or not there."""


class EncoderMismatchError(StateError):
    """Learned state was learned on another encoder."""
