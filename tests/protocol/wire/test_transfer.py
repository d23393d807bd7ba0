"""Whole transfers over the simulated cable: rates, noise, pulled cables, restarted boards.

Time here is the simulation's, so rates are counts of bits and may be asserted.
"""

from __future__ import annotations

import random

import pytest

from edge_runtime.protocol.wire.client import Progress
from edge_runtime.protocol.wire.framing import Framing
from edge_runtime.protocol.wire.messages import EchoAnswer, EchoRequest
from firmware_tools.line import BITS_PER_BYTE, Cable, Noise
from tests.protocol.wire.conversation import Conversation

BOTH = pytest.mark.parametrize("framing", list(Framing))
BUF_SIZE = {115200: 1024, 921600: 4096, 3_000_000: 16384}


def image_of(n_bytes, seed=0):
    return random.Random(seed).randbytes(n_bytes)


@pytest.mark.parametrize("baud", BUF_SIZE)
@pytest.mark.parametrize(
    ("framing", "latency_s", "least"),
    [
        (Framing.COBS, 0.0, 0.96),
        (Framing.COBS, 0.008, 0.93),
        (Framing.CONSOLE, 0.0, 0.70),
        (Framing.CONSOLE, 0.008, 0.70),
    ],
)
def test_an_upload_fills_the_line(baud, framing, latency_s, least):
    image = image_of(600_000)
    cable = Cable(baud=baud, latency_s=latency_s)
    talk = Conversation(baud=baud, framing=framing, buf_size=BUF_SIZE[baud], cable=cable)
    talk.assert_installed(talk.upload(image))
    assert len(image) * BITS_PER_BYTE / baud / talk.now_s >= least
    assert talk.board.carried_out["ImageUploadRequest"] == talk.client.n_sent


@pytest.mark.parametrize(
    ("framing", "rate", "least"),
    [
        (Framing.CONSOLE, 1e-5, 0.55),
        (Framing.CONSOLE, 1e-4, 0.30),
        (Framing.COBS, 1e-5, 0.80),
        (Framing.COBS, 1e-4, 0.45),
    ],
)
def test_an_upload_is_not_slow_under_noise(framing, rate, least):
    image = image_of(300_000)
    cable = Cable(baud=921600, noise=Noise(rate=rate), seed=2)
    talk = Conversation(framing=framing, buf_size=1024, cable=cable)
    talk.assert_installed(talk.upload(image))
    assert cable.n_faults > 0
    assert len(image) * BITS_PER_BYTE / 921600 / talk.now_s >= least


def noisy_transfer(*, framing, rate, seed, n_bytes):
    """Number of faults of one transfer, which must end with the image that was sent."""
    noise = Noise(rate=rate, burst_rate=rate / 100, burst_bytes=30)
    cable = Cable(baud=921600, noise=noise, seed=seed)
    talk = Conversation(framing=framing, buf_size=1024, cable=cable)
    talk.assert_installed(talk.upload(image_of(n_bytes, seed)))
    assert len(talk.board.installed) == 1
    return cable.n_faults


@BOTH
@pytest.mark.parametrize("rate", [1e-6, 1e-5, 1e-4, 1e-3])
def test_a_transfer_survives_noise(framing, rate):
    n_bytes = 60_000 if rate < 1e-3 else 10_000
    n_faults = [
        noisy_transfer(framing=framing, rate=rate, seed=s, n_bytes=n_bytes) for s in range(2)
    ]
    # Of the lower rates these few bytes may meet no fault.
    assert rate < 1e-4 or min(n_faults) > 0


@pytest.mark.slow
@BOTH
def test_transfers_survive_ten_thousand_faults(framing):
    """50 seeds each at 1e-6, 1e-5, 1e-4 and 1e-3: all complete, and none with a wrong byte."""
    n_faults = sum(
        noisy_transfer(framing=framing, rate=rate, seed=seed, n_bytes=n_bytes)
        for rate, n_bytes in ((1e-6, 100_000), (1e-5, 100_000), (1e-4, 500_000), (1e-3, 40_000))
        for seed in range(50)
    )
    assert n_faults >= 10_000


