"""The self-test, in real child processes: what loads, hangs, dies, eats, or has become worse."""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_runtime.board.deploying import Place, open_deployment
from edge_runtime.board.record import Phase
from edge_runtime.board.selftest import Places, TestRequest, run_self_test
from edge_runtime.errors import EncoderMismatchError, StateError
from edge_runtime.protocol.pack import PackError, Version, read_pack
from edge_runtime.protocol.pack.canaries import read_canaries, write_canaries
from edge_runtime.protocol.pack.manifest import STATE, Manifest, Preprocessing
from edge_runtime.protocol.pack.writing import write_pack
from edge_runtime.state import generations
from tests.inputs.encoders.models import onnx_model
from tests.protocol.packs import making
from tests.protocol.packs.conftest import NOW, labels, samples
from tests.protocol.packs.making import KEY, PINNED

REQUEST = TestRequest(Places("m", None, "l", "u"))


def place(board, deployment):
    found = board.store.places(deployment)
    return Place(
        Path(found.model),
        Path(found.head) if found.head else None,
        Path(found.learned),
        Path(found.unpacked),
    )


def opened(board):
    return open_deployment(place(board, board.store.record.running))[0]


def accuracy(runtime):
    predictions = runtime.peek_many(samples(20, seed=5))
    return np.mean([p.label == label for p, label in zip(predictions, labels(20), strict=True)])


def child(code):
    return (sys.executable, "-c", code)


# -- the parent, with a child of a few words --------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "died by SIGABRT"),
        ("import os; os.kill(os.getpid(), 11)", "died by SIGSEGV"),
        ("raise SystemExit(3)", "ended with status 3: no answer"),
        ("1 / 0", "ZeroDivisionError"),
        ("print('no verdict')", "ended with status 0"),
        ("print('[' * 10**6)", "ended with status 0"),
        ('print(\'{"passed": true, "extra": 1}\')', "ended with status 0"),
    ],
)
def test_a_child_that_does_not_answer_has_failed(code, reason):
    verdict = run_self_test(REQUEST, command=child(code))
    assert not verdict.passed
    assert reason in verdict.reason
    assert len(verdict.reason) <= 300


def has_ended(status: Path) -> bool:
    """Whether a killed process goes within ten seconds: it is gone some time after the signal."""
    for _ in range(200):
        try:
            if "zombie" in status.read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_child_that_hangs_is_killed_with_everything_it_started(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))\n"
        "time.sleep(600)\n"
    )
    verdict = run_self_test(REQUEST, timeout_s=2, command=child(code))
    assert verdict.reason == "the self-test did not end within 2 s"
    grandchild = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{grandchild}/status")
    assert has_ended(status)


def test_a_board_that_cannot_start_a_child_says_so():
    assert "cannot start" in run_self_test(REQUEST, command=("/no/such/program",)).reason


def test_the_child_sees_the_request_and_the_parent_its_verdict():
    code = (
        "import json, sys; r = json.load(sys.stdin); "
        "print(json.dumps({'passed': True, 'learned': r['candidate']['model']}))"
    )
    assert run_self_test(REQUEST, command=child(code)).learned == "m"


@pytest.mark.parametrize(
    ("now", "before", "passed"),
    [("0.9", "0.9", True), ("0.8", "0.9", False), ("null", "0.9", False), ("0.1", "null", True)],
)
def test_worse_than_before_is_a_failure(now, before, passed):
    text = f'{{"passed": true, "accuracy": {now}, "active_accuracy": {before}}}'
    verdict = run_self_test(REQUEST, command=child(f"print({text!r})"))
    assert verdict.passed is passed
    assert passed or verdict.reason.startswith("worse than before")


# -- the whole way, with real encoders --------------------------------------------------------


def test_a_pack_with_learned_state_runs_and_learning_survives_updates(workshop, board):
    state_directory = workshop.learn("learned")
    verdict = board.bring(workshop.model(state=state_directory, **workshop.canaries()))
    assert (verdict.accuracy, verdict.active_accuracy, verdict.learned) == (1.0, None, "the pack's")
    assert verdict.peak_bytes > 10 * 2**20
    runtime = opened(board)
    assert accuracy(runtime) == 1.0
    runtime.learn_many(samples(40, seed=3), labels(40))
    n_labels = runtime.status()["counters"]["labels"]
    runtime.save(place(board, board.store.record.active).learned)

    verdict = board.bring(workshop.model("1.1.0", **workshop.canaries()))
    assert (verdict.accuracy, verdict.active_accuracy) == (1.0, 1.0)
    assert verdict.learned == "carried over"
    assert board.reboot().model.version == "1.1.0"
    assert opened(board).status()["counters"]["labels"] == n_labels


