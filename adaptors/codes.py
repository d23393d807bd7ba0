"""Label codes: the fixed random target of every class in every layer.

The code of a class depends on (seed, layer, class index) and nothing else. A class can therefore be
added at any time without touching another, and no code is ever stored. Never trained.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def sign_code(seed: int, layer: int, label: int, n_units: int) -> npt.NDArray[np.bool_]:
    """Return the random bits of one class: which units of one layer it wants high.

    Bits are read from PCG64 itself, whose output NumPy guarantees between versions (that of
    ``Generator`` methods it does not); state saved today finds its codes again tomorrow.

    >>> sign_code(seed=7, layer=0, label=2, n_units=6).astype(int).tolist()
    [0, 0, 1, 1, 0, 1]
    """
    words = np.random.PCG64(np.random.SeedSequence([seed, layer, label])).random_raw(
        -(-n_units // 64)
    )
    return np.unpackbits(words.astype("<u8").view(np.uint8))[:n_units].astype(bool)


def label_codes(
    seed: int, layer: int, labels: range, n_units: int, low: float, high: float
) -> npt.NDArray[np.float32]:
    """Return one row of targets per class index in ``labels``, each entry ``low`` or ``high``.

    Row k is the column k of the projection matrix P in tpSGD (arXiv 2208.08503): ``t = P y*`` for
    a one-hot ``y*``. Sign codes inside the activation's range keep every target within reach.
    """
    bits = [sign_code(seed, layer, label, n_units) for label in labels]
    table = np.reshape(bits, (len(labels), n_units)).astype(bool)
    return np.where(table, np.float32(high), np.float32(low))
