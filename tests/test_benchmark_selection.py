"""The selection benchmark on toy data: every choice is bounded, seen in order, and judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import selection
from benchmarks.features import FeatureSet
from benchmarks.options import Options
from benchmarks.selection import CHOICES, REFERENCE, Arrivals, Task
from examples.datasets import fashion, letter
from examples.datasets.archives import ArchiveUnavailableError


def toy(n: int = 360) -> Task:
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % 3)
    X = (4.0 * np.eye(3, 6)[y] + rng.normal(size=(n, 6))).astype(np.float32)
    rows = np.arange(n)
    return Task("toy", X, y, np.zeros_like(y), rows[: 2 * n // 3], rows[2 * n // 3 :])


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_keeps_what_was_asked_for_in_order_and_repeats_itself(name: str) -> None:
    one, again = (CHOICES[name](Arrivals(toy(), seed=3), 12) for _ in range(2))
    assert len(one) == 12
    assert (np.diff(one) > 0).all()
    assert 0 <= one[0] <= one[-1] < len(toy().stream)
    np.testing.assert_array_equal(one, again)


UNBALANCED = {"random", "most recent", "EL2N highest"}
# A seed draws other numbers for another length; one choice is meant to look back.
OF_ALL_THE_STREAM = {"random", REFERENCE, "herding, looks back"}


@pytest.mark.parametrize("name", sorted(set(CHOICES) - UNBALANCED))
def test_all_but_three_choices_keep_equally_many_of_every_class(name: str) -> None:
    task = toy()
    kept = CHOICES[name](Arrivals(task, seed=0), 12)
    assert np.bincount(task.y[task.stream][kept]).tolist() == [4, 4, 4]


@pytest.mark.parametrize("name", sorted(set(CHOICES) - OF_ALL_THE_STREAM))
def test_a_choice_depends_on_nothing_that_comes_later(name: str) -> None:
    # What is kept of the first half must be what is kept when there is no more: no choice may
    # bring back a sample that it had let go of.
    task = toy()
    half = Task("half", task.X, task.y, task.group, task.stream[:100], task.test)
    half_way = CHOICES[name](ArrivalsLike(task, half), 12)
    kept = CHOICES[name](ArrivalsLike(task, task), 12)
    assert set(kept[kept < 100]) <= set(half_way)


class ArrivalsLike(Arrivals):
    """A stream cut short, standardised as the whole is."""

    def __init__(self, whole: Task, part: Task) -> None:
        super().__init__(part, seed=0)
        self.__dict__["_standardised"] = Arrivals(whole, 0)._standardised[: len(part.stream)]


def test_networks_say_what_they_say_of_a_sample_before_they_learn_it() -> None:
    task = toy()
    flipped = Task("flipped", task.X, task.y.copy(), task.group, task.stream, task.test)
    last = slice(200, 240)  # of the last chunk
    flipped.y[last] = (flipped.y[last] + 1) % 3
    before, after = (Arrivals(each, 0).probabilities for each in (task, flipped))
    np.testing.assert_array_equal(before[:, last], after[:, last])
    assert (
        Arrivals(flipped, 0).networks[last].mean() > 1.0 > Arrivals(task, 0).networks[last].mean()
    )


def test_every_choice_is_a_row_and_gains_are_over_balanced_chance() -> None:
    records = list(selection.judge(toy(), 0, (2, 4)))
    report = selection.report_of(records)
    assert [row[1] for row in report.rows] == list(CHOICES)
    assert [record["n"] for record in records if record["kept"] == "random"] == [6, 12]
    accuracy = {(r["kept"], r["per class"]): r["accuracy"] for r in records}
    gain = np.mean([accuracy["herding", k] - accuracy[REFERENCE, k] for k in (2, 4)])
    row = next(row for row in report.rows if row[1] == "herding")
    assert row[-1] == f"{100 * gain:.1f}"
    assert row[2] == f"{100 * accuracy['herding', 2]:.1f}"
    assert len({len(row) for row in (report.columns, *report.rows)}) == 1


def test_a_stream_of_domains_has_as_much_of_each_and_none_of_its_test_rows() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 40)
    X = rng.normal(size=(160, 3)).astype(np.float32)
    data = FeatureSet(X, group % 2, group // 2, {"embedding": 3}, ("a", "b"), ("here", "there"))
    task = selection.pacs_task(data, seed=0, n_stream=60)
    assert data.domain[task.stream].tolist() == [0] * 30 + [1] * 30
    assert not set(task.stream) & set(task.test)


def test_without_data_there_is_no_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise ArchiveUnavailableError("no such client")

    for module in (fashion, letter):
        monkeypatch.setattr(module, "load", absent)
    monkeypatch.setattr(selection, "pacs_features", lambda folder: absent())
    assert selection.run(Options(data_dir=tmp_path)) is None
    assert capsys.readouterr().err.count("SKIPPED") == 3
