"""Save, load and undo: what comes back is what went, bit for bit, and goes on alike."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from edge_runtime import EdgeRuntime, Settings
from edge_runtime.errors import EncoderMismatchError, LabelError, StateError
from edge_runtime.inputs.encoders import IdentityEncoder
from edge_runtime.state import generations
from tests.domains import domain
from tests.runtime.teaching import (
    SMALL,
    assert_same_answers,
    kinds,
    learn_all,
    live,
    of_two_domains,
    taught,
)


def status_of(runtime):
    """Status but for what a restart changes: evidence starts anew."""
    return {k: v for k, v in runtime.status().items() if k != "drift"}


@pytest.mark.parametrize(
    "made",
    [
        lambda: EdgeRuntime(**SMALL),
        lambda: EdgeRuntime(IdentityEncoder(24), ["a"], **SMALL),
        lambda: taught(1),
        lambda: taught(100),
        lambda: taught(60, adaptor=8),
        of_two_domains,
    ],
    ids=["nothing", "an encoder", "one label", "a domain", "an adaptor", "two domains"],
)
def test_what_was_saved_comes_back_and_answers_bit_for_bit(tmp_path, made):
    runtime = made()
    assert runtime.save(tmp_path) == 1
    again = EdgeRuntime.load(tmp_path, runtime.encoder)
    assert repr(again.options) == repr(runtime.options)
    assert again.settings == runtime.settings
    if runtime.encoder is None and runtime.classes:
        assert_same_answers(runtime, again)
        waiting = status_of(runtime)["bytes_by_part"].pop("waiting")
        assert status_of(again)["bytes"] <= status_of(runtime)["bytes"]
        assert waiting >= 0
    for name in ("state", "classes", "exemplars", "slots", "counters", "generation"):
        assert repr(again.status()[name]) == repr(runtime.status()[name]), name


def test_labels_appended_since_the_last_fit_come_back_too(tmp_path):
    runtime = taught(100)
    X, y = domain(0, 12, 1)
    learn_all(runtime, X, y.tolist())
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    assert_same_answers(runtime, again)
    for each in (runtime, again):  # what appending needs is made anew, up to rounding
        learn_all(each, *[part[:6] for part in (X + 1, y.tolist())])
    assert_same_answers(runtime, again, atol=1e-3)


def test_a_restored_runtime_goes_on_exactly_like_the_one_that_was_saved(tmp_path):
    runtime = of_two_domains()
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    X, y = domain(0, 40, 41)
    for x, truth in zip(X, y.tolist(), strict=True):
        first, second = runtime.step(x), again.step(x)
        assert first.sample_id == second.sample_id
        np.testing.assert_allclose(first.probabilities, second.probabilities, atol=1e-3)
        runtime.learn(first.sample_id, truth)
        again.learn(second.sample_id, truth)
    assert_same_answers(runtime, again, atol=1e-3)


def test_saving_changes_nothing_of_what_comes_next(tmp_path):
    stories = []
    for saves in (False, True):
        runtime, events = taught(100), []
        for seed in (1, 2, 3):
            X, y = domain(0, 20, seed)
            events += learn_all(runtime, X, y.tolist())[1]
            if saves:
                runtime.save(tmp_path)
        stories.append((kinds(events), runtime.peek_many(domain(0, 20, 9)[0])))
    assert stories[0][0] == stories[1][0]
    for one, other in zip(stories[0][1], stories[1][1], strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_samples_that_wait_are_not_saved_and_their_ids_are_not_given_again(tmp_path):
    runtime = taught(20)
    waiting = runtime.step(domain(0, 1, 1)[0][0]).sample_id
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    with pytest.raises(LabelError, match="forgotten"):
        again.learn(waiting, 0)
    assert again.step(domain(0, 1, 1)[0][0]).sample_id == waiting + 1


def test_settings_and_options_are_part_of_what_is_saved(tmp_path):
    settings = Settings(false_alarm_rate=0.1, labels_per_class=5, max_slots=2)
    runtime = EdgeRuntime(n_dims=512, adaptor=None, settings=settings, pending_samples=9)
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    assert again.settings == settings
    assert again.options["pending_samples"] == 9


def test_names_of_measures_are_part_of_what_is_saved(tmp_path):
    runtime = EdgeRuntime(**SMALL)
    runtime.learn(runtime.step({"a": 1.0, "b": [2.0, 3.0]}).sample_id, "x")
    runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    assert dict(again.taps) == {"a": 1, "b": 2}
    assert again.step({"a": 1.0, "b": [2.0, 3.0]}).label == "x"


def test_state_of_another_encoder_is_refused(tmp_path):
    taught(20).save(tmp_path)
    with pytest.raises(EncoderMismatchError, match="learned on encoder none"):
        EdgeRuntime.load(tmp_path, IdentityEncoder(24))


def test_state_of_another_release_is_refused(tmp_path):
    taught(20).save(tmp_path)
    path = generations.path_of(tmp_path, 1)
    header, arrays = generations.from_bytes(path.read_bytes())
    path.write_bytes(generations.to_bytes({**header, "version": 1}, arrays))
    with pytest.raises(StateError, match="version 1, expected"):
        EdgeRuntime.load(tmp_path)


def test_a_damaged_generation_is_named_and_the_one_before_is_loaded(tmp_path):
    runtime = taught(20)
    runtime.save(tmp_path)
    newest = generations.path_of(tmp_path, runtime.save(tmp_path))
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="damaged state skipped"):
        again = EdgeRuntime.load(tmp_path)
    assert again.generation == 1
    assert newest.name in again.status()["damaged_generations"][0]


def test_a_generation_that_does_not_fit_together_is_named_and_the_one_before_is_loaded(tmp_path):
    runtime = taught(20)
    runtime.save(tmp_path)
    good = generations.load(tmp_path)
    forged = generations.to_bytes({**good.header, "policy": -1}, good.arrays)
    generations.path_of(tmp_path, 2).write_bytes(forged)
    with pytest.warns(UserWarning, match="state-00000002"):
        again = EdgeRuntime.load(tmp_path)
    assert again.generation == 1
    assert "state-00000002" in again.status()["damaged_generations"][0]
    assert_same_answers(runtime, again)


# -- undo ------------------------------------------------------------------------------------


def test_undo_takes_back_what_was_learned_and_survives_a_restart(tmp_path):
    runtime = taught(100)
    runtime.save(tmp_path)
    before = copy.deepcopy(runtime)
    X, y = domain(0, 60, 42)
    learn_all(runtime, X, ((y + 1) % 4).tolist())
    assert runtime.undo() == 2
    assert_same_answers(runtime, before)
    assert_same_answers(EdgeRuntime.load(tmp_path), before)


def test_undo_goes_back_as_many_saves_as_it_is_told(tmp_path):
    runtime, exemplars = taught(20), []
    for seed in range(4):
        runtime.save(tmp_path)
        exemplars.append(runtime.status()["exemplars"])
        learn_all(runtime, domain(0, 3, seed)[0], [0, 1, 2])
    runtime.undo(3)  # what is unsaved, and two saves
    assert runtime.status()["exemplars"] == exemplars[1]


def test_samples_that_wait_survive_an_undo(tmp_path):
    runtime = taught(20)
    runtime.save(tmp_path)
    first, second = (p.sample_id for p in runtime.step_many(domain(0, 2, 1)[0]))
    runtime.learn(first, 0)
    runtime.undo()
    runtime.learn(first, 1)
    runtime.learn(second, 1)
    assert runtime.status()["exemplars"] == 22
    assert runtime.step(domain(0, 1, 3)[0][0]).sample_id == second + 1


def test_a_label_for_a_sample_of_a_slot_that_was_undone_goes_where_the_stream_is(tmp_path):
    runtime = taught(300)
    runtime.save(tmp_path)
    live(runtime, 1, 250, 3)
    waiting = runtime.step(domain(1, 1, 8)[0][0])
    assert waiting.slot == 1
    runtime.undo(to="growth")
    runtime.learn(waiting.sample_id, 0)
    assert [slot.number for slot in runtime.slots] == [0]


def test_undo_of_a_forgotten_class_brings_it_back_unless_it_was_purged(tmp_path):
    runtime = taught(50)
    runtime.save(tmp_path)
    before = copy.deepcopy(runtime)
    runtime.forget_class(2)
    runtime.undo()
    assert_same_answers(runtime, before)
    runtime.forget_class(2, purge=True)
    assert len(generations.numbers(tmp_path)) == 1
    assert 2 not in EdgeRuntime.load(tmp_path).classes


def test_undo_to_before_the_last_growth_however_many_saves_ago(tmp_path):
    runtime = taught(300)
    runtime.save(tmp_path)
    live(runtime, 1, 250, 3)
    assert len(runtime.slots) == 2
    for _ in range(8):
        runtime.save(tmp_path)
    again = EdgeRuntime.load(tmp_path)
    again.undo(to="growth")
    assert len(again.slots) == 1
    assert len(EdgeRuntime.load(tmp_path).slots) == 1


def test_undo_to_the_state_as_delivered(tmp_path):
    runtime = taught(50)
    runtime.save(tmp_path)
    delivered = copy.deepcopy(runtime)
    for seed in range(8):
        learn_all(runtime, domain(0, 2, seed)[0], [0, 0])
        runtime.save(tmp_path)
    assert runtime.undo(to="factory") == 10
    assert_same_answers(runtime, delivered)


def test_an_undo_that_cannot_be_is_refused_and_changes_nothing(tmp_path):
    runtime = taught(50)
    for how in ({}, {"to": "factory"}):
        with pytest.raises(StateError, match="save"):
            runtime.undo(**how)
    runtime.save(tmp_path)
    before = repr(runtime.status())
    with pytest.raises(StateError, match="1 generations"):
        runtime.undo(5)
    with pytest.raises(StateError, match="cannot undo 0"):
        runtime.undo(0)
    with pytest.raises(StateError, match="to growth"):
        runtime.undo(to="growth")
    with pytest.raises(ValueError, match="growth, factory"):
        runtime.undo(to="yesterday")
    generations.path_of(tmp_path, 1).write_bytes(b"")
    with pytest.raises(StateError, match="no state"):
        runtime.undo(to="factory")
    assert repr(runtime.status()) == before


def test_a_full_disk_does_not_keep_a_slot_from_growing(tmp_path, monkeypatch):
    runtime = taught(300)
    runtime.save(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_runtime.state.generations.save", full)
    with pytest.warns(UserWarning, match="could not be saved"):
        _, events = live(runtime, 1, 250, 3)
    assert "grown" in kinds(events)


def test_equal_stories_give_equal_files(tmp_path):
    files = []
    for name in ("one", "other"):
        runtime = taught(50)
        learn_all(runtime, domain(0, 10, 1)[0], [0, 1] * 5)
        runtime.save(tmp_path / name)
        files.append(generations.path_of(tmp_path / name, 1).read_bytes())
    assert files[0] == files[1]
    header, _ = generations.from_bytes(files[0])
    json.dumps(header)
