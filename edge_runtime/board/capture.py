"""Raw inputs of samples, for a host that asked to see them: bounded, off until asked for."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any, Final

import numpy as np

from edge_runtime.errors import EdgeRuntimeError

MAX_CAPTURED: Final = 256


class CommandError(EdgeRuntimeError, ValueError):
    """A command that cannot be carried out; says why."""


class Captured:
    """Raw inputs of samples that were out of distribution or whose label was requested; bounded."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.wanted = 0  # samples still to be recorded
        self._samples: OrderedDict[int, Any] = OrderedDict()
        self._n_bytes = 0

    def offer(self, sample: int, x: Any) -> bool:
        """Record one sample if a recording is going on; True when it is complete by that."""
        if not self.wanted:
            return False
        array = np.array(x)
        if array.dtype.kind not in "fiub" or array.nbytes > self.max_bytes:
            return False
        self._samples[sample] = array
        self._n_bytes += array.nbytes
        while self._n_bytes > self.max_bytes or len(self._samples) > MAX_CAPTURED:
            self._n_bytes -= self._samples.popitem(last=False)[1].nbytes
        self.wanted -= 1
        return self.wanted == 0

    def one(self, sample: int) -> bytes:
        """One sample as an .npy file."""
        if sample not in self._samples:
            raise CommandError(f"sample {sample} was not captured, or is forgotten")
        out = io.BytesIO()
        np.save(out, self._samples[sample], allow_pickle=False)
        return out.getvalue()

    def all(self) -> bytes:
        """Every sample held, by id, as an .npz file."""
        out = io.BytesIO()
        named: dict[str, Any] = {str(sample): x for sample, x in self._samples.items()}
        np.savez(out, **named)
        return out.getvalue()

    def status(self) -> dict[str, int]:
        """What is held and allowed."""
        samples = len(self._samples)
        return {"samples": samples, "wanted": self.wanted, "max_bytes": self.max_bytes}
