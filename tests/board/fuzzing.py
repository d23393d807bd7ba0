"""Damaged and hostile bytes into everything that reads bytes from outside.

    python -m tests.board.fuzzing --runs 1000000

Good examples are changed at random and read. Only the errors that a reader promises may come out,
and the process may not grow. A run is told by its seed.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import socket
import tempfile
import time
from pathlib import Path

import numpy as np

from edge_runtime.board import record as records
from edge_runtime.board.channel import Channel, ChannelError
from edge_runtime.board.record import StoreError
from edge_runtime.errors import StateError
from edge_runtime.protocol.pack import PackError, read_pack
from edge_runtime.protocol.pack.canaries import read_canaries, write_canaries
from edge_runtime.protocol.wire import cbor
from edge_runtime.protocol.wire.framing import Framing, encode
from edge_runtime.protocol.wire.receiver import Receiver
from edge_runtime.protocol.wire.server import Asked, Server
from edge_runtime.protocol.wire.smp import WireError, parse_answer, parse_request
from edge_runtime.state import generations
from tests.board.desk import Desk
from tests.protocol.packs import making
from tests.protocol.wire.test_fuzz import GOLDEN, mutated

BUF_SIZE = 1024
# Python's allocator may keep some; a leak of ten bytes an input would be seen.
MAX_GROWTH_BYTES = 64 * 2**20


class Framed:
    """Frames of both kinds, in pieces, into one receiver that lives for ever."""

    def __init__(self):
        self.receiver = Receiver(max_message=BUF_SIZE)
        short = [data for data in GOLDEN if len(data) < BUF_SIZE]
        self.examples = [encode(data, framing) for data in short for framing in Framing]

    def read(self, data):
        self.receiver.feed(data)
        assert self.receiver.n_bytes <= 4 * BUF_SIZE


class Cbor:
    """CBOR maps."""

    examples = tuple(data[8:] for data in GOLDEN)

    def read(self, data):
        try:
            cbor.decode(data)
        except cbor.CborError:
            return


class Messages:
    """Messages, as requests and as answers."""

    examples = tuple(GOLDEN)

    def read(self, data):
        for parse in (parse_request, parse_answer):
            try:
                parse(data)
            except WireError:
                continue


class Requests:
    """Requests to a whole agent that runs a pack."""

    examples = tuple(data for data in GOLDEN if not data[0] & 1)

    def __init__(self, root):
        self.desk = Desk(root, buf_size=BUF_SIZE)
        self.desk.install(making.model())
        self.server = Server(max_message=BUF_SIZE)
        self.now_s = 0.0

    def read(self, data):
        if not 0 < len(data) <= BUF_SIZE:
            return
        self.now_s += 0.01
        desk, line = self.desk, self.desk.lines[0]
        for event in self.server.receive(encode(data, Framing.COBS), self.now_s):
            if isinstance(event, Asked):
                answer = desk.agent.ask(line, event, desk.now)
                if answer is not None:
                    self.server.answer(event, answer, self.now_s)
        for _, asked, answer in desk.later(0.01):
            self.server.answer(asked, answer, self.now_s)
        desk.replies.clear()
        del desk.runners[:-2]
        assert len(self.server.send()) <= 64 * BUF_SIZE


class Packs:
    """Model packs, signature not asked for: everything behind it is reached."""

    examples = (making.model(), making.head(), making.golden())

    def read(self, data):
        try:
            read_pack(io.BytesIO(data), None)
        except PackError:
            return


class Learned:
    """Files of learned state; damage behind the digest as well."""

    def __init__(self):
        arrays = {"0/mean": np.arange(6.0), "0/counts": np.arange(3)}
        whole = generations.to_bytes({"kind": "x", "slots": [{"number": 0}]}, arrays)
        self.examples = (whole, whole[: -generations.DIGEST_BYTES])

    def read(self, data):
        from hashlib import sha256

        for each in (data, data + sha256(data).digest()):
            try:
                generations.from_bytes(each)
            except StateError:
                continue


class Canaries:
    """Arrays that packs bring along."""

    examples = (write_canaries(np.zeros((2, 3), np.float32)),)

    def read(self, data):
        try:
            read_canaries(data)
        except PackError:
            return


class Records:
    """The record of packs, its digest made right again."""

    def __init__(self, root):
        desk = Desk(root)
        desk.install(making.model())
        self.examples = (records.to_bytes(desk.record).split(b"\n")[0],)

    def read(self, data):
        from hashlib import sha256

        text = data.replace(b"\n", b" ")
        try:
            records.from_bytes(text + b"\n" + sha256(text).hexdigest().encode() + b"\n")
        except StoreError:
            return


class Worker:
    """What the process that runs the model may say."""

    examples = (b'{"say": "beat", "status": {"counters": {}}}\n', b'{"say": "ready"}\n')

    def read(self, data):
        here, there = socket.socketpair()
        channel = Channel(there)
        with here:
            here.sendall(data)
        try:
            channel.receive()
        except ChannelError:
            return
        finally:
            channel.close()


def targets(root):
    return [
        Framed(), Cbor(), Messages(), Requests(root / "agent"), Packs(), Learned(), Canaries(),
        Records(root / "record"), Worker(),
    ]  # fmt: skip


def fuzz(n_runs, seed, root, report=lambda text: None):
    """So many inputs in all; bytes by which the process grew after it had warmed up."""
    chance, readers = random.Random(seed), targets(root)
    for reader in readers:
        _run(reader, chance, 200)
    before = peak_bytes()
    for reader in readers:
        started_s, n = time.monotonic(), n_runs // len(readers)
        _run(reader, chance, n)
        seconds = time.monotonic() - started_s
        report(f"{type(reader).__name__:9} {n:8} inputs, {seconds:6.1f} s")
    return peak_bytes() - before


def _run(reader, chance, n):
    for _ in range(n):
        reader.read(mutated(chance, chance.choice(reader.examples)))


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        grown = fuzz(
            arguments.runs, arguments.seed, Path(directory), lambda text: print(text, flush=True)
        )
    print(f"{arguments.runs} inputs, seed {arguments.seed}: the process grew by {grown} bytes")
    assert grown < MAX_GROWTH_BYTES


if __name__ == "__main__":
    main()
