"""The agent as a process on a pseudo-terminal, from the first pack to the second."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire.messages import FileHashRequest, FileRequest, ImageStateRequest
from tests.board.host import AgentProcess
from tests.protocol.packs.conftest import samples


@pytest.fixture
def streaming(workshop, tmp_path):
    """An agent whose stream never ends."""
    np.save(tmp_path / "stream.npy", samples(200))
    arguments = ["--stream", f"table:{tmp_path}/stream.npy", "--interval", "0.01", "--repeat"]
    with AgentProcess(tmp_path / "state", *arguments, "--capture-mb", "4") as agent:
        yield agent


@pytest.mark.slow
def test_a_pack_is_pushed_runs_learns_and_is_followed_by_another(workshop, streaming):
    host = streaming.host
    host.install(workshop.model(state=workshop.learn("learned"), **workshop.canaries()))
    host.wait(lambda status: status.runtime["counters"]["samples"] > 20)
    newest = host.ask(edge.MetricsRequest()).next - 1
    (row,) = host.ask(edge.MetricsRequest(newest)).rows[:1]
    labels = (edge.LabelEntry(int(row[0]), "dark"), edge.LabelEntry(10**6, "dark"))
    answer = host.ask(edge.LabelsRequest(labels))
    assert (answer.accepted, answer.refused[0].sample) == (1, 10**6)

    pulled = host.ask(edge.PullRequest("state"))
    piece = host.ask(FileRequest("/state.edge", 0))
    assert piece.len == pulled.len
    assert host.ask(FileHashRequest("state.edge")).output == pulled.sha
    status = host.wait(lambda status: status.runtime["generation"] == 2)
    assert status.runtime["generations"] == [1, 2]
    assert host.ask(edge.UndoRequest(1)).generation == 3
    host.wait(lambda status: status.runtime["counters"]["labels"] == 60)

    host.install(workshop.model("1.1.0", **workshop.canaries()))
    status = host.status()
    assert status.agent["learned_from"] == "carried over"
    assert [each["outcome"] for each in status.agent["attempts"]] == ["confirmed"] * 2
    new, old = host.ask(ImageStateRequest()).images
    assert (new.version, new.active, new.confirmed) == ("1.1.0", True, True)
    assert (old.version, old.active) == ("1.0.0", False)
    log = host.ask(edge.PullRequest("log"))
    data = host.ask(FileRequest(log.name, 0)).data
    assert hashlib.sha256(data).digest() == log.sha


@pytest.mark.slow
def test_telemetry_at_100_hz_loses_nothing_during_an_upload(workshop, tmp_path):
    np.save(tmp_path / "stream.npy", samples(200))
    arguments = ["--stream", f"table:{tmp_path}/stream.npy", "--interval", "0.01", "--repeat"]
    with AgentProcess(tmp_path / "state", *arguments, "--telemetry") as agent:
        host = agent.host
        host.install(workshop.model(state=workshop.learn("learned")))
        host.wait(lambda status: status.runtime["counters"]["samples"] > 20)
        host.lines.clear()
        for number in range(500):  # of which the last piece is wrong: it is sent whole each time
            upload = host.upload(np.random.default_rng().bytes(100_000))
            assert upload.refusal.rsn.startswith("container: ")
            if number >= 20 and len(host.lines) > 20:  # a fast host is done before 20 samples are
                break
        rows = [json.loads(event.line) for event in host.lines]
    numbers = [int(row["sample"]) for row in rows]
    assert len(numbers) > 20
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
