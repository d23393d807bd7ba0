"""EdgeRuntime: predict, notice, ask, learn; the public face of the loop.

Samples come in by `step` (`stepping`), labels by `learn` (`learning`), in any order and as late as
the buffer allows. What to do is decided in `policy`, carried out in `bank`, said in `records`,
saved by `persistence`; what all of them share is in `parts`.
"""

from __future__ import annotations

from edge_runtime.forgetting import Forgetting
from edge_runtime.parts import DEFAULT_BUDGET_BYTES
from edge_runtime.stepping import Stepping

__all__ = ["DEFAULT_BUDGET_BYTES", "EdgeRuntime"]


class EdgeRuntime(Stepping, Forgetting):
    """Learns from labels on the board, knows what it does not know, and forgets nothing.

    Parameters
    ----------
    encoder : from `open_encoder`; None if samples are features already: a vector, or a mapping
        from tap to vector whose last entry is the embedding.
    classes : labels known beforehand; others join when they first come.
    budget_bytes : promise for everything learned and buffered; see `status()["bytes_by_part"]`.
    random_state : seed; the same seed and stream give the same answers and the same state.
    policy : every threshold, see `PolicySettings`.
    n_dims, rank, hidden : size of hypervectors, of each slot's whitening, and of its adaptor.
    n_fourier : random Fourier features made of each sample: 512 where samples are a few raw
        measures whose classes no plane parts, 0 (none) where they are features of an encoder.
    pending_samples : how many recent samples can still get their label.
    max_slots : how many domains can be known at once.
    when_full : what may be done for memory, in this order: see `budget`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 16)) + 3 * np.eye(16)[np.arange(100) % 2]
    >>> runtime = EdgeRuntime(n_dims=1024)
    >>> for i, x in enumerate(X):
    ...     prediction = runtime.step(x)
    ...     _ = runtime.learn(prediction.sample_id, ["left", "right"][i % 2])
    >>> runtime.step(X[0]).label
    'left'
    >>> runtime.step(X[0] * 20).is_ood
    True
    """
