"""Frames on the wire: whole, in pieces, among text, and out of noise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.wire.framing import (
    CONTINUE,
    MAX_MESSAGE_BYTES,
    START,
    Frame,
    FrameError,
    Framing,
    Text,
    cobs_decode,
    cobs_encode,
    encode,
)
from edge_runtime.protocol.wire.receiver import Receiver

BOTH = pytest.mark.parametrize("framing", list(Framing))
# As SMP messages begin, so that COBS frames hold newlines where real ones do.
MESSAGE = b"\x0a\x00\x00\x10" + bytes(range(256)) + b"\x06\x09AAAA\n\x04\x14\n"
messages = st.binary(max_size=400).map(lambda data: b"\x0a\x00" + data)
framings = st.sampled_from(Framing)


def frames(received):
    return [item for item in received if isinstance(item, Frame)]


def heard(*pieces, max_message=1024):
    receiver = Receiver(max_message=max_message)
    return [item for piece in pieces for item in receiver.feed(piece)]


@pytest.mark.parametrize(
    ("data", "encoded"),
    [
        (b"", "01"),
        (b"\0", "0101"),
        (b"\0\0", "010101"),
        (b"\x11\x22\0\x33", "0311220233"),
        (b"\x11\0\0\0", "0211010101"),
    ],
)
def test_cobs_of_the_paper(data, encoded):
    assert cobs_encode(data).hex() == encoded
    assert cobs_decode(bytes.fromhex(encoded)) == data


@pytest.mark.parametrize("n", [253, 254, 255, 508, 509])
@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\x01"])
def test_cobs_where_a_run_fills_a_block(n, tail):
    data = b"\x55" * n + tail
    encoded = cobs_encode(data)
    assert b"\0" not in encoded
    assert len(encoded) <= len(data) + len(data) // 254 + 1
    assert cobs_decode(encoded) == data


@pytest.mark.parametrize(
    ("n", "encoded"),
    [
        (253, b"\xfe" + b"\x55" * 253),
        (254, b"\xff" + b"\x55" * 254 + b"\x01"),
        (255, b"\xff" + b"\x55" * 254 + b"\x02\x55"),
    ],
)
def test_cobs_is_mcuboots_at_253_254_255(n, encoded):
    assert cobs_encode(b"\x55" * n) == encoded


@pytest.mark.parametrize("damaged", ["00", "0511", "0211000222"])
def test_cobs_that_is_none_is_refused(damaged):
    with pytest.raises(ValueError, match="COBS"):
        cobs_decode(bytes.fromhex(damaged))


@given(st.binary(max_size=1200))
def test_cobs_round_trip(data):
    encoded = cobs_encode(data)
    assert b"\0" not in encoded
    assert cobs_decode(encoded) == data


def test_console_lines_are_those_of_the_smp_documentation():
    assert encode(b"Hello, world!", Framing.CONSOLE) == b"\x06\x09AA9IZWxsbywgd29ybGQhet4=\n"


def test_console_lines_hold_127_bytes_at_most():
    lines = encode(bytes(1000), Framing.CONSOLE).splitlines(keepends=True)
    assert all(len(line) <= 127 for line in lines)
    assert [line[:2] for line in lines] == [START] + [CONTINUE] * (len(lines) - 1)


@pytest.mark.parametrize("n", [0, MAX_MESSAGE_BYTES + 1])
def test_a_message_of_a_length_that_no_frame_holds_is_refused(n):
    with pytest.raises(ValueError, match="expected 1 to"):
        encode(bytes(n), Framing.CONSOLE)


@pytest.mark.parametrize("n", [0, -1, MAX_MESSAGE_BYTES + 1])
def test_a_receiver_of_impossible_messages_is_refused(n):
    with pytest.raises(ValueError, match="max_message"):
        Receiver(max_message=n)


@BOTH
def test_a_largest_message_passes_and_a_longer_one_does_not(framing):
    for n, expected in ((512, 1), (513, 0)):
        assert len(frames(heard(encode(bytes(n), framing), max_message=512))) == expected
        assert len(frames(heard(encode(b"\x77" * n, framing), max_message=512))) == expected


@given(st.lists(st.tuples(messages, framings), max_size=6), st.data())
def test_frames_in_any_pieces_come_out_in_order(sent, data):
    stream = b"".join(encode(message, framing) for message, framing in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    ends = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    received = heard(*(stream[a:b] for a, b in ends))
    assert received == [Frame(message, framing) for message, framing in sent]


@BOTH
def test_frames_byte_by_byte_with_trailing_bytes(framing):
    stream = encode(MESSAGE, framing) * 2 + b"\x06"
    received = heard(*(bytes([byte]) for byte in stream))
    assert received == [Frame(MESSAGE, framing)] * 2


@BOTH
def test_text_between_frames_is_text(framing):
    stream = b"boot\r\n" + encode(MESSAGE, framing) + "12 °C\n".encode() + encode(MESSAGE, framing)
    frame = Frame(MESSAGE, framing)
    assert heard(stream) == [Text("boot"), frame, Text("12 °C"), frame]


@BOTH
def test_an_unfinished_line_of_text_does_not_damage_a_frame(framing):
    received = heard(b"temp=12" + encode(MESSAGE, framing))
    assert frames(received) == [Frame(MESSAGE, framing)]


def test_a_foreign_cobs_frame_has_no_zero_in_front():
    frame = Frame(MESSAGE, Framing.COBS)
    first, second = encode(MESSAGE[:200], Framing.COBS)[1:], encode(MESSAGE, Framing.COBS)[1:]
    assert heard(first + second)[1] == frame
    console = encode(MESSAGE, Framing.CONSOLE)
    plain = Frame(MESSAGE[:200], Framing.COBS)
    assert frames(heard(console + encode(plain.message, Framing.COBS)[1:]))[1] == plain


def test_lost_newlines_cost_nothing():
    lines = encode(MESSAGE, Framing.CONSOLE)[:-1].replace(b"\n", b"") + b"\n"
    assert heard(lines) == [Frame(MESSAGE, Framing.CONSOLE)]


@BOTH
@pytest.mark.parametrize("kind", ["flip", "drop", "double"])
def test_any_damaged_byte_costs_one_frame_at_most(framing, kind):
    """Every place in turn; never a wrong message, and the frame after the next is always there."""
    stream = encode(MESSAGE, framing)
    good = Frame(MESSAGE, framing)
    for at in range(len(stream)):
        byte = bytes([stream[at]])
        spoilt = {"flip": bytes([byte[0] ^ 0x10]), "drop": b"", "double": byte * 2}[kind]
        received = frames(heard(stream + stream[:at] + spoilt + stream[at + 1 :] + stream * 2))
        assert set(received) == {good}
        assert len(received) >= 3, at


@BOTH
@pytest.mark.parametrize("seed", range(20))
def test_recovers_after_noise(framing, seed):
    """Noise longer than any frame; the memory is bounded, and the second frame after it heard."""
    draw = random.Random(seed)
    receiver = Receiver(max_message=512)
    receiver.feed(encode(MESSAGE, framing))
    for _ in range(100):
        receiver.feed(draw.randbytes(draw.randrange(200)))
        assert receiver.n_bytes <= 2 * 512 + 128
    receiver.reset()
    received = receiver.feed(encode(MESSAGE, framing) * 2)
    assert received[-1] == Frame(MESSAGE, framing)


@BOTH
@pytest.mark.parametrize(
    "noise", [b"\x55", b"\x00\x02", b"\x06\x09", b"\x06\x09AAAA\n\x04\x14", b"\n"]
)
def test_memory_is_bounded_whatever_comes(framing, noise):
    receiver = Receiver(max_message=512)
    receiver.feed(encode(MESSAGE, framing))
    for _ in range(40):
        receiver.feed(noise * 1000)
        assert receiver.n_bytes <= 2 * 512 + 128


def test_every_error_says_why():
    def reason(stream):
        (error,) = (item for item in heard(stream) if isinstance(item, FrameError))
        return error.reason

    assert "base64" in reason(b"\x06\x09A!AA\n")
    assert "without a start" in reason(b"\x04\x14AAAA\n")
    assert "without a length" in reason(b"\x06\x09AA==\n")
    assert "announces 65535" in reason(b"\x06\x09//8A\n")
    assert "longer than its 3" in reason(b"\x06\x09AAMAAAAA\n")
    assert "check sum" in reason(b"\x06\x09AAMAAAE=\n")
    assert "check sum" in reason(b"\0" + cobs_encode(b"abcd") + b"\0")
    assert "ends inside" in reason(b"\0\x09ab\0")
    assert "frame of 2" in reason(b"\0" + cobs_encode(b"ab") + b"\0")
    assert "without its end" in reason(b"\x06\x09AA9I\n" + encode(b"x", Framing.CONSOLE))


def test_a_file_sent_by_cobs_cannot_speak_for_the_host():
    """A console frame inside a COBS message is data, also where the frame is damaged in front."""
    inner = b"\x0a\x00\x01\n" + encode(b"reset!", Framing.CONSOLE) * 3
    stream = encode(inner, Framing.COBS)
    receiver = Receiver(max_message=1024)
    assert len(receiver.feed(stream)) == 1
    for at in range(1, 8):
        for bit in range(8):
            damaged = bytearray(stream)
            damaged[at] ^= 1 << bit
            received = frames(receiver.feed(bytes(damaged) + stream))
            assert {frame.framing for frame in received} == {Framing.COBS}, (at, bit)


def test_the_framing_is_that_of_the_last_good_frame():
    receiver = Receiver(max_message=64)
    assert receiver.framing is None
    for framing in (Framing.CONSOLE, Framing.COBS, Framing.CONSOLE):
        receiver.feed(encode(b"x", framing))
        assert receiver.framing is framing
