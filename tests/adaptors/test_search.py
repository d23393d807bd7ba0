"""The search: budgets are never exceeded, the choice is explained, bad input is refused."""

import json

import numpy as np
import pytest

from adaptors import search_adaptors
from adaptors.candidates import Candidate, Tap
from adaptors.search import N_DRAWS, PROXIES, rank, ranked, scored


def samples(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 3)
    X = {
        "noise": rng.normal(size=(n, 20)),
        "map": rng.normal(size=(n, 3, 3, 4)),
        "embedding": 3.0 * np.eye(3, 24)[y] + rng.normal(size=(n, 24)),
    }
    return X, y


@pytest.mark.parametrize(("n_bytes", "n_macs"), [(1_200, None), (4_000, 150), (10**9, 80)])
def test_no_candidate_exceeds_a_budget(n_bytes, n_macs):
    result = search_adaptors(
        *samples(), budget_bytes=n_bytes, budget_macs=n_macs, n_candidates=30, random_state=0
    )
    assert 1 <= len(result.table) <= 30
    assert all(row.candidate.n_bytes <= n_bytes for row in result.table)
    assert all(n_macs is None or row.candidate.n_macs <= n_macs for row in result.table)
    clf = result.build(epochs=1, random_state=0).fit(*samples())
    assert clf.n_bytes_ == result.best.n_bytes <= n_bytes


def test_the_chosen_adaptor_reads_what_tells_classes_apart():
    result = search_adaptors(*samples(150), budget_bytes=3_000, random_state=0)
    assert "embedding" in [tap.name for tap in result.best.taps]
    assert result.build(random_state=0).fit(*samples(150)).score(*samples(150, seed=1)) > 0.8


def test_the_same_seed_chooses_the_same_and_input_is_left_alone():
    X, y = samples()
    kept = {name: values.copy() for name, values in X.items()}
    one, same = (
        search_adaptors(X, y, budget_bytes=9_000, n_candidates=12, random_state=4) for _ in range(2)
    )
    assert one.to_dict() == same.to_dict()
    for name, values in X.items():
        np.testing.assert_array_equal(values, kept[name])


def test_an_array_is_a_single_tap_and_labels_may_be_strings():
    X, y = samples()
    names = np.array(["a", "b", "c"])[y]
    result = search_adaptors(X["embedding"], names, budget_bytes=9_000, random_state=0)
    assert [tap.name for tap in result.best.taps] == ["features"]
    assert (
        result.build(random_state=0).fit(X["embedding"], names).score(X["embedding"], names) > 0.8
    )


def test_only_the_named_taps_are_read():
    result = search_adaptors(*samples(), budget_bytes=9_000, taps=["map"], random_state=0)
    assert {tap.name for row in result.table for tap in row.candidate.taps} == {"map"}
    assert {row.candidate.kind for row in result.table} >= {"pointwise", "depthwise"}


def test_the_table_holds_every_proxy_best_first_and_can_be_written_as_json():
    result = search_adaptors(*samples(), budget_bytes=9_000, n_candidates=10, random_state=0)
    assert [row.aggregate for row in result.table] == sorted(
        (row.aggregate for row in result.table), reverse=True
    )
    written = json.loads(json.dumps(result.to_dict()))
    assert len(written["table"]) == 10
    assert set(written["table"][0]["scores"]) == set(written["table"][0]["ranks"]) == set(PROXIES)
    assert Candidate.from_dict(written["best"]) == result.best
    why, *lines = result.to_text(3).splitlines()
    assert str(result.best) in why
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert str(result) == result.to_text(10)


def test_ranks_share_places_and_among_equals_the_smaller_candidate_wins():
    assert rank([3.0, 1.0, 3.0, 2.0]).tolist() == [3.5, 1.0, 3.5, 2.0]
    taps = (Tap("x", (50,)),)
    large, small = (Candidate("bottleneck", taps, 2, (r,)) for r in (32, 4))
    assert ranked([large, small], [{"s": 1.0}, {"s": 1.0}], ["s"], n_samples=9).best == small
    assert ranked([large, small], [{"s": 2.0}, {"s": 1.0}], ["s"], n_samples=9).best == large


