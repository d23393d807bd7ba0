"""Canaries: a bounded sample of what people have confirmed, for every slot and class.

A canary is a stored input whose answer whatever comes later must still give: here the features of
a labelled sample. Each pair of slot and class keeps a uniform sample of its own (J. S. Vitter,
"Random sampling with a reservoir", 1985), so that a long stay in one domain does not push out what
is known of the others. Not here: what is concluded from them (`guard`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.labelled import FLOAT16_MAX, Classes, Matrix

Bools = npt.NDArray[np.bool_]


class CanarySet:
    """At most `capacity` confirmed feature vectors, with class index and slot number.

    Stored as float16, half the bytes of the features; never raw samples.

    Examples
    --------
    >>> canaries = CanarySet(n_features=4, capacity=6, seed=0)
    >>> for k in [0] * 100 + [1] * 2:
    ...     canaries.add(np.full(4, k, np.float32), k, slot=0)
    >>> sorted(canaries.y.tolist())
    [0, 0, 0, 0, 1, 1]
    """

    def __init__(self, n_features: int, capacity: int, seed: int) -> None:
        if n_features < 1 or capacity < 1:
            raise ValueError(f"{n_features} features and {capacity} canaries: expected 1 or more")
        self.n_features, self.capacity, self.seed = n_features, capacity, seed
        self._X = np.zeros((0, n_features), np.float16)
        self._groups = np.zeros((0, 2), np.int64)  # slot and class of each row
        self._order = np.zeros(0, np.int64)  # how many had come before each row
        self.n_shown = 0
        self._n_seen: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def X(self) -> Matrix:
        """Features (n, d) as float32, a copy."""
        return self._X.astype(np.float32)

    @property
    def y(self) -> Classes:
        """Class indices (n,), a copy."""
        return self._groups[:, 1].copy()

    @property
    def slots(self) -> Classes:
        """Slot numbers (n,), a copy."""
        return self._groups[:, 0].copy()

    @property
    def order(self) -> Classes:
        """How many vectors had been shown before each one (n,), a copy."""
        return self._order.copy()

    @property
    def n_bytes(self) -> int:
        """Bytes of the features and of their groups; counts are in `budget.GROUP_BYTES`."""
        return self._X.nbytes + self._groups.nbytes + self._order.nbytes

    @property
    def most_bytes(self) -> int:
        """Bytes of a full set."""
        return self.capacity * (2 * self.n_features + 24)

    def add(self, x: npt.NDArray[np.float32], k: int, slot: int) -> None:
        """Show one confirmed vector to the set, which keeps it or not."""
        group = (slot, k)
        seen = self._n_seen[group] = self._n_seen.get(group, 0) + 1
        rng = np.random.default_rng([self.seed, slot, k, seen])
        rows, order = self._rows_of(group), self.n_shown
        self.n_shown += 1
        row = np.clip(x, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
        if len(self) < self.capacity:
            self._X = np.vstack([self._X, row[None]])
            self._groups = np.vstack([self._groups, np.array([group], np.int64)])
            self._order = np.append(self._order, order)
            return
        crowded, most = self._largest_group()
        if len(rows) + 1 < most:  # a small group grows at the cost of the largest
            victim = int(rng.choice(self._rows_of(crowded)))
        elif len(rows) and rng.random() < len(rows) / seen:
            victim = int(rng.choice(rows))
        else:
            return
        self._X[victim] = row
        self._groups[victim], self._order[victim] = group, order

    def _rows_of(self, group: tuple[int, int]) -> Classes:
        return np.flatnonzero((self._groups == group).all(axis=1))

    def _largest_group(self) -> tuple[tuple[int, int], int]:
        groups, counts = np.unique(self._groups, axis=0, return_counts=True)
        largest = int(np.argmax(counts))
        slot, k = groups[largest].tolist()
        return (slot, k), int(counts[largest])

    # -- what goes ---------------------------------------------------------------------------

    def remove_class(self, k: int) -> None:
        """Forget a class; those behind it move up by one."""
        self._keep(self._groups[:, 1] != k)
        self._groups[:, 1] -= self._groups[:, 1] > k
        seen = {g: n for g, n in self._n_seen.items() if g[1] != k}
        self._n_seen = {(slot, j - (j > k)): n for (slot, j), n in seen.items()}

    def remove_slot(self, slot: int) -> None:
        """Forget a slot that is no more."""
        self._keep(self._groups[:, 0] != slot)
        self._n_seen = {g: n for g, n in self._n_seen.items() if g[0] != slot}

    def rename_slot(self, old: int, new: int) -> None:
        """Count what one slot confirmed as another's, which has taken it over."""
        self._groups[self._groups[:, 0] == old, 0] = new
        for slot, k in [g for g in self._n_seen if g[0] == old]:
            count = self._n_seen.pop((slot, k))
            self._n_seen[new, k] = self._n_seen.get((new, k), 0) + count

    def _keep(self, kept: Bools) -> None:
        self._X, self._groups = self._X[kept], self._groups[kept]
        self._order = self._order[kept]

    # -- state -------------------------------------------------------------------------------

    def to_state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything held, as a flat dict of arrays."""
        seen = [(*group, n) for group, n in sorted(self._n_seen.items())]
        return {
            "X": self._X.copy(),
            "groups": self._groups.copy(),
            "order": np.append(self._order, self.n_shown),
            "seen": np.array(seen, np.int64).reshape(-1, 3),
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, npt.NDArray[Any]], n_features: int, capacity: int, seed: int
    ) -> CanarySet:
        """The set that `to_state` was called on; refuses other widths and more than `capacity`."""
        X, groups, seen, order = (state[name] for name in ("X", "groups", "seen", "order"))
        fits = X.shape == (len(groups), n_features) and groups.shape == (len(X), 2)
        fits = fits and order.shape == (len(X) + 1,)
        if not fits or len(X) > capacity or seen.ndim != 2 or seen.shape[1] != 3:
            raise ValueError(
                f"canaries have shapes {X.shape}, {groups.shape} and {seen.shape}, expected "
                f"(n, {n_features}) and (n, 2) with n <= {capacity}, and (m, 3)"
            )
        restored = cls(n_features, capacity, seed)
        restored._X = np.array(X, np.float16)
        restored._groups = np.array(groups, np.int64)
        restored._order, restored.n_shown = np.array(order[:-1], np.int64), int(order[-1])
        restored._n_seen = {(int(s), int(k)): int(n) for s, k, n in seen.tolist()}
        return restored
