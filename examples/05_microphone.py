"""A microphone, second by second. Run: `python -m examples.05_microphone`.

Twelve instruments are learned from notes of one sound font, as a stream of single readings; then
another orchestra plays. Needs a TFLite library (`pip install 'edge-runtime[litert]'`), and
`soundfile` for the second font; fonts and encoder come by package the first time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_runtime import EdgeRuntime
from edge_runtime.inputs.sources import windows
from examples.datasets import instruments
from examples.encoders.speech import RATE_HZ, open_speech_encoder


def notes(font: str, n_notes: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """A signal of one note a second, and the instrument of each."""
    sounds, y = instruments.load(font)
    rows = np.random.default_rng(seed).permutation(len(y))[:n_notes]
    names = list(instruments.INSTRUMENTS)
    return sounds[rows].reshape(-1), [names[k] for k in y[rows]]


def main(
    fonts: Sequence[str] = ("TimGM6mb", "FluidR3"), n_first: int = 300, n_later: int = 260
) -> tuple[float, float, list[str]]:
    """Print what the runtime notices; return accuracy with each font in the end, and events."""
    signal, labels = notes(fonts[0], n_first + 80, seed=0)
    other, other_labels = notes(fonts[1], n_later, seed=1)
    learned = n_first * RATE_HZ
    runtime = EdgeRuntime(open_speech_encoder())
    runtime.learn_many(list(signal[:learned].reshape(-1, RATE_HZ)), labels[:n_first])

    right, kinds = [], []
    stream = np.concatenate([signal[learned:], other])
    truths = labels[n_first:] + other_labels
    for i, (second, truth) in enumerate(zip(windows(stream, RATE_HZ), truths, strict=True)):
        prediction = runtime.step(second)
        right.append(prediction.label == truth)
        events = list(prediction.events)
        if prediction.wants_label:  # a person would be asked here
            events += runtime.learn(prediction.sample_id, truth)
        for event in events:
            kinds.append(event.kind)
            if event.kind not in ("ood", "label_request"):
                print(f"{i:5d} s {event.kind:<14} {event.message}")
    before, after = float(np.mean(right[:80])), float(np.mean(right[-80:]))
    changed = float(np.mean(right[80:110]))
    print(f"accuracy {before:.0%}; the other orchestra {changed:.0%}, at the end {after:.0%}")
    counters = runtime.status()["counters"]
    print(f"{counters['labels'] - n_first} labels requested and given")
    return before, after, kinds


if __name__ == "__main__":
    main()
