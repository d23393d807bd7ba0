"""Random lives are lived to their end; a few short ones here, long ones by `make test-long`."""

from __future__ import annotations

import json

import pytest

from tests.runtime import endurance


@pytest.mark.parametrize("seed", range(5))
def test_a_random_life_is_lived_without_an_error(seed):
    endurance.lived(seed, 100)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 116))
def test_a_long_random_life_is_lived_without_an_error(seed):
    endurance.lived(seed, 1500)


def test_the_long_run_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(endurance, "PROGRESS", tmp_path / "made" / "progress.json")
    lives = []
    monkeypatch.setattr(endurance, "lived", lambda seed, n: lives.append((seed, n)))
    assert endurance.main(["--steps", "30", "--life", "10"]) == 0
    assert endurance.main(["--steps", "50", "--life", "10"]) == 0
    assert lives == [(seed, 10) for seed in range(5)]

    def broken(seed, n):
        raise IndexError(seed)

    monkeypatch.setattr(endurance, "lived", broken)
    assert endurance.main(["--steps", "90", "--life", "10"]) == 1
    assert "--seed 5 --life 10" in capsys.readouterr().out
    assert json.loads(endurance.PROGRESS.read_text()) == {"steps": 50, "seed": 5}
