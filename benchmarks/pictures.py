"""The pictures of docs/hdc.md: `python -m benchmarks.pictures` draws them anew, seed 0.

Angles that bits keep, what whitening does to cosines, and where the threshold comes from, on
random features and on the scanned digits that scikit-learn carries.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hdc import OODDetector, SignedHadamard
from hdc.domain.frame import fit_frame
from hdc.vectors.hypervector import hamming

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
KNOWN, OTHER, GREY = "#2166ac", "#b2182b", "#888888"


def main(arguments: Sequence[str]) -> int:
    """Draw all pictures into the folder given, or into docs/pictures."""
    folder = Path(arguments[0]) if arguments else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (angles, whitening, threshold):
        figure = draw()
        figure.savefig(folder / f"{draw.__name__}.png", dpi=100, metadata={"Software": None})
    return 0


def angles() -> Any:
    """Angle of two samples against the angle that their packed signs give."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, np.pi, 300)
    a, b = rng.standard_normal((2, 300, 64))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b -= (a * b).sum(axis=1, keepdims=True) * a
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    c = np.cos(truth)[:, None] * a + np.sin(truth)[:, None] * b
    figure, panels = _panels(3, "angle of two samples, degrees")
    for panel, n_dims in zip(panels, (512, 2048, 8192), strict=True):
        projection = SignedHadamard(64, n_dims)
        differing = np.array(
            [hamming(p, q) for p, q in zip(projection.bits(a), projection.bits(c), strict=True)]
        )
        found = 180 * differing / n_dims
        error = np.sqrt(np.mean((found - np.degrees(truth)) ** 2))
        panel.plot([0, 180], [0, 180], color=GREY, linewidth=1)
        panel.plot(np.degrees(truth), found, ".", color=KNOWN, markersize=3)
        panel.set_title(f"{n_dims:,} bits: error {error:.1f} degrees")
    panels[0].set_ylabel("180 x share of differing bits")
    return figure


def whitening() -> Any:
    """Cosines of samples to their own mean and to the nearest other one, before and after."""
    X, y = _digits()
    means = np.stack([X[y == k].mean(axis=0) for k in range(10)])
    frame = fit_frame(X, y, np.ones(X.shape[1], np.float32), shrinkage=0.1)
    views = {
        "centred only": (frame.centred(X), frame.centred(means)),
        "whitened": (frame.whitened(X), frame.whitened(means)),
    }
    figure, panels = _panels(2, "cosine to a class mean")
    for panel, (title, (Z, M)) in zip(panels, views.items(), strict=True):
        cosines = (Z / np.linalg.norm(Z, axis=1, keepdims=True)) @ (
            M / np.linalg.norm(M, axis=1, keepdims=True)
        ).T
        own = cosines[np.arange(len(y)), y]
        others = np.where(np.eye(10, dtype=bool)[y], -1, cosines).max(axis=1)
        bins = np.linspace(-0.5, 1, 40).tolist()
        panel.hist(own, bins, alpha=0.7, color=KNOWN, label="its own class")
        panel.hist(others, bins, alpha=0.7, color=OTHER, label="the nearest other")
        panel.set_title(f"{title}: own is nearest for {100 * np.mean(own > others):.1f} %")
    panels[0].legend(frameon=False)
    return figure


def threshold() -> Any:
    """Scores of known digits, of others, and the threshold at two rates of false alarms."""
    X, y = _digits()
    known, other = y < 8, y >= 8
    rows = np.random.default_rng(0).permutation(np.flatnonzero(known))
    learned, fresh = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    figure, panels = _panels(2, "score, higher is more normal")
    for panel, rate in zip(panels, (0.05, 0.1), strict=True):
        detector = OODDetector(false_alarm_rate=rate, random_state=0).fit(X[learned], y[learned])
        scores, others = detector.score_samples(X[fresh]), detector.score_samples(X[other])
        bins = np.linspace(-16, 4, 50).tolist()
        panel.hist(scores, bins, alpha=0.7, color=KNOWN, label="fresh digits 0 to 7")
        panel.hist(others, bins, alpha=0.7, color=OTHER, label="digits 8 and 9, never learned")
        panel.axvline(detector.offset_, color="black", linewidth=1)
        alarms, found = (scores < detector.offset_).mean(), (others < detector.offset_).mean()
        panel.set_title(
            f"stated {100 * rate:.0f} %: {100 * alarms:.1f} % alarms, {100 * found:.0f} % found",
            fontsize=10,
        )
    panels[0].legend(frameon=False, loc="upper left")
    return figure


def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32), y


def _panels(count: int, label: str) -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, count, sharey=True)
    for panel in panels:
        panel.set_xlabel(label)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
