"""The benchmarks of hdc on toy data: peers score samples, tables and pictures are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import calibration, hdc, ood, ood_tasks, pictures, timing
from benchmarks.hdff import HDFFDetector
from benchmarks.options import Options
from benchmarks.peers import ood_detectors

TAPS = {"tap1": 4, "embedding": 12}
DETECTORS = (
    ood_detectors.MaxSoftmax,
    ood_detectors.Energy,
    ood_detectors.ViM,
    ood_detectors.Mahalanobis,
    ood_detectors.RelativeMahalanobis,
    ood_detectors.NearestNeighbours,
    ood_detectors.CosineNearestMean,
)
UNSURE_OF_FAR = (ood_detectors.MaxSoftmax, ood_detectors.Energy, ood_detectors.RelativeMahalanobis)


def toy(n: int = 120) -> ood_tasks.Task:
    """Three classes, and samples in a direction that no class takes."""
    rng = np.random.default_rng(0)

    def draw(centres: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(len(centres), size=n)
        return (centres[y] + rng.normal(size=(n, 16))).astype(np.float32), y

    known, away = 5 * np.eye(16)[:3], -9 * np.ones((1, 16))
    X, y = draw(known, n)
    test, test_y = draw(known, n)
    return ood_tasks.Task("toy", X, y, test, test_y, {"far": draw(away, n)[0]}, TAPS)


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_peer_scores_known_samples_higher_than_others(kind: type) -> None:
    task = toy()
    model = kind().fit(task.train, task.y)
    auroc, _ = ood.auroc_and_fpr(
        model.score_samples(task.test), model.score_samples(task.ood["far"])
    )
    # By design these three care for directions between classes, not for distance.
    assert auroc > 0.95 or kind in UNSURE_OF_FAR


def test_hdff_is_the_cosine_to_the_nearest_class_of_summed_taps() -> None:
    task = toy(90)
    X, y = task.by_tap(task.train), task.y
    fitted = HDFFDetector(n_dims=4096, random_state=0).fit(X, y)
    joined = np.concatenate([part - part.mean() for part in X.values()], axis=1)
    sums = np.stack([joined[y == c].sum(axis=0) for c in range(3)])
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (joined, sums)]
    expected = (unit[0] @ unit[1].T).max(axis=1)
    # Rows of one matrix are orthonormal; those of two taps are so nearly.
    assert np.allclose(fitted.score_samples(X), expected, atol=0.08)
    alone = HDFFDetector(n_dims=64, random_state=0)
    assert alone.fit(task.train, y).score_samples(task.test).shape == (90,)


def test_hdff_refuses_what_it_cannot_project() -> None:
    with pytest.raises(ValueError, match="widest tap, 100"):
        HDFFDetector(n_dims=64).fit(np.ones((2, 100)), [0, 1])
    fitted = HDFFDetector(n_dims=64).fit(np.eye(2), [0, 1])
    with pytest.raises(ValueError, match="3 features"):
        fitted.score_samples(np.ones((1, 3)))


def test_auroc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    known, others = rng.integers(0, 9, 50), rng.integers(-3, 6, 70)
    truth = np.repeat([1, 0], [50, 70])
    expected = roc_auc_score(truth, np.concatenate([known, others]))
    assert ood.auroc_and_fpr(known, others)[0] == pytest.approx(expected)


def test_samples_out_of_distribution_are_measured_by_every_method_on_the_same_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ood, "tasks", lambda options, seed: iter([toy()]))
    report = ood.run(Options(seeds=2))
    assert report is not None
    assert report.rows[0][0] == "toy against far"
    assert {record["method"] for record in report.records} == set(report.columns[1:])
    assert "against Mahalanobis: toy against far" in report.protocol


def test_alarms_are_counted_for_every_rate_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    task = ood_tasks.Task(*([calibration.TASKS[0], *_fields(toy(1200))]))
    monkeypatch.setattr(calibration, "tasks", lambda options, seed: iter([task]))
    report = calibration.run(Options(quick=True))
    assert report is not None
    assert len(report.rows) == len(calibration.SIZES)
    assert all(record["alarms"] < 0.5 for record in report.records)


def _fields(task: ood_tasks.Task) -> list[object]:
    return [task.train, task.y, task.test, task.test_y, task.ood, task.taps]


def test_functions_are_timed_in_turn() -> None:
    calls: list[str] = []
    times = timing.medians(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, seconds=0
    )
    assert calls[-4:] == ["a", "b", "a", "b"]
    assert min(times.values()) > 0


@pytest.mark.slow
def test_costs_are_measured() -> None:
    report = hdc.run(Options(quick=True))
    assert len(report.rows) >= 6
    assert "µs" in report.to_text()


def test_every_picture_of_the_page_is_drawn(tmp_path: Path) -> None:
    assert pictures.main([str(tmp_path)]) == 0
    page = (pictures.FOLDER.parent / "hdc.md").read_text()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {path.name for path in pictures.FOLDER.iterdir()}
    assert all(f"pictures/{name}" in page for name in names)
