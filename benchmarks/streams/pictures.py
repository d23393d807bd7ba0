"""Feature sets of pictures: digits in four hands, clothes before seven cameras, photos before six.

Features are those of Lite0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.features import FeatureSet, Labels, Matrix, image_features
from examples.datasets import corruptions, digits, fashion, keel, pacs

LITE0_TAPS = {"tap1": 24, "tap2": 40, "tap3": 112, "embedding": 1280}
CLOTHES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot",
)  # fmt: skip
DIGIT_ROWS = 1_200  # of each hand
CLEAR_ROWS, CORRUPTED_ROWS = 12_000, 1_000

Images = npt.NDArray[np.uint8]

CAMERAS: Mapping[str, Callable[[Images], Images]] = {
    "noise": lambda images: corruptions.noise(images, 0.25, random_state=0),
    "motion": lambda images: corruptions.motion(images, 0.6),
    "contrast": lambda images: corruptions.contrast(images, 0.7),
    "fog": lambda images: corruptions.fog(images, 0.6, random_state=0),
    "pixelate": lambda images: corruptions.pixelate(images, 0.6),
    "dead pixels": lambda images: corruptions.dead_pixels(images, 0.1, random_state=0),
}


# Of each photo's three colours; noise and dead pixels are those of a colour, or of all three.
PHOTO_CAMERAS: Mapping[str, Callable[[Images, int], Images]] = {
    "noise": lambda images, colour: corruptions.noise(images, 0.15, random_state=colour),
    "motion": lambda images, _: corruptions.motion(images, 0.3),
    "contrast": lambda images, _: corruptions.contrast(images, 0.7),
    "fog": lambda images, _: corruptions.fog(images, 0.6, random_state=0),
    "pixelate": lambda images, _: corruptions.pixelate(images, 0.4),
}


@cache
def digit_domains() -> FeatureSet:
    """Digits by hand (MNIST), scanned (optdigits), by pen (pendigits) and printed."""
    hands = {
        "handwritten": digits.handwritten(),
        "scanned": keel.optdigits(),
        "by pen": _drawn(),
        "printed": digits.printed(DIGIT_ROWS, random_state=0),
    }
    parts = []
    for name, (images, y) in hands.items():
        rows = np.random.default_rng(0).permutation(len(y))[:DIGIT_ROWS]
        parts.append((image_features(f"{name.replace(' ', '-')}-stream", images[rows]), y[rows]))
    return joined(parts, tuple(hands), tuple(digits.DIGITS))


@cache
def corrupted_fashion() -> FeatureSet:
    """Fashion-MNIST by a good camera and by six bad ones, no picture by two."""
    X, y = clear_fashion()
    (images, labels), _ = fashion.load()
    parts = [(X[:CORRUPTED_ROWS], y[:CORRUPTED_ROWS])]
    for i, (name, spoil) in enumerate(CAMERAS.items()):
        start = CLEAR_ROWS + i * CORRUPTED_ROWS
        rows = slice(start, start + CORRUPTED_ROWS)
        features = image_features(f"fashion-{name.replace(' ', '-')}-stream", spoil(images[rows]))
        parts.append((features, labels[rows]))
    return joined(parts, ("clear", *CAMERAS), CLOTHES)


@cache
def corrupted_photos(data_dir: Path) -> FeatureSet:
    """Photos of PACS by a good camera and by five bad ones, no photo by two.

    Raises
    ------
    DataAbsentError
        The archive is not in `data_dir`.
    """
    images, y, _ = pacs.load(data_dir, domains=("photo",))
    order = np.argsort(y, kind="stable")
    cameras = ("clear", *PHOTO_CAMERAS)
    parts = []
    for i, name in enumerate(cameras):
        rows = order[i :: len(cameras)]
        taken = images[rows]
        if name != "clear":
            spoil = PHOTO_CAMERAS[name]
            taken = np.stack([spoil(taken[..., c], c) for c in range(3)], axis=-1)
        parts.append((image_features(f"photo-{name}-stream", taken), y[rows]))
    return joined(parts, cameras, pacs.CLASSES)


@cache
def clear_fashion() -> tuple[Matrix, Labels]:
    """The first 12,000 pictures of Fashion-MNIST as they are."""
    (images, y), _ = fashion.load()
    return image_features("fashion-clear-stream", images[:CLEAR_ROWS]), y[:CLEAR_ROWS]


def joined(
    parts: Sequence[tuple[Matrix, Labels]],
    domains: tuple[str, ...],
    classes: tuple[str, ...],
    taps: Mapping[str, int] = LITE0_TAPS,
) -> FeatureSet:
    """One feature set of the features and labels of each domain."""
    domain = np.repeat(np.arange(len(parts)), [len(y) for _, y in parts])
    X, y = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return FeatureSet(X, y, domain, taps, classes, domains)


def _drawn() -> tuple[Images, Labels]:
    """Digits of 28 x 28 drawn along their eight pen positions."""
    from PIL import Image, ImageDraw

    strokes, y = keel.penbased()
    images = np.empty((len(y), 28, 28), np.uint8)
    for row, points in enumerate(strokes):
        canvas = Image.new("L", (28, 28))
        corners = [(4 + 0.2 * float(px), 24 - 0.2 * float(py)) for px, py in points]
        ImageDraw.Draw(canvas).line(corners, fill=255, width=2, joint="curve")
        images[row] = np.asarray(canvas)
    return images, y
