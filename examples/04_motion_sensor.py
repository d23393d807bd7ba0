"""A motion sensor on a belt, window by window. Run: `python -m examples.04_motion_sensor`.

Recordings of HAPT come as the sensor gave them, fifty readings a second. The encoder has learned
from other people (`examples.encoders.imu`). Then the phone is put back the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge_runtime import EdgeRuntime
from edge_runtime.inputs.sources import windows
from examples.datasets import hapt
from examples.encoders.imu import LAST_USER, open_imu_encoder

TURNED = np.array([-1, -1, 1, -1, -1, 1], np.float32)  # half a turn about the third axis


def labelled_windows(session: hapt.Recording) -> Iterator[tuple[np.ndarray, str]]:
    """Windows of 128 readings of one activity; the label rides along as a seventh channel."""
    labels = session.labels[:, None].astype(np.float32)
    readings = np.concatenate([session.signals, labels], axis=1)
    for window in windows(readings, hapt.WINDOW, hapt.STEP):
        label = int(window[0, 6])
        if (window[:, 6] == label).all() and 1 <= label <= hapt.N_BASIC:
            yield np.ascontiguousarray(window[:, :6]), hapt.ACTIVITIES[label - 1]


def main(n_first: int = 6, n_later: int = 8) -> tuple[float, float, list[str]]:
    """Print what is noticed; return accuracy before the turn and at the end, and events."""
    sessions = [each for each in hapt.recordings() if each.user > LAST_USER]
    first = [pair for session in sessions[:n_first] for pair in labelled_windows(session)]
    later = [pair for session in sessions[n_first:][:n_later] for pair in labelled_windows(session)]
    order = np.random.default_rng(0).permutation(len(later))
    later = [later[i] for i in order]
    n_before = len(later) // 3

    runtime = EdgeRuntime(open_imu_encoder())
    runtime.learn_many([window for window, _ in first], [label for _, label in first])
    right, kinds = [], []
    for i, (window, truth) in enumerate(later):
        prediction = runtime.step(window if i < n_before else window * TURNED)
        right.append(prediction.label == truth)
        events = list(prediction.events)
        if prediction.wants_label:  # a person would be asked here
            events += runtime.learn(prediction.sample_id, truth)
        for event in events:
            kinds.append(event.kind)
            if event.kind not in ("ood", "label_request"):
                print(f"{i:5d} {event.kind:<14} {event.message}")
    before, after = float(np.mean(right[:n_before])), float(np.mean(right[-200:]))
    turned = float(np.mean(right[n_before : n_before + 40]))
    print(f"accuracy before {before:.0%}, just after the turn {turned:.0%}, at the end {after:.0%}")
    counters = runtime.status()["counters"]
    print(f"{len(later)} windows, {counters['labels'] - len(first)} labels requested and given")
    return before, after, kinds


if __name__ == "__main__":
    main()
