"""A whole emulated board at the end of a serial line, and the programs that a person would use.

``make test-board`` runs these; elsewhere they are skipped, because each boots a Linux machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest

from tests.arm import machine
from tests.arm.debian import PROJECT, Unavailable
from tests.cable.live import make_packs
from tests.protocol.packs.conftest import workshop  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("EDGE_RUNTIME_BOARD") != "1",
        reason="NO EMULATED BOARD was booted: `make test-board` does that",
    ),
]
START_S = 120.0
OPTIONS = "--stream table:/srv/stream.npy --interval 0.1 --trial-s 60 --test-s 120"
KILLS = int(os.environ.get("EDGE_RUNTIME_KILLS", "20"))


class Desk:
    """A laptop with a board on a cable."""

    def __init__(self, board, key):
        self.board, self.key = board, key

    def run(self, *words, timeout_s=300.0):
        """A command of edgectl on this board: exit code, output, complaints."""
        link = ("--port", self.board.port, "--baud", "921600")
        command = [sys.executable, "-m", "firmware_tools", *map(str, (*words, *link))]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, cwd=PROJECT
        )
        return done.returncode, done.stdout, done.stderr

    def do(self, *words, change=False):
        """A command that must succeed; its output."""
        code, out, complaint = self.run(*words, *(("--key", self.key) if change else ()))
        assert code == 0, complaint
        return out

    def until(self, condition, timeout_s=START_S):
        """The first status for which the condition holds; the board may still be booting."""
        end, last = time.monotonic() + timeout_s, ""
        while time.monotonic() < end:
            code, out, last = self.run("status", "--json", "--connect-s", "5")
            if code == 0 and condition(status := json.loads(out)):
                return status
            time.sleep(0.5)
        raise AssertionError(f"not so within {timeout_s} s: {last or out}")


@pytest.fixture
def packs(workshop):  # noqa: F811
    return make_packs(workshop)


@pytest.fixture(params=[machine.virt])
def desk(request, tmp_path, workshop, packs):  # noqa: F811
    """A board that has power, and trusts the workshop's key."""
    srv = tmp_path / "srv"
    srv.mkdir()
    (srv / "key.pub.pem").write_bytes(packs["public"].read_bytes())
    (srv / "stream.npy").write_bytes(packs["stream"].read_bytes())
    try:
        board = request.param(tmp_path, srv, OPTIONS)
    except Unavailable as why:
        pytest.skip(f"NO EMULATED BOARD: {why}")
    with board:
        yield Desk(board, workshop.key)


async def foreign_upload(port, data):
    """The pack, sent by a client that nobody here wrote; what the board then says it holds."""
    from smpclient import SMPClient
    from smpclient.requests import image_management as img
    from smpclient.requests import os_management as os_
    from smpclient.transport.serial import SMPSerialTransport

    async with SMPClient(SMPSerialTransport(baudrate=921600), port) as smp:
        assert (await smp.request(os_.EchoWrite(d="hi"))).r == "hi"
        async for _ in smp.upload(data):
            pass
        return (await smp.request(img.ImageStatesRead())).images


def version_of(status):
    """The version that is running; nothing before the worker is ready."""
    active = [each["version"] for each in status["images"] if each.get("active")]
    return active[0] if active and status["agent"]["worker"] == "ready" else None


def test_a_board_is_pushed_to_watched_labelled_undone_and_reverted(desk, packs, tmp_path):
    desk.until(lambda status: status["agent"]["phase"] == "empty")
    (image,) = asyncio.run(foreign_upload(desk.board.port, packs["1.0.0"].read_bytes()))
    assert (image.version, image.active) == ("1.0.0", False)
    desk.do("push", packs["1.0.0"], change=True)
    status = desk.until(lambda status: version_of(status) == "1.0.0")
    assert status["agent"]["phase"] == "trial"
    desk.do("confirm", change=True)
    answers, log = tmp_path / "answers.csv", tmp_path / "board.log"
    answers.write_text("".join(f"{i},{'dark' if i % 2 else 'bright'}\n" for i in range(600)))
    desk.do(
        "monitor", "--answers", answers, "--until", "grown", "--for-s", 180, "--log", log,
        change=True,
    )  # fmt: skip
    said = log.read_text()
    assert "drift" in said
    assert "grown" in said
    desk.until(lambda status: len(status["runtime"]["slots"]) == 2)
    assert desk.do("undo", "--to", "factory", change=True).startswith("undone to factory")
    desk.until(lambda status: len(status["runtime"]["slots"]) == 1)
    desk.do("push", packs["1.1.0"], change=True)
    desk.until(lambda status: version_of(status) == "1.1.0")
    status = desk.until(lambda status: version_of(status) == "1.0.0")  # nobody has confirmed
    assert status["agent"]["attempts"][-1]["outcome"] == "reverted"


def test_a_plug_pulled_at_any_moment_of_an_update_leaves_the_old_or_the_new(desk, packs):
    desk.until(lambda status: status["agent"]["phase"] == "empty")
    begin = time.monotonic()
    desk.do("push", packs["1.0.0"], "--confirm", change=True)
    an_update_s = time.monotonic() - begin  # by the speed of this machine
    rng, seen = random.Random(7), []
    for kill in range(KILLS):
        old = version_of(desk.until(version_of))
        new = "1.1.0" if old == "1.0.0" else "1.0.0"
        plug = threading.Timer(rng.uniform(0.5, 1.3 * an_update_s), desk.board.power_off)
        plug.start()
        code, _, _ = desk.run(
            "push", packs[new], "--confirm", "--key", desk.key, "--reconnect-s", 2, "--wait-s", 150
        )
        plug.cancel()
        plug.join()
        desk.board.power_off()
        desk.board.power_on()
        status = desk.until(version_of)
        seen.append((kill, code, old, version_of(status), status["agent"]["phase"]))
        print(*seen[-1], flush=True)
        assert version_of(status) in (old, new)
    assert any(code != 0 for _, code, *_ in seen), (
        "every update was over before the plug was pulled"
    )


@pytest.mark.parametrize("desk", [machine.raspberry_pi_3, machine.usb_gadget], indirect=True)
def test_a_pack_goes_over_the_uart_of_a_raspberry_pi_3_and_over_a_usb_gadget(desk, packs):
    desk.until(lambda status: status["agent"]["phase"] == "empty")
    desk.do("push", packs["1.0.0"], "--confirm", "--wait-s", 150, change=True)
    status = desk.until(version_of)
    assert (version_of(status), status["agent"]["phase"]) == ("1.0.0", "confirmed")
