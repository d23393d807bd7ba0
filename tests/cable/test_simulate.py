"""``edgectl simulate``: a board's whole life over a simulated cable, every command against it."""

import json
import os
import time

import pytest

from firmware_tools.__main__ import ExitCode, main
from tests.cable.live import Simulated, make_packs


@pytest.fixture
def packs(workshop):
    return make_packs(workshop)


def until(board, condition):
    """The first status that a condition holds for; the agent renews it each second."""
    for _ in range(30):
        status = json.loads(board.edgectl("status", "--json"))
        if condition(status):
            return status
        time.sleep(0.3)
    raise AssertionError(f"it did not come to pass: {status}")


def test_a_board_is_pushed_to_watched_labelled_and_undone(tmp_path, packs, workshop):
    (tmp_path / "live").mkdir()
    board = Simulated(
        tmp_path / "live", "--pin", packs["public"], "--state", tmp_path / "state",
        "--stream", f"table:{packs['stream']}", "--interval-s", 0.01, "--", "--name", "testboard",
    )  # fmt: skip
    key = ("--key", workshop.key)
    try:
        board.edgectl("push", packs["1.0.0"], "--stage-only", code=0)
        board.edgectl("push", packs["1.0.0"], code=ExitCode.REFUSED)  # no key, no change
        out = board.edgectl("push", packs["1.0.0"], "--confirm", *key)
        assert [line.split()[0] for line in out.splitlines()] == ["running", "confirmed"]
        log = tmp_path / "board.log"
        board.edgectl("monitor", "--for-s", 4, "--interval-s", 0.5, "--log", log)
        asked = json.loads(board.edgectl("label", "--list", "--json"))["wanted"]
        assert asked
        answers = tmp_path / "answers.csv"
        answers.write_text("".join(f"{i},{'dark' if i % 2 else 'bright'}\n" for i in range(600)))
        out = board.edgectl("label", "--answers", answers, "--follow-s", 3, *key)
        assert int(out.split()[-1]) > 0
        state = board.edgectl("pull", "-o", tmp_path / "state.edge", *key)
        assert state.startswith("pulled ")
        status = until(board, lambda status: status["runtime"]["generation"] > 1)
        assert status["agent"]["board"] == "testboard"
        assert status["runtime"]["counters"]["labels"] > 60
        assert len(status["runtime"]["slots"]) == 2
        assert board.edgectl("undo", *key).startswith("undone to generation ")
        # A slot was grown, and the state before it was saved, with all labels.
        until(board, lambda status: len(status["runtime"]["slots"]) == 1)
        page = tmp_path / "board.html"
        assert main(["report", str(log), "-o", str(page)]) == ExitCode.OK
        assert "drift" in page.read_text()
    finally:
        assert board.close() == 0
    assert not os.path.lexists(board.path)


@pytest.mark.slow
def test_an_agent_that_dies_is_started_again(tmp_path):
    board = Simulated(tmp_path)
    try:
        agent = agent_of(board)
        time.sleep(2.5)  # an agent that dies at once would not be started again for ever
        os.kill(agent, 9)
        assert board.process.stdout.readline() == "ready again\n"
        assert json.loads(board.edgectl("status", "--json"))["agent"]["phase"] == "empty"
    finally:
        assert board.close() == 0


@pytest.mark.slow
def test_an_agent_does_not_outlive_its_simulator(tmp_path):
    board = Simulated(tmp_path)
    agent = agent_of(board)
    board.process.kill()
    board.close()
    for _ in range(100):
        if not os.path.exists(f"/proc/{agent}"):
            break
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{agent}")


def agent_of(board):
    with open(f"/proc/{board.process.pid}/task/{board.process.pid}/children") as file:
        return int(file.read().split()[0])


def test_an_agent_that_cannot_start_is_an_error(tmp_path, capfd):
    words = ("simulate", "--link", tmp_path / "board", "--", "--no-such-option")
    assert main([str(each) for each in words]) == ExitCode.FAILED
    assert "the agent ended with status 2" in capfd.readouterr().err
    assert not os.path.lexists(tmp_path / "board")


@pytest.mark.parametrize("options", [("--baud", "0"), ("--noise", "1.5"), ("--latency-ms", "-1")])
def test_a_cable_that_cannot_be_is_wrong_use(tmp_path, options):
    assert main(["simulate", "--link", str(tmp_path / "board"), *options]) == ExitCode.USAGE


def test_a_file_in_the_place_of_the_link_is_kept(tmp_path, capsys):
    (tmp_path / "board").write_text("mine")
    assert main(["simulate", "--link", str(tmp_path / "board")]) == ExitCode.USAGE
    assert (tmp_path / "board").read_text() == "mine"


def test_a_private_key_is_not_pinned(tmp_path, capsys):
    main(["keygen", str(tmp_path / "key.pem")])
    words = ("simulate", "--link", tmp_path / "board", "--pin", tmp_path / "key.pem")
    assert main([str(each) for each in words]) == ExitCode.USAGE
    assert "private" in capsys.readouterr().err
