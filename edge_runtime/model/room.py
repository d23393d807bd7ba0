"""How a budget of bytes is divided among the parts of a model, and the least it can do with.

What grows with classes and features alone (frame, means, prototypes) is taken as it is. Of what is
left each other part has a share, and does without what exceeds it.
"""

from __future__ import annotations

from typing import NamedTuple

from edge_runtime.model.experts.kernel import APPENDED, LEAST_LANDMARKS, MOST_LANDMARKS
from edge_runtime.model.reference import LEAST_OF_A_CELL, N_BITS
from hdc.detection.score import MOST_OF_A_CELL
from hdc.domain.frame import MOST_DIRECTIONS

# Share of what is left that the kernel head may hold, and the most of it that its least may be.
KERNEL, MOST_OF_KERNEL = 0.3, 0.8
# Shares of what then remains: the adaptor, and each of the two references. Rows get the rest.
ADAPTOR, REFERENCE = 0.5, 0.14
# Rows that are kept in any case, in float32 for those that wait and float16 for those that stay.
LEAST_ROWS = 32
# A held-out score with its class and slot, and its place in three sorted lists.
SCORE_BYTES = 40


class Room(NamedTuple):
    """What each part of a model may hold.

    Attributes
    ----------
    landmarks
        Of the kernel head.
    hidden
        Units of the adaptor; 0: none.
    scores
        Held-out scores of each cell.
    speaking_cells
        Cells that the drift reference has means of.
    """

    landmarks: int
    hidden: int
    scores: int
    speaking_cells: int


def fixed_bytes(n_features: int, n_cells: int, n_dims: int) -> int:
    """Bytes that no part can do without: a frame, and what each cell of class and slot costs."""
    p = min(n_features, MOST_DIRECTIONS)
    frame = 4 * n_features * (p + 2) + 4 * p * p
    each = 12 * p + n_dims // 8 + 8 * (n_features + 4) + SCORE_BYTES * LEAST_OF_A_CELL + 32
    projections = 2 * 26_000 + 4 * n_dims + 24 * n_features
    return frame + n_cells * each + projections + LEAST_ROWS * (2 * n_features + 32)


def kernel_bytes(n_landmarks: int, n_features: int, n_classes: int) -> int:
    """Bytes of a kernel head, and of the labels that may be appended to it."""
    m, p = n_landmarks, min(n_features, MOST_DIRECTIONS)
    recent = m // APPENDED + 1
    fitted = m * (4 * p + 12 * n_classes + 4 * m + 4)
    return fitted + recent * (4 * (p + 2 * m + 2 * n_classes) + 8 * recent)


def least_bytes(n_features: int, n_cells: int, n_dims: int, n_classes: int) -> int:
    """Bytes without which nothing can be learned of so many cells."""
    least = kernel_bytes(LEAST_LANDMARKS, n_features, n_classes)
    return fixed_bytes(n_features, n_cells, n_dims) + int(least / MOST_OF_KERNEL)


def room_within(
    budget: int, n_features: int, n_cells: int, n_dims: int, n_classes: int, n_hidden: int
) -> Room:
    """What fits into a budget in which `least_bytes` do.

    Examples
    --------
    >>> room_within(32 * 2**20, 64, 10, 8192, 10, 256)
    Room(landmarks=1000, hidden=256, scores=64, speaking_cells=1806)
    >>> room_within(600_000, 64, 10, 8192, 10, 256)
    Room(landmarks=111, hidden=256, scores=64, speaking_cells=21)
    """
    left = max(budget - fixed_bytes(n_features, n_cells, n_dims), 0)
    few, many = LEAST_LANDMARKS, MOST_LANDMARKS
    while few < many:  # the most that fit
        middle = (few + many + 1) // 2
        fits = kernel_bytes(middle, n_features, n_classes) <= KERNEL * left
        few, many = (middle, many) if fits else (few, middle - 1)
    rest = max(left - kernel_bytes(few, n_features, n_classes), 0)
    adaptor = 4 * n_hidden * (n_features + 2 * n_cells + 2)
    scores = int(REFERENCE * rest) // (SCORE_BYTES * max(n_cells, 1))
    return Room(
        landmarks=few,
        hidden=n_hidden if adaptor <= ADAPTOR * rest else 0,
        scores=min(max(scores, LEAST_OF_A_CELL), MOST_OF_A_CELL),
        speaking_cells=int(REFERENCE * rest) // (2 * N_BITS),
    )
