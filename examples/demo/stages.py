"""The stream of the demo: which digits come, in which order, and what is held back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from examples.datasets import corruptions, digits
from examples.datasets.lite0 import IMAGE_SIZE, to_input

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

FIRST_LABELS = 1200  # labelled images that the first domain is learned from
STREAM, TEST = 500, 300  # images of each domain in the stream, and held back
FIRST_STREAM = 1000  # the first domain stays longer: its false alarms are counted


@dataclass(frozen=True)
class Stage:
    """One stretch of the stream, and images of the same domain that are never learned from."""

    name: str
    images: Images
    labels: Labels
    test_images: Images
    test_labels: Labels

    def samples(self) -> Iterator[npt.NDArray[np.float32]]:
        """What the encoder takes, image by image."""
        return inputs(self.images)


def inputs(images: Images) -> Iterator[npt.NDArray[np.float32]]:
    """Grey images as single encoder inputs, made when asked for."""
    for image in images:
        yield to_input(digits.to_rgb(image[None], IMAGE_SIZE))[0]


def build(seed: int = 0) -> tuple[Images, Labels, list[Stage]]:
    """The labelled images of the first domain, and the stages that follow."""
    rng = np.random.default_rng(seed)
    images, labels = _shuffled(*digits.handwritten(), rng)
    size = STREAM + TEST
    starts = FIRST_LABELS + np.cumsum([0, FIRST_STREAM + TEST, size, size])
    hand, foggy, noisy, back = zip(
        np.split(images, starts)[1:], np.split(labels, starts)[1:], strict=True
    )
    stages = [
        _stage("handwritten", *hand, FIRST_STREAM),
        _stage("scanned", *_shuffled(*digits.scanned(), rng)),
        _stage("printed", *digits.printed(size, seed)),
        _stage("fog", corruptions.fog(foggy[0], 0.6, seed), foggy[1]),
        _stage("noise", corruptions.noise(noisy[0], 0.25, seed), noisy[1]),
        _stage("first again", *back),
    ]
    return images[:FIRST_LABELS], labels[:FIRST_LABELS], stages


def _stage(name: str, images: Images, labels: Labels, length: int = STREAM) -> Stage:
    held_back = slice(length, length + TEST)
    return Stage(name, images[:length], labels[:length], images[held_back], labels[held_back])


def _shuffled(images: Images, labels: Labels, rng: np.random.Generator) -> tuple[Images, Labels]:
    order = rng.permutation(len(images))
    return images[order], labels[order]
