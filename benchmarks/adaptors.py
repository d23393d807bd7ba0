"""Time of one update and of one answer: adaptors beside torch, NumPy backprop and scikit-learn.

One network, 1,280-64-10 with tanh, one thread; all methods in turn, medians. Ours twice: the bare
network, and the estimator with all its checks and running standardisation. The peers get checked,
standardised float32. torch needs the extra `bench`. Accuracy is in `benchmarks.local_learning`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from adaptors import Dense, TargetProjectionClassifier, TargetProjectionNetwork
from benchmarks.options import Options, parse
from benchmarks.peers.backprop import BackpropClassifier
from benchmarks.reporting import ABSENT, Report
from benchmarks.timing import import_costs, medians

N_INPUTS, N_HIDDEN, N_CLASSES, N_BATCH = 1280, 64, 10, 64
NETWORK, ESTIMATOR = "edge-runtime, network", "edge-runtime, estimator"
TORCH, NUMPY, SKLEARN = "torch SGD", "NumPy backprop", "scikit-learn"
LOSSES = ("l2", "cross_entropy")
METHODS = (NETWORK, ESTIMATOR, TORCH, NUMPY, SKLEARN)
WEIGHT_BYTES = 4 * (N_INPUTS * N_HIDDEN + N_HIDDEN * N_CLASSES)
WARM_START = (
    "import numpy as np\n"
    "from adaptors import TargetProjectionClassifier as C\n"
    f"C(hidden=({N_HIDDEN},), random_state=0).partial_fit("
    f"np.ones((1, {N_INPUTS}), np.float32), [0], classes=list(range({N_CLASSES})))"
)
# Where SciPy is installed, numba imports a part of it for its own linear algebra.
NO_SCIPY = "import sys\nsys.modules['scipy'] = None\n"
START_UP = "ms from NumPy imported to first update, cache warm"
Update = Callable[[Any, Any], object]
Predict = Callable[[Any], object]
Learners = dict[str, tuple[Update, Predict]]


def run(options: Options) -> Report:
    """Return the table of times."""
    rounds = 5 if options.quick else 200
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_BATCH, N_INPUTS)).astype(np.float32)
    y = np.arange(N_BATCH) % N_CLASSES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn has not converged: it is not meant to
        records = [
            *(_updated(loss, X, y, n, rounds) for loss in LOSSES for n in (1, N_BATCH)),
            *(_answered(X, y, n, rounds) for n in (1, N_BATCH)),
        ]
    records += _bandwidth(records, rounds)
    return Report(
        name="adaptors",
        title=f"Adaptors: time of an update and of an answer, {N_INPUTS:,}-{N_HIDDEN}-{N_CLASSES}",
        protocol=(
            f"tanh, one thread, float32; medians over {rounds} rounds, all methods in turn. "
            "Ratios: network against the quickest peer, and estimator against torch."
        ),
        columns=("µs", *METHODS, "quickest peer / network", "torch / estimator"),
        rows=[_row(record) for record in records],
        records=records,
    )


def _learners(loss: str, X: Any, y: Any) -> Learners:
    """Return (update, predict) of every method, each having learned a batch."""
    network = TargetProjectionNetwork([Dense(N_HIDDEN)], N_INPUTS, N_CLASSES, loss, 0)
    # A batch is one step, as it is for the others.
    estimator = TargetProjectionClassifier(
        (N_HIDDEN,), loss=loss, batch_size=N_BATCH, random_state=0
    )
    estimator.partial_fit(X, y, classes=np.arange(N_CLASSES))
    found: Learners = {
        NETWORK: (network.step, lambda X: network.decision_function(X).argmax(axis=1)),
        ESTIMATOR: (estimator.partial_fit, estimator.predict),
        NUMPY: _numpy(X, y),
        SKLEARN: _sklearn(X, y),
    }
    try:
        found[TORCH] = _torch()
    except ImportError as error:
        print(f"SKIPPED torch ({error}): pip install -e '.[bench]'", file=sys.stderr)
    return found


def _numpy(X: Any, y: Any) -> tuple[Update, Predict]:
    model = BackpropClassifier((N_HIDDEN,), optimiser="sgd", epochs=1).fit(X, y)
    return (
        lambda X, y: model._update(model._gradients(X, y), 1e-3, 1),
        lambda X: model._forward(X)[-1].argmax(axis=1),
    )


def _sklearn(X: Any, y: Any) -> tuple[Update, Predict]:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((N_HIDDEN,), activation="tanh", solver="sgd", batch_size=N_BATCH)
    model.partial_fit(X, y, classes=np.arange(N_CLASSES))
    return model.partial_fit, model.predict


def _torch() -> tuple[Update, Predict]:
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(
        torch.nn.Linear(N_INPUTS, N_HIDDEN), torch.nn.Tanh(), torch.nn.Linear(N_HIDDEN, N_CLASSES)
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)

    def update(X: Any, y: Any) -> None:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(X)), torch.from_numpy(y))
        loss.backward()
        optimiser.step()

    def predict(X: Any) -> object:
        with torch.inference_mode():
            return model(torch.from_numpy(X)).argmax(dim=1)

    return update, predict


def _updated(loss: str, X: Any, y: Any, n: int, rounds: int) -> dict[str, Any]:
    learners = _learners(loss, X, y)
    updates = {name: partial(update, X[:n], y[:n]) for name, (update, _) in learners.items()}
    what = f"update, {_samples(n)}, {loss.replace('_', ' ')}"
    return {"what": what, **_microseconds(updates, rounds)}


def _answered(X: Any, y: Any, n: int, rounds: int) -> dict[str, Any]:
    learners = _learners("cross_entropy", X, y)
    answers = {name: partial(predict, X[:n]) for name, (_, predict) in learners.items()}
    return {"what": f"predict, {_samples(n)}", **_microseconds(answers, rounds)}


def _microseconds(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    return {name: 1e6 * seconds for name, seconds in medians(calls, rounds).items()}


def _bandwidth(records: list[dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """GB/s of weights read and written by an update, and by a copy of as many; start-up times."""
    source, target = np.ones(WEIGHT_BYTES // 4, np.float32), np.empty(WEIGHT_BYTES // 4, np.float32)
    copy = medians({"copy": lambda: np.copyto(target, source)}, rounds)["copy"]
    update = records[0]
    moved = {
        name: 2 * WEIGHT_BYTES / update[name] / 1e3
        for name in (NETWORK, ESTIMATOR)
        if name in update
    }
    starts = {"": WARM_START, ", SciPy not installed": NO_SCIPY + WARM_START}
    return [
        {"what": "GB/s moved, update, 1 sample, l2", **moved},
        {"what": "GB/s moved, a copy of the same weights", NETWORK: 2 * WEIGHT_BYTES / copy / 1e9},
        *(
            {"what": f"{START_UP}{where}", ESTIMATOR: 1e3 * import_costs(statement)[0]}
            for where, statement in starts.items()
        ),
    ]


def _samples(n: int) -> str:
    return "1 sample" if n == 1 else f"batch of {n}"


def _row(record: Mapping[str, Any]) -> list[str]:
    cells = [_number(record[name]) if name in record else ABSENT for name in METHODS]
    peers = [record[name] for name in METHODS[2:] if name in record]
    quickest = f"{min(peers) / record[NETWORK]:.1f}" if peers else ABSENT
    torch = f"{record[TORCH] / record[ESTIMATOR]:.1f}" if TORCH in record else ABSENT
    return [record["what"], *cells, quickest, torch]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    options = parse(__doc__)
    run(options).publish(options.out, record=options.record)
