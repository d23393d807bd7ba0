"""Candidate adaptors: what one costs, and the space of them that a search chooses from.

A candidate is a description, no weights: which taps it reads, what it makes of them, and a softmax
on top. Every kind is low-parameter and needs no more than the local rule (arXiv 2208.08503):

============ ==================================================================================
identity     nothing: softmax regression on the standardised taps
scale_shift  one random weight, one bias and an activation per feature
bottleneck   narrow dense layers, one after the other; the softmax sees the last
residual     the same beside the taps themselves; the softmax sees both
pointwise    random 1 x 1 convolution of every feature map, activation, average over positions
depthwise    random 3 x 3 convolution of every channel of a feature map, activation, average
============ ==================================================================================

The residual has no projection back to the width of its input: a softmax of ``x + B f(x)`` is a
softmax of ``[x, f(x)]`` with fewer weights, and B would have no target of its own. Weights live in
`search_network`, learning in `search_classifier`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from adaptors.activations import activation

DENSE_KINDS: Final = ("identity", "scale_shift", "bottleneck", "residual")
MAP_KINDS: Final = ("pointwise", "depthwise")
# Only the softmax on top of them learns; why: `search_network`.
FIXED_KINDS: Final = ("scale_shift", *MAP_KINDS)
RANKS: Final = (4, 8, 16, 32, 64)
ACTIVATIONS: Final = ("tanh", "relu")
# 2^6 - 1 subsets are plenty; of more taps only single ones, pairs and all are tried.
MAX_TAPS_FOR_ALL_SUBSETS: Final = 6
# A standardised feature holds mean and squares in float64, centre and scale in float32.
BYTES_PER_STANDARDISED: Final = 24
BYTES_PER_WEIGHT: Final = 4
DEPTHWISE_INPUTS: Final = 9


class Tap(NamedTuple):
    """A tap by name and the shape of one sample of it: (d,) or, a feature map, (h, w, c)."""

    name: str
    shape: tuple[int, ...]

    @property
    def is_map(self) -> bool:
        """Whether it is a feature map."""
        return len(self.shape) == 3

    @property
    def channels(self) -> int:
        """Width after averaging over positions."""
        return self.shape[-1]

    @property
    def positions(self) -> int:
        """Positions of a feature map; 1 of a vector."""
        return prod(self.shape[:-1])


class LayerSize(NamedTuple):
    """Outputs of a layer, inputs that each of them sees, and positions that it is applied to."""

    n_units: int
    n_inputs: int
    positions: int = 1


@dataclass(frozen=True)
class Candidate:
    """An adaptor that could be built: taps, kind, widths, activation, and what it would cost.

    Parameters
    ----------
    kind
        "identity", "scale_shift", "bottleneck", "residual", "pointwise" or "depthwise"; of
        those in `FIXED_KINDS` only the softmax is trained.
    taps
        What it reads, in this order.
    n_classes
        Outputs of the softmax.
    widths
        Of the narrow layers ("bottleneck", "residual"), or one width ("pointwise"); else ().
    activation
        Of everything but the softmax.

    Examples
    --------
    >>> small = Candidate("bottleneck", (Tap("embedding", (64,)),), n_classes=3, widths=(4,))
    >>> str(small), small.n_params, small.n_bytes, small.n_macs
    ('bottleneck 4 tanh [embedding]', 275, 2684, 268)
    """

    kind: str
    taps: tuple[Tap, ...]
    n_classes: int
    widths: tuple[int, ...] = ()
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.kind not in (*DENSE_KINDS, *MAP_KINDS):
            raise ValueError(f"kind is {self.kind!r}, expected of {(*DENSE_KINDS, *MAP_KINDS)}.")
        if len({tap.name for tap in self.taps}) != len(self.taps) or not self.taps:
            raise ValueError(f"taps are {[t.name for t in self.taps]}, expected distinct names.")
        if self.kind in MAP_KINDS and not any(tap.is_map for tap in self.taps):
            raise ValueError(f"{self.kind} needs a feature map (h, w, c) among its taps.")
        sizes = (*self.widths, self.n_classes, *(n for tap in self.taps for n in tap.shape))
        if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in sizes):
            raise ValueError(f"widths, classes and tap shapes are {sizes}, expected ints >= 1.")
        if any(len(tap.shape) not in (1, 3) for tap in self.taps):
            raise ValueError(f"taps are {self.taps}, expected shapes (d,) or (h, w, c).")
        self._check_widths()
        activation(self.activation)

    def _check_widths(self) -> None:
        n_widths = len(self.widths)
        narrow = self.kind in ("bottleneck", "residual")
        if n_widths < 1 if narrow else n_widths != (self.kind == "pointwise"):
            expected = "one or more" if narrow else f"{int(self.kind == 'pointwise')}"
            raise ValueError(f"{self.kind} has widths {self.widths}, expected {expected} of them.")

    def __str__(self) -> str:
        """Return kind, widths, activation and taps in one line."""
        words = [self.kind, *("-".join(map(str, w)) for w in (self.widths,) if w)]
        words += [] if self.kind == "identity" else [self.activation]
        return f"{' '.join(words)} [{'+'.join(tap.name for tap in self.taps)}]"

    @property
    def n_inputs(self) -> int:
        """Width of the taps side by side, feature maps averaged over positions."""
        return sum(tap.channels for tap in self.taps)

    @property
    def layers(self) -> tuple[LayerSize, ...]:
        """Size of every layer but the softmax: those of the maps in order of the taps."""
        maps = [tap for tap in self.taps if tap.is_map]
        if self.kind == "scale_shift":
            return (LayerSize(self.n_inputs, 1),)
        if self.kind == "pointwise":
            return tuple(LayerSize(self.widths[0], t.channels, t.positions) for t in maps)
        if self.kind == "depthwise":
            return tuple(LayerSize(t.channels, DEPTHWISE_INPUTS, t.positions) for t in maps)
        inputs = (self.n_inputs, *self.widths)
        return tuple(LayerSize(n, d) for n, d in zip(self.widths, inputs, strict=False))

    @property
    def n_features(self) -> int:
        """Inputs of the softmax."""
        if self.kind in ("bottleneck", "residual"):
            return self.widths[-1] + (self.n_inputs if self.kind == "residual" else 0)
        vectors = sum(tap.channels for tap in self.taps if not tap.is_map)
        if self.kind in MAP_KINDS:
            return vectors + sum(layer.n_units for layer in self.layers)
        return self.n_inputs

    @property
    def n_params(self) -> int:
        """Weights and biases, those that stay as they were drawn included."""
        hidden = sum(n * (k + 1) for n, k, _ in self.layers)
        return hidden + self.n_classes * (self.n_features + 1)

    @property
    def n_bytes(self) -> int:
        """Bytes that it holds once built: weights, label codes, standardisation."""
        n_units = sum(layer.n_units for layer in self.layers)
        codes = 0 if self.kind in FIXED_KINDS else self.n_classes * n_units
        # What convolutions give is standardised as taps are.
        standardised = self.n_inputs + (n_units if self.kind in MAP_KINDS else 0)
        return BYTES_PER_WEIGHT * (self.n_params + codes) + BYTES_PER_STANDARDISED * standardised

    @property
    def n_macs(self) -> int:
        """Multiplications and additions, in pairs, of one prediction after standardisation."""
        return sum(n * k * p for n, k, p in self.layers) + self.n_classes * self.n_features

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description; `from_dict` reads it."""
        return {
            "kind": self.kind,
            "taps": [[tap.name, list(tap.shape)] for tap in self.taps],
            "n_classes": self.n_classes,
            "widths": list(self.widths),
            "activation": self.activation,
        }

    @classmethod
    def from_dict(cls, described: Mapping[str, Any]) -> Candidate:
        """Return the candidate that `to_dict` described; refuse anything else."""
        try:
            taps = tuple(Tap(str(name), tuple(shape)) for name, shape in described["taps"])
            rest = {name: described[name] for name in ("kind", "n_classes", "activation")}
            return cls(taps=taps, widths=tuple(described["widths"]), **rest)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{described!r} describes no candidate: {error!r}.") from error


