"""Small parts: the channel, the journal, access, streams, notifications, ports, files for hosts."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tty
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.board.access import NONCE_S, PERMISSION_S, Access
from edge_runtime.board.channel import MAX_LINE_BYTES, MAX_UNSENT_BYTES, Channel, ChannelError
from edge_runtime.board.file_group import FileGroup
from edge_runtime.board.files import Files
from edge_runtime.board.journal import MAX_EVENTS, MAX_ROWS, MAX_WANTED, METRICS, Journal
from edge_runtime.board.notify import Notifier
from edge_runtime.board.port import Port, buf_size_for
from edge_runtime.board.streams import open_stream
from edge_runtime.errors import StreamError
from edge_runtime.protocol.wire.edge_messages import LabelWanted, authorisation_text
from edge_runtime.protocol.wire.messages import (
    FileAnswer,
    FileHashRequest,
    FileRequest,
    FileStatusRequest,
)
from edge_runtime.protocol.wire.smp import Header, Op, Refusal, answer_bytes
from tests.protocol.packs.making import KEY, OTHER_KEY, PINNED

# -- channel -----------------------------------------------------------------------------------


@pytest.fixture
def ends():
    pair = [Channel(end) for end in socket.socketpair()]
    yield pair
    for end in pair:
        end.close()


def drain(channel, received, before=lambda: None):
    while True:
        before()
        received += channel.receive()


def test_values_arrive_in_order_and_the_last_ones_before_the_end(ends):
    here, there = ends
    for n in range(100):
        here.send({"n": n, "text": "\n\0"})
    here.close()
    received = []
    with pytest.raises(ChannelError, match="gone"):
        drain(there, received)
    assert received == [{"n": n, "text": "\n\0"} for n in range(100)]


def test_a_process_that_does_not_read_is_not_waited_for(ends):
    here, _ = ends
    sending = (here.send("x" * (MAX_UNSENT_BYTES // 50)) for _ in range(100))
    with pytest.raises(ChannelError, match="unread"):
        list(sending)


@pytest.mark.parametrize("rubbish", [b"{\n", b"[" * 100_000 + b"\n", b"\xff\n"])
def test_rubbish_is_an_error(rubbish):
    one, two = socket.socketpair()
    with one:
        one.sendall(rubbish)
        channel = Channel(two)
        with pytest.raises(ChannelError, match="no JSON"):
            drain(channel, [])
        channel.close()


def test_a_line_without_end_is_an_error(ends):
    here, there = ends
    here._out += b"x" * (MAX_LINE_BYTES + 2**17)
    with pytest.raises(ChannelError, match="more than"):
        drain(there, [], before=here.flush)


# -- journal -----------------------------------------------------------------------------------


def size(answer):
    return len(answer_bytes(Header(Op.READ, 64, 1, 0), answer))


@given(
    texts=st.lists(st.text(max_size=300), min_size=1, max_size=40),
    evidence=st.dictionaries(
        st.text(max_size=50), st.integers() | st.floats() | st.text(max_size=99), max_size=20
    ),
    limit=st.sampled_from([1020, 4092]),
)
def test_every_event_is_told_once_in_messages_that_fit(texts, evidence, limit):
    journal = Journal()
    for text in texts:
        journal.note("kind", text, sample=2**40, slot=3, evidence=evidence)
    told, since = [], 0
    while since < len(texts):
        answer = journal.events(since, limit)
        assert size(answer) <= limit
        assert answer.next > since
        told += [event.n for event in answer.events]
        since = answer.next
    assert told == list(range(len(texts)))


def test_what_is_forgotten_is_counted_as_lost():
    journal = Journal()
    for n in range(MAX_EVENTS + 7):
        journal.note("kind", str(n))
    answer = journal.events(3, 4000)
    assert (answer.lost, answer.events[0].n) == (4, 7)
    journal.measure([[float(n)] * len(METRICS) for n in range(MAX_ROWS + 1)])
    rows = journal.metrics(0, 4000)
    assert (rows.lost, rows.rows[0][0]) == (1, 1.0)
    assert size(rows) <= 4000
    assert len(journal.metrics(MAX_ROWS, 4000).rows) == 1


def test_a_host_that_knows_another_life_of_the_agent_starts_anew():
    journal = Journal()
    journal.note("kind", "first")
    assert [event.n for event in journal.events(500, 1020).events] == [0]


def test_wanted_labels_are_bounded_settled_and_sorted():
    journal = Journal()
    for sample in range(MAX_WANTED + 10):
        journal.want(LabelWanted(sample, (sample * 37 % 100) / 100, "x" * 20, 1))
    assert len(journal.wanted) == MAX_WANTED
    assert [each.p_value for each in journal.wanted] == sorted(
        each.p_value for each in journal.wanted
    )
    journal.forget_before(260)
    journal.settle([261, 5])
    assert sorted(each.sample for each in journal.wanted) == [260, 262, 263, 264, 265]
    answer = journal.label_requests(2, 1020)
    assert (len(answer.wanted), answer.waiting) == (2, 5)


# -- access ------------------------------------------------------------------------------------


def signed(nonce, board="pi", key=KEY):
    return key.sign(authorisation_text(nonce, board))


def key_digest(key):
    from edge_runtime.protocol.pack import key_hash

    return bytes.fromhex(key_hash(key.public_key()))


def test_a_pinned_key_opens_the_line_for_a_while():
    access = Access(PINNED, "pi", os.urandom)
    assert not access.allows(0.0)
    nonce = access.challenge(0.0)
    assert access.authorise(key_digest(KEY), signed(nonce), 1.0) == PERMISSION_S
    assert access.allows(PERMISSION_S)
    assert not access.allows(PERMISSION_S + 1.1)
    access.challenge(0.0)
    access.close()
    assert not access.allows(2.0)


def test_nothing_else_does():
    access = Access(PINNED, "pi", os.urandom)
    wrong = {
        "another key": lambda nonce: (key_digest(OTHER_KEY), signed(nonce, key=OTHER_KEY)),
        "another key's name": lambda nonce: (key_digest(KEY), signed(nonce, key=OTHER_KEY)),
        "another board": lambda nonce: (key_digest(KEY), signed(nonce, "other")),
        "another nonce": lambda nonce: (key_digest(KEY), signed(bytes(32))),
        "no signature": lambda nonce: (key_digest(KEY), b""),
        "no key": lambda nonce: (b"", signed(nonce)),
    }
    for what, make in wrong.items():
        key, signature = make(access.challenge(0.0))
        assert access.authorise(key, signature, 0.0) is None, what
        assert not access.allows(0.0)
    nonce = access.challenge(0.0)
    assert access.authorise(key_digest(KEY), signed(nonce), NONCE_S) is None  # too late
    nonce = access.challenge(0.0)
    assert access.authorise(key_digest(OTHER_KEY), b"x", 0.0) is None
    assert access.authorise(key_digest(KEY), signed(nonce), 0.0) is None  # used up by that
    assert access.authorise(key_digest(KEY), signed(nonce), 0.0) is None


def test_an_unprovisioned_or_open_board_lets_everybody():
    assert Access(None, "pi", os.urandom).allows(0.0)
    assert Access(PINNED, "pi", os.urandom, is_open=True).allows(0.0)


# -- streams -----------------------------------------------------------------------------------


def test_streams_are_named_in_a_line(tmp_path, monkeypatch):
    np.save(tmp_path / "rows.npy", np.arange(6.0).reshape(3, 2))
    assert open_stream("none") is None
    assert [x[0] for x in open_stream(f"table:{tmp_path}/rows.npy")] == [0.0, 2.0, 4.0]
    again = open_stream(f"table:{tmp_path}/rows.npy", repeat=True)
    assert [next(again)[0] for _ in range(5)] == [0.0, 2.0, 4.0, 0.0, 2.0]
    np.save(tmp_path / "one.npy", np.ones(2))
    assert len(list(open_stream(f"files:{tmp_path}"))) == 2
    (tmp_path / "my_camera.py").write_text("def frames():\n    yield from [1, 2]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(open_stream("python:my_camera:frames")) == [1, 2]
    sys.modules.pop("my_camera")
    reading, writing = os.pipe()
    os.write(writing, b"1 2\n")
    usual = os.dup(0)
    os.dup2(reading, 0)
    try:
        assert next(open_stream("stdin"))[1] == 2.0
    finally:
        os.dup2(usual, 0)
        for fd in (reading, writing, usual):
            os.close(fd)


@pytest.mark.parametrize(
    "spec",
    ["", "table", "table:", "stdin:x", "http://x", "python:no_such_module:f", "serial:x@fast",
     "python:os:no_such", "python:os:getpid", "table:/missing.npy"],
)  # fmt: skip
def test_what_names_no_stream_is_refused(spec):
    with pytest.raises(StreamError):
        open_stream(spec)


# -- notifications -----------------------------------------------------------------------------


def test_systemd_is_told_that_the_loop_turns(tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000000"})
        notifier.ready()
        for second in range(1, 32):
            notifier.beat(float(second), "serving")
        notifier.stopping()
        heard = []
        while not heard or heard[-1] != b"STOPPING=1":
            heard.append(systemd.recv(1000))
    assert heard[:2] == [b"READY=1", b"STATUS=serving"]
    assert heard.count(b"WATCHDOG=1") == 4  # at 1, 11, 21, 31
    Notifier({"NOTIFY_SOCKET": address}).ready()  # nobody listens any more
    Notifier({}).beat(0.0, "x")


# -- ports -------------------------------------------------------------------------------------


def test_messages_are_as_long_as_the_rate_allows():
    sizes = [buf_size_for("/dev/ttyAMA0", baud) for baud in (9600, 115_200, 921_600, 3_000_000)]
    assert sizes == [1024, 1024, 4096, 16384]
    assert buf_size_for("/dev/ttyGS0", 115_200) == 16384


def test_a_port_vanishes_and_returns(tmp_path):
    link = tmp_path / "port"
    port = Port(str(link), 115_200)
    assert not port.tend(0.0)
    assert "is it plugged in" in port.trouble
    for second in (10.0, 20.0):
        master, slave = os.openpty()
        tty.setraw(slave)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(slave))
        assert port.tend(second)
        assert not port.tend(second)
        os.write(master, b"hello")
        assert port.read() == b"hello"
        port.write(b"answer")
        assert os.read(master, 100) == b"answer"
        os.close(slave)
        os.close(master)
        reading = (port.read() for _ in range(3))
        with pytest.raises(OSError, match=r"."):
            list(reading)
        assert not port.is_open
        assert port.trouble
        port.write(b"lost")
        assert not port.has_unsent
    assert not port.tend(20.1)  # not tried again at once


def test_two_agents_cannot_have_one_port():
    master, slave = os.openpty()
    tty.setraw(slave)
    one, two = Port(os.ttyname(slave), 115_200), Port(os.ttyname(slave), 115_200)
    assert one.tend(0.0)
    assert not two.tend(0.0)
    assert "lock" in two.trouble
    one.close()
    os.close(master)
    os.close(slave)


# -- files for hosts ---------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "shared" / "a.bin").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "shared" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "shared" / "folder").mkdir()
    return FileGroup(Files(tmp_path / "shared"))


def test_files_are_read_in_pieces_and_hashed(shared):
    whole = bytes(range(256)) * 20
    data, off = b"", 0
    while off < len(whole):
        answer = shared.read(FileRequest("/a.bin", off), 1020)
        assert size(answer) <= 1020
        assert (answer.len is None) == (off > 0)
        data += answer.data
        off = len(data)
    assert data == whole
    assert shared.read(FileRequest("a.bin", len(whole)), 1020) == FileAnswer(len(whole), b"")
    assert shared.status(FileStatusRequest("a.bin")).len == len(whole)
    assert shared.hash(FileHashRequest("a.bin")).output == hashlib.sha256(whole).digest()
    part = shared.hash(FileHashRequest("a.bin", "crc32", off=10, len=100))
    assert (part.output, part.off, part.len) == (zlib.crc32(whole[10:110]), 10, 100)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/../secret", "//etc/passwd", "/etc/passwd", "..", ".", "", "/", "a.bin/../x",
     "link", "folder", "a.bin\0", "a.bin.part", "A" * 300_000, "ä", "missing", "a.bin\n"],
)  # fmt: skip
def test_nothing_else_can_be_named(shared, name):
    for refusal in (
        shared.read(FileRequest(name, 0), 1020),
        shared.status(FileStatusRequest(name)),
        shared.hash(FileHashRequest(name)),
    ):
        assert isinstance(refusal, Refusal)
        assert refusal.rc in (2, 3)


def test_offsets_and_kinds_that_make_no_sense_are_refused(shared):
    for request in (FileRequest("a.bin", -1), FileRequest("a.bin", 10**12)):
        assert shared.read(request, 1020).rc == 12
    assert shared.hash(FileHashRequest("a.bin", off=-5)).rc == 12
    assert shared.hash(FileHashRequest("a.bin", len=-5)).rc == 12
    assert shared.hash(FileHashRequest("a.bin", "md5")).rc == 13