def test_a_head_brings_its_state_to_the_encoder_that_is_there(workshop, board):
    model = workshop.model(classes=("dark", "bright"))
    board.bring(model)
    assert opened(board).classes == ["dark", "bright"]
    head = workshop.head(model, state=workshop.learn("learned"), **workshop.canaries())
    verdict = board.bring(head)
    assert (verdict.accuracy, verdict.learned) == (1.0, "the pack's")
    assert accuracy(opened(board)) == 1.0


def test_learned_state_of_another_encoder_is_kept_aside_and_reported(workshop, board):
    board.bring(workshop.model(state=workshop.learn("learned")))
    before = board.store.record.active
    prepared = Preprocessing((0.5,), (0.1,))
    verdict = board.bring(workshop.model("2.0.0", preprocessing=prepared))
    assert "kept aside: state was learned on encoder" in verdict.learned
    assert "kept aside" in board.store.record.attempts[-1].reason
    assert not opened(board).slots
    assert generations.load(place(board, before).learned).number == 1
    board.store.rollback(NOW)
    assert board.store.test(NOW).passed
    board.store.begin_trial(NOW)
    assert accuracy(opened(board)) == 1.0


def test_a_pack_that_answers_its_canaries_worse_is_reverted(workshop, board):
    model = workshop.model(state=workshop.learn("learned"), **workshop.canaries())
    board.bring(model)
    learned = place(board, board.store.record.active).learned
    before = sorted((path.name, path.read_bytes()) for path in learned.iterdir())
    board.stage(workshop.head(model, state=workshop.learn("w", wrong=True), **workshop.canaries()))
    verdict = board.store.test(NOW)
    assert verdict.reason == (
        "worse than before: 0.0% of the canaries right, 100.0% by the active pack"
    )
    assert board.store.record.phase is Phase.REVERTED
    assert sorted((path.name, path.read_bytes()) for path in learned.iterdir()) == before
    assert accuracy(opened(board)) == 1.0


def bad_encoders():
    endless = [helper.make_node("Loop", ["n", "go", "x"], ["y"], body=loop_body())]
    n = ("n", np.array(2**63 - 1, np.int64))
    go = ("go", np.array(True))
    shape = ("shape", np.array([40_000, 40_000], np.int64))
    eats = [
        helper.make_node("Expand", ["x", "shape"], ["big"]),
        helper.make_node("ReduceMax", ["big"], ["y"], keepdims=1),
    ]
    tensors = [("x", TensorProto.FLOAT, [1, 1])], [("y", TensorProto.FLOAT, [1, 1])]
    return {
        "hangs": onnx_model(endless, *tensors, [n, go]),
        "eats memory": onnx_model(eats, *tensors, [shape]),
        "no encoder": b"\x08\x07 no real encoder",
    }


def loop_body():
    floats, flag = TensorProto.FLOAT, TensorProto.BOOL
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Identity", ["v_in"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", flag, []),
            helper.make_tensor_value_info("v_in", floats, [1, 1]),
        ],
        [
            helper.make_tensor_value_info("go_out", flag, []),
            helper.make_tensor_value_info("v_out", floats, [1, 1]),
        ],
    )


@pytest.mark.parametrize("what", ["hangs", "eats memory", "no encoder"])
def test_a_bad_encoder_is_reverted_and_the_old_pack_goes_on(workshop, board, what):
    board.bring(workshop.model(state=workshop.learn("learned")))
    before = board.store.record.active
    board.stage(making.model(bad_encoders()[what], version="6.6.6"))
    timeout_s = 8 if what == "hangs" else 60
    verdict = board.store.test(NOW, lambda request: run_self_test(request, timeout_s=timeout_s))
    assert not verdict.passed
    expected = {
        "hangs": "did not end within 8 s",
        "eats memory": "AllocateRawInternal",
        "no encoder": "onnxruntime refuses",
    }[what]
    assert expected in verdict.reason
    assert board.reboot() == before
    assert board.store.record.attempts[-1].outcome == "reverted"
    assert accuracy(opened(board)) == 1.0


