"""Kills, crashes and bad packs, in real processes. The large counts are `kills` and `bad_packs`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edge_runtime.board.selftest import TestRequest, run_self_test
from edge_runtime.inputs.encoders.probe import probe_backend
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire.messages import EchoRequest
from tests.board import kills
from tests.board.bad_packs import BACK_S, BadWorkshop, try_bad

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not probe_backend("onnxruntime").ok, reason="NO ONNXRUNTIME: no pack was run"
    ),
]


def test_killed_again_and_again_the_old_pack_or_the_new_one_runs(tmp_path):
    life = kills.run(tmp_path, 6)
    assert sum(life.phases.values()) == 6
    assert life.n_updates > 0


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    workshop = BadWorkshop(tmp_path_factory.mktemp("board"))
    with workshop.serve() as agent:
        agent.host.install(workshop.good)
        yield workshop, agent


def test_bad_packs_are_undone_and_learning_is_kept(board):
    workshop, agent = board
    labels = agent.host.status().runtime["counters"]["labels"]
    reasons = {}
    for number, kind in enumerate(workshop.kinds):
        seconds, reasons[kind] = try_bad(agent.host, workshop.bad(kind, number))
        assert seconds < BACK_S, kind
    status = agent.host.status()
    assert status.agent["running"][0]["version"] == "1.0.0"
    assert status.runtime["counters"]["labels"] == labels
    outcomes = [each["outcome"] for each in status.agent["attempts"]]
    assert outcomes == ["reverted"] * len(outcomes)
    # What only a child that ran the canaries, or a worker that was watched, can know.
    assert "0.0% of the canaries right, 100.0% by the active pack" in reasons["worse"]
    assert "did not end within 8 s" in reasons["hangs at once"]
    assert "gave no sign for 20 s" in reasons["hangs later"]
    assert "rejects 100% of the samples" in reasons["eats later"]


def worker_pid(agent):
    (pid,) = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if _parent(path) == agent.process.pid
    ]
    return pid


def _parent(path):
    try:
        return int(path.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_a_worker_that_crashes_is_started_again_and_on_trial_it_is_undone(board):
    workshop, agent = board
    host = agent.host
    os.kill(worker_pid(agent), signal.SIGSEGV)
    host.wait(lambda s: "died by SIGSEGV" in s.agent["trouble"])
    assert host.ask(EchoRequest("still here")).r == "still here"
    host.wait(lambda s: s.agent["worker"] == "ready")
    host.install(workshop._model("good.onnx", "2.0.0", canaries=True), confirm=False)
    os.kill(worker_pid(agent), signal.SIGSEGV)
    status = host.wait(lambda s: s.agent["phase"] == "reverted" and s.agent["worker"] == "ready")
    assert status.agent["running"][0]["version"] == "1.0.0"
    assert "died by SIGSEGV" in status.agent["attempts"][-1]["reason"]


def test_the_health_check_runs(board):
    """A self-test that never happened is no pass, and one that did has counted its canaries."""
    _, agent = board
    events = agent.host.ask(edge.EventsRequest()).events
    (passed,) = [each for each in events if each.message == "self-test passed"]
    assert passed.evidence["accuracy"] == 1.0
    request = TestRequest(None, None)
    assert not run_self_test(request, command=["/bin/true"]).passed
    assert not run_self_test(request, command=["/no/such/program"]).passed


def test_the_worker_dies_with_the_agent(board):
    _, agent = board
    pid = worker_pid(agent)
    agent.kill()
    for _ in range(100):
        if not Path(f"/proc/{pid}/cmdline").exists() or not _running(pid):
            break
        signal.sigtimedwait([], 0.05)
    assert not _running(pid)
    agent.start()


def _running(pid):
    try:
        return " Z " not in f" {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]} "
    except OSError:
        return False