def test_a_rank_with_an_error_is_the_mean_rank_of_noisy_values():
    values, error = np.array([0.2, 0.25, 0.5, 0.52]), 0.05
    noisy = values + error * np.random.default_rng(0).normal(size=(20_000, 4))
    np.testing.assert_allclose(
        rank(values, error), np.mean([rank(row) for row in noisy], axis=0), atol=0.03
    )
    np.testing.assert_allclose(rank(values, 1e-9), rank(values))


def test_where_few_samples_cannot_tell_candidates_apart_an_exact_score_decides():
    taps = (Tap("x", (50,)),)
    small, large = (Candidate("bottleneck", taps, 2, (r,)) for r in (4, 32))
    scores = [
        {"nearest_mean": accuracy, "n_params": float(c.n_params)}
        for c, accuracy in ((small, 0.82), (large, 0.80))
    ]
    names = ["nearest_mean", "n_params"]
    assert ranked([small, large], scores, names, n_samples=50).best == large
    few, many = (
        ranked([small, large], scores, ["nearest_mean"], n_samples=n).table[0].ranks["nearest_mean"]
        for n in (50, 50_000)
    )
    assert 1.5 < few < 1.8 < many == pytest.approx(2.0, abs=1e-3)


def test_the_nearest_mean_is_averaged_over_draws_of_weights():
    X, y = samples()
    taps = (Tap("embedding", (24,)),)
    candidates = [Candidate("identity", taps, 3), Candidate("bottleneck", taps, 3, (4,))]
    arrays = {"embedding": X["embedding"].astype(np.float32)}
    runs = [scored(candidates, arrays, y, np.random.default_rng(seed)) for seed in range(12)]
    fixed, drawn = np.array([[each["nearest_mean"] for each in run] for run in runs]).T * len(y)
    assert np.ptp(fixed) == 0.0
    np.testing.assert_allclose(drawn * N_DRAWS, np.round(drawn * N_DRAWS), atol=1e-6)
    assert (np.abs(drawn - np.round(drawn)) > 1e-6).any()  # as no single draw can score


def test_a_budget_below_everything_names_the_smallest_candidate():
    with pytest.raises(ValueError, match=r"budget_bytes=5.*smallest is .* bytes and .* MACs"):
        search_adaptors(*samples(), budget_bytes=5)
    with pytest.raises(ValueError, match=r"budget_macs=1: .* fewest MACs identity \[map\]"):
        search_adaptors(*samples(), budget_bytes=10**9, budget_macs=1)


def test_a_tap_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match=r"taps \['late'\] do not exist.*'embedding', 'map'"):
        search_adaptors(*samples(), budget_bytes=9_000, taps=["late"])
    with pytest.raises(ValueError, match="do not exist"):
        search_adaptors({}, [0, 1], budget_bytes=9_000)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.full((20, 4), np.nan), np.arange(20) % 2, "NaN"),
        (np.ones((20, 4)), np.zeros(20, int), "single class"),
        (np.ones((6, 4)), np.arange(6) % 2, "6 samples of 2 classes, expected 8"),
        (np.ones((12, 4)), np.arange(12) % 8, "expected 16"),
        (np.ones((3000, 1)), np.arange(3000) % 2, "expected 8 to 2000"),
        (np.ones((20, 4)), np.arange(19) % 2, "one per row"),
        (np.ones((20, 4, 2)), np.arange(20) % 2, "expected \\(n, d\\) or"),
        ({"a": np.ones((20, 4)), "b": np.ones((19, 4))}, np.arange(20) % 2, "different numbers"),
    ],
)
def test_bad_samples_are_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        search_adaptors(X, y, budget_bytes=9_000)


@pytest.mark.parametrize("name", ["budget_bytes", "budget_macs", "n_candidates"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "9"])
def test_a_budget_that_is_no_positive_int_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is "):
        search_adaptors(*samples(), **{"budget_bytes": 9_000, name: value})
