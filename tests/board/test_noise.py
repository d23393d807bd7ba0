"""Noise and hostile bytes on the line, for long: nothing grows, and a good request is answered."""

from __future__ import annotations

import contextlib
import os
import random
import time
import tracemalloc

import pytest

from edge_runtime.protocol.wire.framing import Framing, encode
from edge_runtime.protocol.wire.messages import EchoAnswer, EchoRequest
from edge_runtime.protocol.wire.server import Asked, Server
from edge_runtime.protocol.wire.smp import request_bytes
from firmware_tools.line import Cable
from tests.board import fuzzing
from tests.board.host import AgentProcess

BUF_SIZE = 4096


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("seconds", [2.0, pytest.param(60.0, marks=pytest.mark.slow)])
def test_after_a_minute_of_noise_an_echo_is_answered_within_a_second(framing, seconds):
    """At 921,600 baud, in simulated time, no pause between the noise and the first request."""
    chance, cable = random.Random(framing.value), Cable(baud=921_600)
    server = Server(max_message=BUF_SIZE)
    tracemalloc.start()
    now_s = 0.0
    while now_s < seconds:
        cable.to_board.write(chance.randbytes(4608), now_s)
        now_s += 0.05
        server.receive(cable.to_board.read(now_s), now_s)
        server.send()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    asked_s, answered_s = now_s, None
    # Repeated once: console frames are heard again after half a second of silence.
    data = encode(request_bytes(EchoRequest("hi"), 7), framing)
    for second in (0.0, 0.6):
        cable.to_board.write(data, asked_s + second)
    while answered_s is None and now_s < asked_s + 2.0:
        now_s += 0.01
        for event in server.receive(cable.to_board.read(now_s), now_s):
            if isinstance(event, Asked) and event.request == EchoRequest("hi"):
                server.answer(event, EchoAnswer("hi"), now_s)
                answered_s = now_s
    assert answered_s is not None
    assert answered_s - asked_s < 1.0


def test_damaged_bytes_reach_every_reader_and_nothing_grows(tmp_path):
    assert fuzzing.fuzz(9_000, 1, tmp_path) < fuzzing.MAX_GROWTH_BYTES


@pytest.mark.slow
def test_a_hundred_thousand_damaged_inputs(tmp_path):
    assert fuzzing.fuzz(100_000, 2, tmp_path) < fuzzing.MAX_GROWTH_BYTES


@pytest.mark.slow
def test_a_real_agent_outlives_noise_and_answers(tmp_path):
    chance = random.Random(3)
    with AgentProcess(tmp_path / "state") as agent:
        host = agent.host
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            host.client.send(time.monotonic())
            with contextlib.suppress(BlockingIOError):
                os.write(host.fd, chance.randbytes(2000))
            host.turn(0.0)
        host.reconnect()
        started_s = time.monotonic()
        assert host.ask(EchoRequest("hi")).r == "hi"
        assert time.monotonic() - started_s < 5.0  # a busy machine; the test above is exact
        assert host.status().agent["agent_bytes"] < 60 * 2**20
