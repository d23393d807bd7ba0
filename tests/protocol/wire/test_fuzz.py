"""Hostile and damaged bytes: no exception but the promised one, no wrong message, no growth."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from edge_runtime.protocol.wire import cbor
from edge_runtime.protocol.wire.client import Client
from edge_runtime.protocol.wire.framing import Frame, Framing, encode
from edge_runtime.protocol.wire.messages import EchoRequest
from edge_runtime.protocol.wire.receiver import Receiver
from edge_runtime.protocol.wire.server import Asked, Server
from edge_runtime.protocol.wire.smp import Refusal, WireError, parse_answer, parse_request
from edge_runtime.protocol.wire.upload import Upload

GOLDEN = [
    bytes.fromhex(json.loads(line)["hex"])
    for line in (Path(__file__).parents[2] / "golden" / "wire.jsonl").read_text().splitlines()
]
# Bytes that mean something to one of the parsers.
SPECIAL = b"\x00\x01\x02\x04\x06\x09\x0a\x0d\x14=/A\x5f\x7f\x9f\xa1\xbf\xc2\xf9\xfb\xff"
COUNTS = [2_000, pytest.param(120_000, marks=pytest.mark.slow)]


def mutated(draw, data):
    """`data` with a few bytes changed, removed, added, repeated or cut off."""
    out = bytearray(data)
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(len(out) + 1)
        kind = draw.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << draw.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = draw.choice(SPECIAL)
        elif kind == 2:
            del out[at : at + draw.randrange(4)]
        elif kind == 3:
            out[at:at] = draw.choices(SPECIAL, k=draw.randrange(4))
        elif kind == 4:
            out[at:at] = out[at : at + draw.randrange(16)]
        elif draw.random() < 0.1:
            del out[at:]
    return bytes(out)


def is_message(data):
    for parse in (parse_request, parse_answer):
        try:
            parse(data)
        except WireError:
            continue
        return True
    return False


@pytest.mark.parametrize("n", COUNTS)
def test_damaged_messages_are_messages_or_wire_errors(n):
    draw = random.Random(1)
    n_read = 0
    for _ in range(n):
        data = mutated(draw, draw.choice(GOLDEN))
        # The length is set right as often, so that the body is reached.
        if draw.random() < 0.7 and len(data) >= 8:
            data = data[:2] + (len(data) - 8).to_bytes(2, "big") + data[4:]
        n_read += is_message(data)
    assert n_read > n / 20


@pytest.mark.parametrize("n", COUNTS)
def test_cbor_is_a_map_or_a_cbor_error(n):
    draw = random.Random(2)
    for _ in range(n):
        if draw.random() < 0.5:
            data = bytes(draw.choices(SPECIAL, k=draw.randrange(24)))
        else:
            data = mutated(draw, draw.choice(GOLDEN)[8:])
        try:
            value = cbor.decode(data)
        except cbor.CborError:
            continue
        assert isinstance(value, dict)


@pytest.mark.parametrize("framing", list(Framing))
@pytest.mark.parametrize("n", COUNTS)
def test_a_receiver_never_gives_a_message_that_was_not_sent(framing, n):
    """A 16-bit check sum misses one damaged frame in 65,536, and the header's length most of those.

    It misses zeros added in front or at the end, which is why the header counts.
    """
    draw = random.Random(3)
    receiver = Receiver(max_message=512)
    sent = set(GOLDEN)
    n_right = n_wrong = 0
    for _ in range(n):
        message = draw.choice(GOLDEN)
        stream = encode(message, framing)
        if draw.random() < 0.5:
            stream = mutated(draw, stream)
        at = draw.randrange(len(stream) + 1)
        for piece in (stream[:at], stream[at:]):
            for item in receiver.feed(piece):
                if isinstance(item, Frame):
                    n_right += item.message in sent
                    n_wrong += item.message not in sent and is_message(item.message)
        assert receiver.n_bytes <= 2 * 512 + 128
    assert n_right > n / 10
    assert n_wrong <= 1


@pytest.mark.parametrize("n", COUNTS)
def test_a_server_answers_or_is_silent(n):
    draw = random.Random(4)
    server = Server(max_message=512)
    for i in range(n):
        data = mutated(draw, draw.choice(GOLDEN))
        stream = encode(data, draw.choice(list(Framing))) if data else b""
        if draw.random() < 0.3:
            stream = mutated(draw, stream)
        for event in server.receive(stream, i * 0.01):
            if isinstance(event, Asked) and draw.random() < 0.9:
                server.answer(event, Refusal(draw.randrange(12)), i * 0.01)
        assert len(server.send()) < 4096
    server.receive(b"", n * 0.01)
    (event,) = server.receive(encode(GOLDEN[0], Framing.CONSOLE), n * 0.01 + 100)
    assert isinstance(event, Asked)


@pytest.mark.parametrize("n", COUNTS)
def test_a_client_survives_any_answer(n):
    draw = random.Random(5)
    client = Client(framing=Framing.COBS, max_message=512)
    now_s = 0.0
    upload = Upload(bytes(10_000), max_message=512)
    client.upload(upload)
    for _ in range(n):
        if upload.is_over:
            upload = Upload(bytes(10_000), max_message=512)
            client.upload(upload)
        if draw.random() < 0.02:
            client.request(EchoRequest("x"))
        client.send(now_s)
        answer = bytearray(mutated(draw, draw.choice(GOLDEN)) or b"\0")
        if len(answer) > 6:
            answer[6] = draw.randrange(256)
        now_s += draw.random()
        client.receive(encode(bytes(answer), Framing.COBS), now_s)