def test_a_head_with_damaged_state_is_reverted(workshop, board):
    model = workshop.model()
    board.bring(model)
    encoder = read_pack(io.BytesIO(model), PINNED).manifest.encoder
    for bad in (b"", b"EDGESTA1 damaged", generations.to_bytes({"kind": "other"}, {})):
        manifest = Manifest("head", "bad", encoder, {})
        board.stage(
            write_pack(manifest, {STATE: bad}, KEY, version=Version(1, 0, 0), security_counter=1)
        )
        assert "the learned state in the pack: " in board.store.test(NOW).reason
        assert board.store.record.phase is Phase.REVERTED


def test_a_state_of_another_encoder_cannot_be_packed(workshop):
    learned = workshop.learn("learned", preprocessing=Preprocessing((2.0,), (0.0,)))
    with pytest.raises(EncoderMismatchError, match="another preprocessing"):
        workshop.model(state=learned)


def test_an_unpacked_encoder_that_rots_is_made_anew(workshop, board):
    board.bring(workshop.model(state=workshop.learn("learned")))
    unpacked = place(board, board.store.record.active).unpacked
    (path,) = unpacked.iterdir()
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    assert accuracy(opened(board)) == 1.0


def test_classes_that_do_not_join_the_learned_ones_are_refused(workshop, board):
    board.bring(workshop.model(state=workshop.learn("learned")))
    verdict = board.bring(workshop.model("1.1.0", classes=(1, 2)))
    assert "kept aside: the pack's classes do not join" in verdict.learned


def test_thresholds_reach_the_policy_and_unknown_ones_are_refused(workshop, board):
    board.bring(workshop.model(thresholds={"false_alarm_rate": 0.01}))
    assert opened(board).settings.false_alarm_rate == 0.01
    board.stage(workshop.model("2.0.0", thresholds={"no_such": 1}))
    assert "no_such" in board.store.test(NOW).reason


def test_a_learned_state_that_cannot_be_read_is_an_error(workshop, board):
    board.bring(workshop.model(state=workshop.learn("learned")))
    for path in place(board, board.store.record.active).learned.iterdir():
        os.truncate(path, 100)
    with pytest.raises(StateError):
        opened(board)
    found = place(board, board.store.record.active)
    runtime, source = open_deployment(found, set_aside=True)
    assert source.startswith("the pack's; what was learned is kept aside in ")
    assert accuracy(runtime) == 1.0
    aside = found.learned.with_name(f"{found.learned.name}.aside")
    assert len(list(aside.iterdir())) == 1
    board.reboot()  # removes what nothing names, and not this
    assert aside.is_dir()
    for path in found.learned.iterdir():
        os.truncate(path, 100)
    with pytest.raises(StateError):  # once, and not again and again
        open_deployment(found, set_aside=True)


def test_preprocessing_is_what_it_says(workshop):
    from edge_runtime.inputs.encoders import open_encoder
    from edge_runtime.protocol.pack.opening import prepare

    encoder = open_encoder(workshop.encoder)
    assert prepare(encoder, Preprocessing()) is encoder
    X = samples(3)
    scale, offset = np.float32([2, 3, 4]), np.float32([0, 1, 2])
    prepared = prepare(encoder, Preprocessing((2, 3, 4), (0, 1, 2)))
    expected = encoder(X * scale[:, None, None] + offset[:, None, None])
    for name, vectors in prepared(X).items():
        np.testing.assert_array_equal(vectors, expected[name])
    assert prepared.fingerprint != encoder.fingerprint
    with pytest.raises(PackError, match="channels"):
        prepare(encoder, Preprocessing((1.0,) * 8, (0.0,) * 8))


@pytest.mark.parametrize("damage", ["cut", "longer", "objects", "fortran", "none", "many"])
def test_canaries_are_checked_before_memory_is_taken(damage):
    good = write_canaries(np.zeros((4, 3), np.float32))
    assert read_canaries(good).shape == (4, 3)
    bad = {
        "cut": good[:-1],
        "longer": good + b"\0",
        "objects": good.replace(b"'<f4'", b"'|O' "),
        "fortran": good.replace(b"False", b"True "),
        "none": b"",
        "many": good.replace(b"(4, 3), }    ", b"(4000000, 3), }"[:13]),
    }[damage]
    with pytest.raises(PackError):
        read_canaries(bad)
