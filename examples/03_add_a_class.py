"""A class nobody told the board about. Run: `python -m examples.03_add_a_class`.

The runtime knows the digits 0 to 7. Then 8 and 9 appear among the others: they are out of
distribution; it requests labels, learns them from a few labels, and still knows the old ones.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from edge_runtime import EdgeRuntime


def main() -> tuple[float, float, float]:
    """Print the story; return accuracy on old classes before and after, and on the new ones."""
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    old = rng.permutation(np.flatnonzero(y < 8))
    new = rng.permutation(np.flatnonzero(y >= 8))
    first, stream_old, test_old = old[:700], old[700:900], old[900:]
    stream = rng.permutation(np.concatenate([stream_old, new[:230]]))
    test_new = new[230:]

    runtime = EdgeRuntime()
    runtime.learn_many(X[first], y[first])
    before = accuracy(runtime, X[test_old], y[test_old])
    for x, truth in zip(X[stream], y[stream], strict=True):
        prediction = runtime.step(x)
        events = list(prediction.events)
        if prediction.wants_label:
            events += runtime.learn(prediction.sample_id, truth)
        for event in events:
            if event.kind not in ("ood", "label_request"):
                print(f"{event.sample_id:5d} {event.kind:<14} {event.message}")

    after = accuracy(runtime, X[test_old], y[test_old])
    fresh = accuracy(runtime, X[test_new], y[test_new])
    print(f"classes known now: {sorted(runtime.classes)}")
    print(f"old classes {before:.0%} before, {after:.0%} after; new classes {fresh:.0%}")
    print(f"labels requested: {runtime.status()['counters']['requested']}")
    return before, after, fresh


def accuracy(runtime: EdgeRuntime, X: np.ndarray, y: np.ndarray) -> float:
    """Share of samples answered right by a look at them that changes nothing."""
    answers = runtime.peek_many(X)
    return float(np.mean([answer.label == truth for answer, truth in zip(answers, y, strict=True)]))


if __name__ == "__main__":
    main()
