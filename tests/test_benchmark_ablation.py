"""Mechanisms off one at a time: what is replaced is there, counts, and is put back."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import ablation, query_strategies
from benchmarks.ablation import ALL_LABELS, EVERYTHING, MECHANISMS, REQUESTED, Mechanism
from benchmarks.options import Options
from edge_runtime import EdgeRuntime
from edge_runtime.policy.policy import Policy
from edge_runtime.policy.requests import LabelRequests
from tests.test_benchmarks import toy

BY_NAME = {each.name: each for each in MECHANISMS}


@pytest.fixture(scope="module")
def data():
    made = toy(40, gap=1.0)
    return made.part(np.random.default_rng(1).permutation(len(made.y)))


def taught(data, mechanism=BY_NAME[EVERYTHING], n=120):
    with mechanism.off():
        runtime = EdgeRuntime(n_dims=1024, **mechanism.options)
        runtime.learn_many(list(data.X[:n]), data.y[:n].tolist())
    return runtime


def model_of(runtime):
    return runtime._model


@pytest.mark.parametrize(
    ("name", "at"), [("no prototypes", 1), ("no kernel head", 2), ("no adaptor", 3)]
)
def test_an_expert_that_is_off_counts_for_nothing_and_others_do(data, name, at):
    weights = model_of(taught(data, BY_NAME[name])).weights
    assert weights[at] == 0
    assert weights.sum() > 0.1


def test_without_the_gaussian_the_least_of_it_is_left(data):
    assert model_of(taught(data, BY_NAME["no Gaussian"])).weights[0] <= 1e-3


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.name)
def test_what_is_replaced_is_there_and_is_put_back(mechanism):
    before = [vars(where)[name] for where, name, _ in mechanism.replaced]
    with mechanism.off():
        for where, name, value in mechanism.replaced:
            assert vars(where)[name] is value
    assert [vars(where)[name] for where, name, _ in mechanism.replaced] == before
    with pytest.raises(AttributeError), Mechanism("x", replaced=((ablation, "GONE", 1),)).off():
        pass


def test_between_fits_nothing_is_appended_until_the_next_one(data):
    runtime = taught(data)
    mechanism = BY_NAME["no append between fits"]
    with mechanism.off():
        sums = model_of(runtime).cells.sums.copy()
        runtime.learn_many(list(data.X[120:125]), data.y[120:125].tolist())
        assert (model_of(runtime).cells.sums == sums).all() or model_of(runtime).n_appended == 0
        for x, k in zip(data.X[125:200], data.y[125:200].tolist(), strict=True):
            runtime.learn(runtime.step(x).sample_id, k)
        assert model_of(runtime).n_fitted > 125


def test_nobody_is_suspected_where_suspects_are_learned(data):
    y = data.y.copy()
    y[:120:10] = (y[:120:10] + 1) % 3
    with BY_NAME["suspects are learned"].off():
        runtime = EdgeRuntime(n_dims=1024)
        runtime.learn_many(list(data.X[:120]), y[:120].tolist())
    assert runtime.suspected_labels() == []


def test_every_run_is_written_and_not_repeated(data, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "STREAMS", {"toy": lambda _: data})
    options = Options(quick=True, out=tmp_path)
    only = ["one slot", "no bets on togetherness"]
    table = ablation.run(options, only=only)
    assert [row[0] for row in table.rows] == [EVERYTHING, *only]
    assert table.columns == ("learner", f"toy, {ALL_LABELS}", f"toy, {REQUESTED}")
    assert table.rows[1][1][0] in "+-"
    assert len((tmp_path / ablation.RUNS).read_text().splitlines()) == 6
    monkeypatch.setattr(ablation, "measure", None)
    assert ablation.run(options, only=only).rows == table.rows


def test_streams_without_their_data_are_skipped_with_a_message(tmp_path, capsys):
    assert ablation.run(Options(quick=True, data_dir=tmp_path), ["PACS"]) is None
    assert "SKIPPED ablation on PACS" in capsys.readouterr().err


def test_every_rule_for_requests_gets_labels_and_the_runtimes_own_is_put_back(data, monkeypatch):
    monkeypatch.setattr(ablation, "STREAMS", {"toy": lambda _: data})
    own = Policy._request, LabelRequests.would_help
    report = query_strategies.run(Options(seeds=1))
    assert (Policy._request, LabelRequests.would_help) == own
    assert [row[0] for row in report.rows] == [each.name for each in query_strategies.STRATEGIES]
    assert {each["labels"] for each in report.records} == {REQUESTED}
    assert all(each["n_labels"] > 0 for each in report.records)