def pulled_transfer(image, *, framing, duration_s, seed):
    """How many messages a transfer takes whose cable is out for a while at a random moment."""
    draw = random.Random(seed)
    talk = Conversation(framing=framing)
    upload = talk.begin_upload(image)
    talk.run(until_s=draw.uniform(0, duration_s))
    talk.cable.pull()
    talk.now_s += draw.uniform(0.01, 5.0)
    talk.cable.plug(talk.now_s)
    talk.client.reconnected(talk.now_s)
    talk.run()
    talk.assert_installed(upload)
    return talk.client.n_sent


@BOTH
def test_a_pulled_cable_costs_six_messages_at_most(framing):
    """100 pulls at random offsets, 50 in each framing."""
    image = image_of(100_000)
    whole = Conversation(framing=framing)
    whole.assert_installed(whole.upload(image))
    for seed in range(50):
        n_sent = pulled_transfer(image, framing=framing, duration_s=whole.now_s, seed=seed)
        assert n_sent - whole.client.n_sent <= 6


@BOTH
def test_a_cable_that_nobody_notices_is_out_costs_only_time(framing):
    talk = Conversation(framing=framing)
    upload = talk.begin_upload(image_of(100_000))
    talk.run(until_s=0.3)
    talk.cable.pull()
    talk.run(until_s=20.0)
    talk.cable.plug(talk.now_s)
    talk.run()
    talk.assert_installed(upload)
    assert talk.client.n_sent < 120


@BOTH
def test_an_upload_survives_restarts_of_the_board(framing):
    talk = Conversation(framing=framing)
    upload = talk.begin_upload(image_of(200_000))
    for i in range(1, 20):
        talk.run(until_s=i * 0.15)
        talk.board.restart()
    talk.run()
    talk.assert_installed(upload)


@BOTH
def test_telemetry_and_requests_go_on_during_an_upload(framing):
    """100 Hz of lines: all arrive whole, and the requests are answered before the upload ends."""
    talk = Conversation(framing=framing)
    upload = talk.begin_upload(image_of(100_000))
    n_lines = 0
    while not upload.is_over:
        talk.board.server.say(f"p_value={n_lines}")
        talk.cable.to_host.write(talk.board.server.send(), talk.now_s)
        n_lines += 1
        if n_lines % 20 == 0:
            talk.client.request(EchoRequest(str(n_lines)))
        talk.run(until_s=n_lines * 0.01)
    talk.run()
    talk.assert_installed(upload)
    assert EchoAnswer("20") in talk.answers()
    lines = [event.line for event in talk.events if hasattr(event, "line")]
    assert lines == [f"p_value={i}" for i in range(n_lines)]


def test_progress_is_told():
    talk = Conversation()
    talk.begin_upload(image_of(20_000))
    while talk.step():
        pass
    offsets = [event.offset for event in talk.events if isinstance(event, Progress)]
    assert offsets == sorted(offsets)
    assert offsets[-1] == 20_000


@BOTH
def test_a_slow_reader_gets_its_image_all_the_same(framing):
    """A board that reads in spurts, and loses what its buffer cannot hold."""
    talk = Conversation(framing=framing, buf_size=1024)
    talk.cable.to_board._buffer_bytes = 1600
    upload = talk.begin_upload(image_of(50_000))
    while not upload.is_over:
        talk.cable.to_board.write(talk.client.send(talk.now_s), talk.now_s)
        talk.now_s += 0.02
        answer = talk.board.receive(talk.cable.to_board.read(talk.now_s), talk.now_s)
        talk.cable.to_host.write(answer, talk.now_s)
        talk.client.receive(talk.cable.to_host.read(talk.now_s), talk.now_s)
    talk.assert_installed(upload)
    assert talk.cable.to_board.n_overrun > 0
