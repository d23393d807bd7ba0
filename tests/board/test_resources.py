"""What a board meets in the field: ports that go and come, two agents, a read-only disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tty

import pytest

from edge_runtime.board.__main__ import main
from edge_runtime.board.serving import AgentError, load_keys, lock
from edge_runtime.protocol.wire.messages import EchoRequest
from tests.board.host import AgentProcess, Host


def test_two_agents_do_not_share_a_state(tmp_path, capsys):
    with lock(tmp_path):
        assert main(["serve", "--port", "/dev/null", "--state", str(tmp_path)]) == 1
    assert "another agent uses" in capsys.readouterr().err
    with lock(tmp_path):
        pass


def test_a_state_that_cannot_be_used_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["serve", "--port", "/dev/null", "--state", str(tmp_path / "file")]) == 1
    assert "cannot use" in capsys.readouterr().err


def test_a_damaged_record_is_an_error_and_nothing_is_guessed(tmp_path, capsys):
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "record").write_bytes(b"\0" * 100)
    assert main(["serve", "--port", "/dev/null", "--state", str(tmp_path)]) == 1
    assert "damaged" in capsys.readouterr().err
    assert (tmp_path / "packs" / "record").read_bytes() == b"\0" * 100


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff" * 50_000])
def test_a_pinned_key_that_cannot_be_read_stops_the_agent(tmp_path, content):
    (tmp_path / "a.pem").write_bytes(content)
    with pytest.raises(AgentError, match="holds no public key"):
        load_keys(tmp_path)
    assert load_keys(tmp_path / "missing") is None


@pytest.mark.slow
def test_a_port_that_vanishes_is_served_again_when_it_returns(tmp_path):
    link = tmp_path / "port"
    first = _terminal(link)
    command = [
        sys.executable, "-m", "edge_runtime.board", "serve", "--port", str(link),
        "--state", str(tmp_path / "state"), "--buf-size", "4096",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        assert _echo(first)
        for _ in range(3):
            for end in first:
                os.close(end)
            time.sleep(0.3)
            first = _terminal(link)
            assert _echo(first)
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)


def _terminal(link):
    master, slave = os.openpty()
    tty.setraw(slave)
    link.unlink(missing_ok=True)
    link.symlink_to(os.ttyname(slave))
    return master, slave


def _echo(ends):
    return Host(ends[0]).ask(EchoRequest("there?"), timeout_s=30.0).r == "there?"


@pytest.mark.slow
def test_a_port_that_is_not_there_yet_is_waited_for(tmp_path):
    link = tmp_path / "later"
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_runtime.board", "serve", "--port", str(link),
         "--state", str(tmp_path / "state"), "--buf-size", "4096"]
    )  # fmt: skip
    try:
        time.sleep(1.0)
        assert process.poll() is None
        assert _echo(_terminal(link))
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.slow
def test_on_a_disk_that_has_become_read_only_the_model_goes_on(workshop, tmp_path):
    """As a mount of its own, where that is allowed."""
    pack = workshop.model(state=workshop.learn("learned"))
    with AgentProcess(tmp_path / "state") as agent:
        agent.host.install(pack)
    read_only = ["mount", "--bind", str(tmp_path / "state"), str(tmp_path / "state")]
    if subprocess.run(read_only, capture_output=True, check=False).returncode:
        pytest.skip("NO MOUNTS HERE: a read-only disk was only simulated")
    try:
        remount = ["mount", "-o", "remount,ro,bind", str(tmp_path / "state")]
        subprocess.run(remount, check=True, capture_output=True)
        with AgentProcess(tmp_path / "state") as agent:
            status = agent.host.wait(lambda s: s.agent["worker"] == "ready")
            assert status.runtime["counters"]["labels"] == 60
            refused = agent.host.upload(workshop.model("2.0.0"))
            assert "Read-only" in refused.refusal.rsn
    finally:
        subprocess.run(["umount", str(tmp_path / "state")], check=True, capture_output=True)
    with AgentProcess(tmp_path / "state") as agent:
        agent.host.install(workshop.model("2.0.0"))
