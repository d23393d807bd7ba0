"""The search benchmark on toy data: every candidate is trained, test rows decide nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from adaptors.search import PROXIES
from benchmarks import search
from benchmarks.features import FeatureSet
from benchmarks.options import Options
from examples.datasets.archives import ArchiveUnavailableError


def toy(n_per_group: int = 60) -> FeatureSet:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), n_per_group)
    y, domain = group % 2, group // 2
    X = rng.normal(size=(len(y), 12)) + 2.0 * y[:, None] * (np.arange(12) > 7)
    taps = {"early": 4, "embedding": 8}
    return FeatureSet(X.astype(np.float32), y, domain, taps, ("a", "b"), ("here", "there"))


def test_every_way_to_choose_is_judged_on_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "QUICK_CANDIDATES", 6)
    report = search.compare([search.pacs_task(toy())], Options(quick=True))
    ways = ["random, expected", "aggregate", *PROXIES]
    assert [row[1] for row in report.rows] == ways
    assert len(report.records) == len(ways) * len(search.BUDGETS)
    assert all(-1 <= record["regret"] <= 1 for record in report.records)


def test_training_validation_and_test_rows_are_apart() -> None:
    task = search.pacs_task(toy())
    parts = [set(rows.tolist()) for rows in (task.train, task.validation, task.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(task.y)


def test_regret_is_against_what_validation_prefers_and_within_the_budget() -> None:
    trained = search.Trained(np.array([0.9, 0.5, 0.7]), np.array([0.8, 0.9, 0.6]))
    assert trained.regret(0.6, np.array([0, 1, 2])) == pytest.approx(0.2)
    assert trained.regret(0.9, np.array([1, 2])) == pytest.approx(-0.3)


def test_kendalls_tau_is_scipys_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 5, size=(2, 20)).astype(float)
        assert search.kendall_tau(a.tolist(), b) == pytest.approx(kendalltau(a, b)[0])
    assert search.kendall_tau([1.0, 1.0], np.array([1.0, 2.0])) == 0.0


def test_random_convolutions_give_maps_of_the_same_positions_and_the_same_filters() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8), dtype=np.uint8)
    one, again = (search.random_convolutions(images, 4) for _ in range(2))
    assert {name: X.shape[1:] for name, X in one.items()} == {
        "pixels": (64,),
        "map1": (4, 4, 16),
        "map2": (4, 4, 32),
    }
    np.testing.assert_array_equal(one["map2"], again["map2"])


def test_a_task_without_its_data_is_skipped_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise ArchiveUnavailableError("no such client")

    for module, name in ((search.fashion, "load"), (search.digits, "handwritten")):
        monkeypatch.setattr(module, name, absent)
    monkeypatch.setattr(search.digits, "scanned", absent)
    monkeypatch.setattr(search.letter, "load", absent)
    assert search.run(Options(data_dir=tmp_path)) is None
    assert capsys.readouterr().err.count("SKIPPED") == 5