def candidate_space(taps: Sequence[Tap], n_classes: int) -> list[Candidate]:
    """Return every candidate on every subset of the taps, in a fixed order.

    >>> taps = [Tap("tap1", (24,)), Tap("embedding", (1280,))]
    >>> len(candidate_space(taps, n_classes=7))
    87
    """
    return [c for subset in _subsets(taps) for c in _of_taps(subset, n_classes)]


def _subsets(taps: Sequence[Tap]) -> Iterator[tuple[Tap, ...]]:
    n_taps = len(taps)
    all_sizes = n_taps <= MAX_TAPS_FOR_ALL_SUBSETS
    for size in range(1, n_taps + 1) if all_sizes else (1, 2, n_taps):
        yield from combinations(taps, size)


def _of_taps(taps: tuple[Tap, ...], n_classes: int) -> Iterator[Candidate]:
    yield Candidate("identity", taps, n_classes)
    width = sum(tap.channels for tap in taps)
    narrow = [r for r in RANKS if r < width] or [min(RANKS[0], width)]
    maps = [tap.channels for tap in taps if tap.is_map]
    for name in ACTIVATIONS:
        yield Candidate("scale_shift", taps, n_classes, (), name)
        for r in narrow:
            for widths in ((r,), (r, r)):
                yield Candidate("bottleneck", taps, n_classes, widths, name)
            yield Candidate("residual", taps, n_classes, (r,), name)
        if maps:
            yield Candidate("depthwise", taps, n_classes, (), name)
            for r in narrow:
                yield Candidate("pointwise", taps, n_classes, (r,), name)


def drawn(space: Sequence[Candidate], n: int, rng: np.random.Generator) -> list[Candidate]:
    """Return n of the candidates, drawn without repetition, in the order of the space."""
    if n >= len(space):
        return list(space)
    return [space[i] for i in sorted(rng.choice(len(space), n, replace=False))]
