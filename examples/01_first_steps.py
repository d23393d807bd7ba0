"""First steps: features in, answers out. Run: `python -m examples.01_first_steps`.

Scanned digits come in as 64 numbers each. The runtime learns a first batch, then the scanner turns
the pictures over (ink black on white): it notices, asks for a few labels, and grows a new slot.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from edge_runtime import EdgeRuntime


def main() -> float:
    """Print what the runtime notices; return its accuracy on the last 200 samples."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))  # the file is sorted by writer
    X, y = X[order], y[order]
    turned = np.arange(len(X)) >= 1100
    X[turned] = 16 - X[turned]

    runtime = EdgeRuntime()
    for event in runtime.learn_many(X[:800], y[:800]):
        print(f"      {event.kind:<14} {event.message}")

    right = []
    for x, truth in zip(X[800:], y[800:], strict=True):
        prediction = runtime.step(x)
        right.append(prediction.label == truth)
        events = list(prediction.events)
        if prediction.wants_label:  # a person would be asked here
            events += runtime.learn(prediction.sample_id, truth)
        for event in events:
            if event.kind not in ("ood", "label_request"):
                print(f"{event.sample_id:5d} {event.kind:<14} {event.message}")

    before, after = np.mean(right[:300]), np.mean(right[-200:])
    print(f"accuracy before the change {before:.0%}, at the end {after:.0%}")
    print(
        f"labels requested: {runtime.status()['counters']['requested']}, bytes: {runtime.n_bytes:,}"
    )
    return float(after)


if __name__ == "__main__":
    main()
