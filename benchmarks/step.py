"""Time of one step without the encoder, beside the same arithmetic in torch and beside river.

Four domains of made-up features as wide as the packaged encoder's, seven classes each; samples
come one at a time, all domains mixed. The torch peer is a model of the same shapes in plain torch:
frame, Gaussian cells, hypervectors, kernel head, adaptor; it keeps no p-values, no policy, and no
buffer for labels. river answers by logistic regression over standardised features: one model for
all domains, or one for each domain as slots are. In the second half each sample's label is learned
as well; a fit, which comes every few labels and off the answer's path, is timed by itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from itertools import cycle
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.command import main
from benchmarks.features import Matrix
from benchmarks.options import Options
from benchmarks.reporting import Report
from benchmarks.timing import medians
from edge_runtime import EdgeRuntime
from edge_runtime.inputs.encoders import Encoder
from edge_runtime.model import fitting
from edge_runtime.model.experts import kernel
from edge_runtime.model.fitting import fit_weights
from hdc.domain import frame

TAPS = {"tap1": 24, "tap2": 40, "tap3": 112, "embedding": 1280}
N_CLASSES, N_DOMAINS, LABELS, RANK = 7, 4, 1100, 40
N_DIMS, N_HIDDEN = 8192, 256
LEAST_WEIGHT = 1e-3
OURS, SHORT = "edge-runtime", "edge-runtime, 2,048 dimensions"
LEARN, FIT = ", and one label", "edge-runtime, one fit"
TORCH, RIVER, RIVER_SLOTS = "torch", "river, one model", "river, one model per domain"


def run(options: Options) -> Report:
    """Time one step of everything that is installed."""
    rng = np.random.default_rng(0)
    labels = 200 if options.quick else LABELS
    domains = [made_up(rng, labels) for _ in range(N_DOMAINS)]
    fresh = np.concatenate([X[-50:] for X, _ in domains])
    fresh = fresh[rng.permutation(len(fresh))]
    runtime = taught(domains, N_DIMS)
    functions = {
        OURS: step_of(deepcopy(runtime), fresh),
        SHORT: step_of(taught(domains, 2048), fresh),
        OURS + LEARN: learning_of(deepcopy(runtime), domains),
    }
    functions |= dict(_peers(domains, fresh))
    rounds = 5 if options.quick else 200
    in_turn = medians(functions, rounds, clock=time.process_time)
    alone = {
        name: medians({name: function}, rounds, clock=time.process_time)[name]
        for name, function in functions.items()
    }
    rows = [[name, *_cells(name, in_turn), *_cells(name, alone)] for name in functions]
    seconds = fit_seconds(runtime, domains)
    return Report(
        name="step",
        title="One step without the encoder, microseconds",
        protocol=(
            f"{sum(TAPS.values())} features, {N_CLASSES} classes, {N_DOMAINS} domains of "
            f"{labels} labels, a slot for each, {N_DIMS:,} dimensions; one process, processor "
            f"time, medians of {rounds} rounds: in turn, so that each finds the caches as others "
            "leave them, and alone. Ratios: to the same work of edge-runtime. Labels are appended; "
            f"one fit of all, which a thread can do beside the answers, takes {seconds:.1f} s."
        ),
        columns=("method", "µs in turn", "/ edge-runtime", "µs alone", "/ edge-runtime, alone"),
        rows=rows,
        records=[
            {"method": name, "us": 1e6 * in_turn[name], "us_alone": 1e6 * alone[name]}
            for name in functions
        ]
        + [{"method": FIT, "us": 1e6 * seconds, "us_alone": 1e6 * seconds}],
    )


def _cells(name: str, seconds: Mapping[str, float]) -> tuple[str, str]:
    """Microseconds, and the ratio to the same work of edge-runtime."""
    ours = seconds[OURS + LEARN * name.endswith(LEARN)]
    return f"{1e6 * seconds[name]:,.0f}", f"{seconds[name] / ours:.2f}"


def made_up(rng: np.random.Generator, n: int) -> tuple[Matrix, Any]:
    """A domain: classes of correlated features about means of their own, shifted as a whole."""
    d, y = sum(TAPS.values()), rng.integers(N_CLASSES, size=n)
    means = rng.normal(size=(N_CLASSES, d)) * 0.3 + rng.normal(size=d)
    mixing = rng.normal(size=(RANK, d)) * 0.5
    X = means[y] + rng.normal(size=(n, RANK)) @ mixing + rng.normal(size=(n, d))
    return X.astype(np.float32), y


def taught(
    domains: list[tuple[Matrix, Any]], n_dims: int, encoder: Encoder | None = None
) -> EdgeRuntime:
    """A runtime with a slot for each domain, in which every expert has a say.

    Labels are learned at once and then moved to their slots, as growth does it: whether these
    domains need slots, and these classes an adaptor, is not what is timed.
    """
    runtime = EdgeRuntime(encoder, n_dims=n_dims, adaptor=N_HIDDEN)
    X = np.concatenate([X for X, _ in domains])
    y = np.concatenate([y for _, y in domains])
    ends = np.cumsum([len(own) for _, own in domains])
    with mock.patch.object(fitting, "fit_weights", _all_weights):
        runtime.learn_many([as_taps(x) for x in X], y.tolist())
        memory, _ = runtime._open()
        for slot, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            memory.move(np.arange(start, end), slot)
        runtime._tend(0, is_now=True)
    return runtime


def _all_weights(experts: Any, y: Any) -> Any:
    """What validation finds, but none is silent: the time must hold with all of them."""
    return np.maximum(fit_weights(experts, y), LEAST_WEIGHT)


def fit_seconds(runtime: EdgeRuntime, domains: list[tuple[Matrix, Any]]) -> float:
    """Processor time of one fit of everything that a runtime has learned."""
    copy = deepcopy(runtime)
    X, y = domains[0]
    first = copy.step(as_taps(X[0]))
    copy.learn(first.sample_id, int(y[0]))
    copy.learn(first.sample_id, (int(y[0]) + 1) % N_CLASSES)  # corrected: all is fitted anew
    start = time.process_time()
    copy.learn(first.sample_id, int(y[0]))
    return time.process_time() - start


def as_taps(x: Matrix) -> dict[str, Matrix]:
    """One sample as an encoder gives it."""
    edges = np.cumsum(list(TAPS.values()))[:-1]
    return dict(zip(TAPS, np.split(x, edges), strict=True))


def step_of(runtime: EdgeRuntime, X: Matrix) -> Callable[[], object]:
    """One step with the next of the samples, for ever."""
    samples = cycle([as_taps(x) for x in X])
    return lambda: runtime.step(next(samples))


def learning_of(runtime: EdgeRuntime, domains: list[tuple[Matrix, Any]]) -> Callable[[], object]:
    """One step and its label, domain after domain in turn, for ever."""
    pairs = cycle([(as_taps(X[i]), int(y[i])) for i in range(50) for X, y in domains])

    def learn() -> object:
        x, k = next(pairs)
        return runtime.learn(runtime.step(x).sample_id, k)

    return learn


def _peers(
    domains: list[tuple[Matrix, Any]], X: Matrix
) -> Iterator[tuple[str, Callable[[], object]]]:
    try:
        from benchmarks.peers.torch_model import Shapes, TorchModel

        shapes = Shapes(
            X.shape[1], frame.MOST_DIRECTIONS, N_DOMAINS, N_CLASSES, kernel.MOST_LANDMARKS,
            N_HIDDEN, N_DIMS,
        )  # fmt: skip
        yield TORCH, partial(_next_of, TorchModel(shapes).answer, cycle(X))
    except ImportError:
        print("torch is not installed: no row for it", file=sys.stderr)
    try:
        from benchmarks.peers.river_models import RiverSlots
    except ImportError:
        print("river is not installed: no rows for it", file=sys.stderr)
        return
    both = np.concatenate([X for X, _ in domains]), np.concatenate([y for _, y in domains])
    for name, parts in ((RIVER, [both]), (RIVER_SLOTS, domains)):
        model, samples = RiverSlots(parts), cycle(X)
        yield name, partial(_next_of, model.answer, samples)
        if name == RIVER:
            pairs = cycle(zip(*both, strict=True))
            yield name + LEARN, partial(_next_pair_of, model.learn, pairs)


def _next_of(answer: Callable[[Matrix], object], samples: Iterator[Matrix]) -> object:
    return answer(next(samples))


def _next_pair_of(
    learn: Callable[[Matrix, int], object], pairs: Iterator[tuple[Matrix, int]]
) -> object:
    return learn(*next(pairs))


if __name__ == "__main__":
    main(run, __doc__)
