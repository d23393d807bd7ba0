"""Speed and size of hypervectors, beside torchhd and a dense NumPy product, on one thread.

Functions are timed in turn and their medians shown, so that ratios hold on a busy machine. Rows of
torchhd need the extra `bench`; without it they show a dash. Not here: samples out of distribution
(`benchmarks.ood`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.command import main
from benchmarks.options import Options
from benchmarks.reporting import ABSENT, Report
from benchmarks.timing import import_costs, medians
from hdc import SignedHadamard
from hdc.domain.prototypes import Prototypes
from hdc.vectors.hypervector import hamming

N_FEATURES, N_DIMS, N_BATCH, N_CLASSES = 1280, 8192, 256, 100
OURS, DENSE, PROJECTION, SINUSOID = "edge-runtime", "dense NumPy", "torchhd Projection", "Sinusoid"
METHODS = (OURS, DENSE, PROJECTION, SINUSOID)
Functions = dict[str, Callable[[], object]]


def run(options: Options) -> Report:
    """Return the table of times and sizes."""
    rounds = 5 if options.quick else 200
    torchhd = _torchhd()
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(N_BATCH, N_FEATURES)).astype(np.float32)
    encoders = _encoders(torchhd, rng)
    records = [
        _timed("encode one sample, µs", _calls(encoders, batch[:1]), rounds, 1e6),
        _timed("encode 256 samples, ms", _calls(encoders, batch), max(3, rounds // 10), 1e3),
        _timed("similarity to 100 prototypes, µs", _similarities(torchhd, rng), rounds, 1e6),
        {"what": "encoder held, KiB"} | {name: size / 1024 for name, (_, size) in encoders.items()},
        _state_sizes(),
        *_imports(torchhd is not None),
    ]
    return Report(
        name="hdc",
        title="Hypervectors: times and sizes (lower is better)",
        protocol=(
            f"{N_FEATURES:,} features, {N_DIMS:,} dimensions, float32 in, one thread; medians over "
            f"{rounds} rounds (batch: {max(3, rounds // 10)}), all methods in turn in each round. "
            "Similarity: Hamming distance of packed bits against cosine of floats. "
            "Peers marked - were not installed or have no such thing."
        ),
        columns=("what", *METHODS, "best peer / edge-runtime"),
        rows=[_row(record) for record in records],
        records=records,
    )


def _torchhd() -> Any:
    """Return the module torchhd on one thread, or None where it is not installed."""
    try:
        import torch
        import torchhd
    except ImportError as error:
        print(f"SKIPPED torchhd ({error}): pip install -e '.[bench]'", file=sys.stderr)
        return None
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    return torchhd


def _encoders(torchhd: Any, rng: np.random.Generator) -> dict[str, tuple[Callable[..., Any], int]]:
    """Return what encodes a batch, and the bytes it holds, by name."""
    ours = SignedHadamard(N_FEATURES, N_DIMS, seed=0)
    matrix = rng.normal(size=(N_FEATURES, N_DIMS)).astype(np.float32)
    found: dict[str, tuple[Callable[..., Any], int]] = {
        OURS: (ours.bits, ours.n_bytes),
        DENSE: (lambda X: X @ matrix, matrix.nbytes),
    }
    if torchhd is not None:
        for name, kind in ((PROJECTION, "Projection"), (SINUSOID, "Sinusoid")):
            layer = getattr(torchhd.embeddings, kind)(N_FEATURES, N_DIMS)
            held = [*layer.parameters(), *layer.buffers()]
            size = sum(each.numel() * each.element_size() for each in held)
            found[name] = (_of_tensor(layer), size)
    return found


def _of_tensor(layer: Any) -> Callable[..., Any]:
    import torch

    return lambda X: layer(torch.from_numpy(X))


def _calls(encoders: Mapping[str, tuple[Callable[..., Any], int]], X: Any) -> Functions:
    return {name: (lambda encode=encode: encode(X)) for name, (encode, _) in encoders.items()}


def _similarities(torchhd: Any, rng: np.random.Generator) -> Functions:
    bits = rng.integers(0, 2**64, (N_CLASSES, N_DIMS // 64), dtype=np.uint64)
    query = bits[3].copy()
    floats = rng.normal(size=(N_CLASSES, N_DIMS)).astype(np.float32)
    row = floats[:1].copy()

    def dense_cosine() -> object:
        norms = np.linalg.norm(row) * np.linalg.norm(floats, axis=1)
        return row @ floats.T / norms

    found: Functions = {OURS: lambda: hamming(query, bits), DENSE: dense_cosine}
    if torchhd is not None:
        import torch

        prototypes, sample = torch.from_numpy(floats), torch.from_numpy(row)
        found[PROJECTION] = lambda: torchhd.cosine_similarity(sample, prototypes)
    return found


def _timed(what: str, functions: Functions, rounds: int, scale: float) -> dict[str, Any]:
    times = medians(functions, rounds)
    return {"what": what} | {name: seconds * scale for name, seconds in times.items()}


def _state_sizes() -> dict[str, Any]:
    """Bytes of what was learned of 100 classes; torchhd keeps a float for each dimension."""
    prototypes = Prototypes(N_FEATURES, N_DIMS, seed=0)
    prototypes.derive(np.eye(N_CLASSES, N_FEATURES, dtype=np.float32))
    floats = N_CLASSES * N_DIMS * 4 / 1024
    sizes = {OURS: prototypes.bits.nbytes / 1024, DENSE: floats, PROJECTION: floats}
    return {"what": f"prototypes of {N_CLASSES} classes, KiB", **sizes}


def _imports(has_torchhd: bool) -> list[dict[str, Any]]:
    costs = {OURS: import_costs("import hdc; hdc.OODDetector")}
    if has_torchhd:
        costs[PROJECTION] = import_costs("import torchhd")
    rows = (("import beyond NumPy, ms", 0, 1e3), ("import beyond NumPy, MB", 1, 1.0))
    return [
        {"what": what} | {name: cost[at] * scale for name, cost in costs.items()}
        for what, at, scale in rows
    ]


def _row(record: Mapping[str, Any]) -> list[str]:
    cells = [_number(record[name]) if name in record else ABSENT for name in METHODS]
    peers = [record[name] for name in METHODS[1:] if name in record]
    ratio = f"{min(peers) / record[OURS]:.1f}" if peers else ABSENT
    return [record["what"], *cells, ratio]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main(run, __doc__)
