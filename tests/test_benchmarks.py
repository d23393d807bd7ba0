"""The benchmarks on toy data: peers learn, protocols are kept, tables are written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import cold_start, continual, features, local_learning, local_tasks, reporting
from benchmarks.continual_peers import PEERS, Outcome, Peer, accuracy
from benchmarks.features import FeatureSet
from benchmarks.options import Options, parse
from benchmarks.peers.analytic import JITTER, KernelLDA, KernelRidge, LowRankRanPAC
from benchmarks.peers.neighbours import FeCAM, NearestNeighbours
from benchmarks.peers.streaming import NearestMean, RanPAC, StreamingLDA
from benchmarks.splits import View, domain_stream, first_of_each_class, validation_part
from benchmarks.streams import domains
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.lite0 import lite0_path
from examples.datasets.pacs import DataAbsentError

TAPS = {"tap1": 4, "embedding": 12}


def toy(n_per_group: int = 40, gap: float = 3.0) -> FeatureSet:
    """Three classes around a triangle that another domain moves."""
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(6), n_per_group)
    y, domain = group % 3, group // 3
    centres = rng.normal(size=(3, 16)) * gap
    X = centres[y] + 4.0 * domain[:, None] * rng.normal(size=16) + rng.normal(size=(len(y), 16))
    return FeatureSet(X.astype(np.float32), y, domain, TAPS, ("a", "b", "c"), ("here", "there"))


@pytest.mark.parametrize(
    "model",
    [
        NearestMean(16, 3),
        StreamingLDA(16, 3),
        RanPAC(16, 3, 64, seed=0),
        NearestNeighbours(16, 3),
        FeCAM(16, 3),
        KernelLDA(16, 3, 200, seed=0),
        KernelRidge(16, 3, 64, seed=0, ridge=0.01),
        LowRankRanPAC(16, 3, 64, seed=0, rank=32),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_streaming_peer_learns_in_batches(model: Any) -> None:
    data = toy()
    X = data.X - data.X.mean(axis=0)
    X = X / X.std(axis=0)
    here = np.flatnonzero(data.domain == 0)
    for rows in np.array_split(np.random.default_rng(1).permutation(here), 3):
        model.partial_fit(X[rows], data.y[rows])
    assert accuracy(model.predict(X[here]), data.y[here]) > 0.95
    assert model.n_bytes >= 4 * 16 * 3


def test_slda_in_batches_equals_slda_at_once() -> None:
    data = toy()
    at_once, in_batches = StreamingLDA(16, 3), StreamingLDA(16, 3)
    at_once.partial_fit(data.X, data.y)
    for rows in np.array_split(np.random.default_rng(0).permutation(len(data.y)), 7):
        in_batches.partial_fit(data.X[rows], data.y[rows])
    np.testing.assert_allclose(in_batches.scatter, at_once.scatter, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(in_batches.means, at_once.means, rtol=1e-9)


def test_one_neighbour_finds_every_row_that_it_has_learned() -> None:
    data = toy()
    model = NearestNeighbours(16, 3, k=1)
    model.partial_fit(data.X, data.y)
    np.testing.assert_array_equal(model.predict(data.X), data.y)
    assert model.n_bytes == data.X.nbytes + len(data.y)


def test_fecam_tells_classes_by_their_correlations_alone() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(600) % 2
    X = rng.normal(size=(600, 2))
    X[:, 1] = np.where(y == 0, 1, -1) * X[:, 0] + 0.3 * X[:, 1]
    X = np.concatenate([X, np.ones((600, 1))], axis=1).astype(np.float32)
    model = FeCAM(3, 2, gamma=0.01)
    model.partial_fit(X[:500], y[:500])
    assert accuracy(model.predict(X[500:]), y[500:]) > 0.8


def test_kernel_ridge_in_batches_is_the_ridge_of_all_rows() -> None:
    data = toy()
    model = KernelRidge(16, 3, 1000, seed=0, ridge=0.1)
    for rows in np.array_split(np.arange(len(data.y)), 3):
        model.partial_fit(data.X[rows], data.y[rows])
    assert model.centres is not None
    assert len(model.centres) == len(data.y) // 3  # all rows of the first batch
    K = model._features(data.X).astype(np.float64)
    jitter = JITTER * np.trace(K.T @ K)
    weights = np.linalg.solve(
        K.T @ K + (0.1 + jitter) * np.eye(K.shape[1]), K.T @ np.eye(3)[data.y]
    )
    model.predict(data.X)
    np.testing.assert_allclose(model._weights, weights, rtol=1e-3, atol=1e-3)


def test_with_all_directions_a_low_rank_is_least_squares() -> None:
    data = toy()
    model = LowRankRanPAC(16, 3, 24, seed=0, rank=24, floor=1e-6)
    for rows in np.array_split(np.arange(len(data.y)), 3):
        model.partial_fit(data.X[rows], data.y[rows])
    H = np.maximum(data.X @ model.projection, 0).astype(np.float64)
    weights = np.linalg.lstsq(H, np.eye(3)[data.y], rcond=None)[0]
    model.predict(data.X)
    np.testing.assert_allclose(model._weights, weights, atol=1e-3)
    few = LowRankRanPAC(16, 3, 24, seed=0, rank=5)
    few.partial_fit(data.X, data.y)
    assert few.directions.shape == (5, 24)
    assert few.n_bytes < model.n_bytes


def test_ranpac_learns_every_sample_in_the_end_and_keeps_its_held_back_ones() -> None:
    data = toy()
    model = RanPAC(16, 3, 32, seed=0)
    model.partial_fit(data.X, data.y)
    assert len(model._held[0]) == len(data.y) // 5
    model.partial_fit(data.X, data.y)
    assert len(model._held[0]) == 2 * (len(data.y) // 5)
    assert accuracy(model.predict(data.X), data.y) > 0.9


def test_ranpac_finds_the_ridge_that_a_search_through_all_finds() -> None:
    data = toy(gap=0.5)
    model = RanPAC(16, 3, 64, seed=0)
    model.partial_fit(data.X, data.y)
    model.predict(data.X)
    held, targets = model._features(model._held[0]), model._targets(model._held[1])
    errors = []
    for ridge in model.RIDGES:
        weights = model._solve(model.gram, model.moments, ridge)
        errors.append(np.mean((targets - held @ weights) ** 2))
    assert model._choice == int(np.argmin(errors))


def test_a_stream_never_shows_a_test_sample_in_training_and_validation_is_training_only() -> None:
    data = toy()
    stream = domain_stream(data, seed=3)
    part = validation_part(data, stream, seed=3)
    for domain in range(2):
        train, test = set(stream.train[domain].tolist()), set(stream.test[domain].tolist())
        assert not train & test
        assert train | test == set(np.flatnonzero(data.domain == domain).tolist())
        assert set(part.train[domain].tolist()) | set(part.test[domain].tolist()) == train
        assert np.bincount(data.y[stream.test[domain]]).tolist() == [8, 8, 8]


def test_scenes_stay_in_order_and_are_held_out_whole() -> None:
    data = toy()
    data = replace(data, scene=np.arange(len(data.y)) // 10)
    stream = domain_stream(data, seed=0)
    for part in (stream, validation_part(data, stream, seed=0)):
        for train, test in zip(part.train, part.test, strict=True):
            assert (np.diff(train) > 0).all()
            assert not set(data.scene[train]) & set(data.scene[test])
            assert len(test) > 0
    assert len(stream.test[0]) == round(0.2 * 12) * 10
    assert (stream.test[0] != domain_stream(data, seed=1).test[0]).any()
    assert data.part(np.array([0, 15])).scene.tolist() == [0, 1]


def test_a_tenth_is_of_what_ranpac_takes_in_the_view_chosen_for_it() -> None:
    data = toy()
    all_taps = domains.tenth(data, [])
    assert all_taps == RanPAC(16, 3, 2000, 0).n_bytes // 10
    candidate = View("embedding"), {"n_random": 2000}
    embedding = domains.tenth(data, [(domains.RANPAC, candidate)])
    assert embedding == RanPAC(12, 3, 2000, 0).n_bytes // 10


def test_a_few_labels_are_the_same_number_of_every_class() -> None:
    y = np.array([0, 0, 1, 0, 1, 1, 2, 2])
    assert y[first_of_each_class(y, 2)].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_standardised_view_takes_its_scale_from_the_reference_alone() -> None:
    data = toy()
    reference = np.flatnonzero(data.domain == 0)
    seen = View("embedding").of(data, reference)
    assert seen.shape[1] == TAPS["embedding"]
    np.testing.assert_allclose(seen[reference].mean(axis=0), 0, atol=1e-5)
    assert View("all", standardise=False).of(data, reference) is not None
    np.testing.assert_array_equal(View("all", standardise=False).of(data, reference), data.X)


def test_forgetting_leaves_out_the_last_domain_and_is_absent_for_joint_training() -> None:
    outcome = Outcome("m", final=[0.7, 0.8, 0.9], learned=[0.9, 0.8, 0.9])
    assert outcome.forgetting == pytest.approx(0.1)
    assert np.isnan(Outcome("joint", final=[0.7]).forgetting)


def test_tuning_takes_the_candidate_that_validation_prefers() -> None:
    class Constant:
        n_bytes = 0

        def __init__(self, answer: int) -> None:
            self.answer = answer

        def partial_fit(self, X: object, y: object) -> None:
            pass

        def predict(self, X: np.ndarray) -> np.ndarray:
            return np.full(len(X), self.answer)

    data = toy()
    kept = np.flatnonzero((data.y == 2) | (np.arange(len(data.y)) % 8 == 0))
    mostly_two = FeatureSet(
        data.X[kept], data.y[kept], data.domain[kept], TAPS, data.classes, data.domains
    )
    peer = Peer(
        "constant",
        lambda n_features, n_classes, seed, answer: Constant(answer),
        [View()],
        [{"answer": 0}, {"answer": 2}],
    )
    stream = domain_stream(mostly_two, 0)
    outcome = peer.run(mostly_two, stream, 0, peer.choose(mostly_two, stream, 0))
    assert outcome.detail == "all, answer=2"


def test_the_continual_benchmark_runs_every_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [p for p in PEERS if "000" not in p.name]  # without those of many random features
    monkeypatch.setattr(domains, "PEERS", small)
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "cache"))
    report = continual.compare(toy(30), Options(quick=True, out=tmp_path))
    ours = ["edge-runtime, batches", "edge-runtime, one by one"]
    assert [row[0] for row in report.rows] == [*ours, *(p.name for p in small)]
    report.publish(tmp_path, record=False)
    assert ours[1] in capsys.readouterr().out
    runs = json.loads((tmp_path / "continual.json").read_text())["runs"]
    assert len(runs) == len(small) + 2
    assert (tmp_path / "continual.csv").read_text().startswith("seed,method")


def test_with_few_labels_the_runtime_gets_no_more_of_them() -> None:
    data = toy(30)
    outcome, rows = domains.run_one_by_one(data, domain_stream(data, 0), seed=0, n_labels=5)
    assert 0 < outcome.n_labels <= 5 * 3 * 2
    assert sum(map(len, rows)) == outcome.n_labels


def test_without_its_data_a_benchmark_is_skipped_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise ArchiveUnavailableError("no such client")

    tasks = {"fashion": local_learning.TASKS["fashion"], "pacs": local_learning.TASKS["pacs"]}
    monkeypatch.setattr(local_learning, "TASKS", tasks)
    monkeypatch.setattr(local_tasks.fashion, "load", absent)
    monkeypatch.setattr(continual, "TASKS", {"pacs": continual.TASKS["pacs"]})
    assert command.main(["local_learning", "continual", "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "SKIPPED fashion: no such client" in said
    assert said.count("pacs_128.tar not found") == 2


def test_an_unknown_benchmark_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["no-such"])
    assert "there are hdc, ood" in capsys.readouterr().err


def test_a_recorded_table_names_the_machine_but_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "RESULTS", tmp_path / "results")
    columns, rows = ("method", "x"), [("one", "1")]
    report = reporting.Report("toy", "A title", "How.", columns, rows, [{"x": 1}])
    report.publish(None, record=True)
    page = (tmp_path / "results" / "toy.md").read_text()
    assert "| one | 1 |" in page
    assert f"NumPy {np.__version__}" in page
    assert str(tmp_path) not in page


def test_features_are_computed_once_and_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting:
        fingerprint, dims = "f" * 64, {"embedding": 2}
        n_calls = 0

        def __call__(self, batch: np.ndarray) -> dict[str, np.ndarray]:
            self.n_calls += 1
            return {"embedding": np.ones((len(batch), 2), np.float32)}

    encoder = Counting()
    (tmp_path / "pacs_128.tar").write_bytes(b"stands for the archive")
    images = np.zeros((3, 224, 224, 3), np.uint8)
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "open_lite0", lambda: encoder)
    monkeypatch.setattr(features.pacs, "load", lambda _: (images, np.arange(3), np.zeros(3, int)))
    first, second = features.pacs_features(tmp_path), features.pacs_features(tmp_path)
    assert encoder.n_calls == 1
    np.testing.assert_array_equal(first.X, second.X)
    monkeypatch.setattr(features.np, "savez", lambda *_, **__: (_ for _ in ()).throw(OSError))
    with pytest.raises(OSError):
        features.save(tmp_path / "cache" / "features" / "other.npz", X=np.ones(1))
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1


def test_features_without_the_archive_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataAbsentError, match="--data-dir"):
        features.pacs_features(tmp_path)


def test_the_command_line_gives_options() -> None:
    options = parse(None, ["--labels", "10", "--seeds", "3", "--quick"])
    assert (options.labels, options.seeds, list(options.seed_range)) == (10, 3, [0])


@pytest.mark.slow
def test_updates_and_answers_are_timed() -> None:
    from benchmarks import adaptors

    report = adaptors.run(Options(quick=True))
    assert len(report.rows) == 10  # two kinds of start among them
    updates = [record for record in report.records if record["what"].startswith("update")]
    assert all(record[adaptors.NUMPY] > 0 for record in updates)


@pytest.mark.slow
def test_every_part_of_a_start_is_timed(tmp_path: Path) -> None:
    try:
        encoder = lite0_path()
    except ArchiveUnavailableError as why:
        pytest.skip(f"NO ENCODER: {why}")
    words = cold_start.prepare(encoder, tmp_path, 200)
    times = cold_start.start("small", words, str(tmp_path))
    assert len(times) == len(cold_start.PARTS)
    assert min(times) >= 0
