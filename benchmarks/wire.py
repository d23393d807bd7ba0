"""Uploads through a paced line: this project's uploader beside smpclient's, as shares of the rate.

In real time the real agent stages a signed pack behind two pseudo-terminals and a relay that paces
every byte (`edgectl simulate`'s own parts); in simulated time only the sessions and the line take
part, so that nothing is lost to a busy machine. Peer: smpclient, unmodified, console framing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.command import main
from benchmarks.options import Options
from benchmarks.reporting import ABSENT, Report
from edge_runtime.protocol.pack import Version
from edge_runtime.protocol.pack.manifest import Content, EncoderEntry, Manifest
from edge_runtime.protocol.pack.writing import write_pack
from edge_runtime.protocol.wire.client import Client
from edge_runtime.protocol.wire.framing import Framing, Text
from edge_runtime.protocol.wire.messages import ImageUploadAnswer, ImageUploadRequest
from edge_runtime.protocol.wire.server import Asked, Server
from edge_runtime.protocol.wire.smp import Rc, Refusal
from edge_runtime.protocol.wire.upload import Upload, UploadState
from firmware_tools.line import BITS_PER_BYTE, Cable
from firmware_tools.link import Link
from firmware_tools.ports import SerialPort

REPEATS = 3
# That a transfer would take at the full rate; a slow line needs longer to outweigh its end.
SECONDS = {115_200: 12.0, 921_600: 6.0, 3_000_000: 6.0}
RATES = (115_200, 921_600, 3_000_000)
BUF_SIZES = {115_200: 1024, 921_600: 4096, 3_000_000: 16384}
TELEMETRY_S = 0.01
WAIT_S = 30.0


@dataclass(frozen=True)
class Case:
    """One row: who sends, how, and what the line adds."""

    client: str
    framing: Framing
    latency_s: float = 0.0
    buf_size: int | None = None  # None: what the agent announces at this rate
    telemetry: bool = False

    @property
    def name(self) -> str:
        """The row's first cell."""
        late = f", {1000 * self.latency_s:.0f} ms each way" if self.latency_s else ""
        lines = ", 100 Hz telemetry" if self.telemetry else ""
        size = f", {self.buf_size} B messages" if self.buf_size else ""
        return f"{self.client}, {self.framing.value}{size}{late}{lines}"


CASES = (
    Case("own, window 4", Framing.COBS),
    Case("own, window 4", Framing.COBS, latency_s=0.008),
    Case("own, window 4", Framing.CONSOLE),
    Case("own, window 4", Framing.COBS, telemetry=True),
    Case("own, window 4", Framing.CONSOLE, telemetry=True),
    Case("smpclient", Framing.CONSOLE, buf_size=4096),
    Case("own, window 4", Framing.CONSOLE, buf_size=4096),
)


def run(options: Options) -> Report:
    """Every case at every rate, in simulated and in real time."""
    repeats = 1 if options.quick else REPEATS
    rows, records = [], []
    for case in CASES:
        cells = []
        for baud in RATES:
            seconds = 0.5 if options.quick else SECONDS[baud]
            n_bytes = int(seconds * baud / BITS_PER_BYTE)
            simulated, n_lost = simulate(case, baud, n_bytes)
            shares = [real(case, baud, n_bytes, seed) for seed in range(repeats)]
            real_share = float(np.median(shares)) if None not in shares else None
            records.append(
                {"case": case.name, "baud": baud, "simulated": simulated, "real": shares,
                 "lines_lost": n_lost}
            )  # fmt: skip
            lost = f", {n_lost} lost" if case.telemetry else ""
            cells += [_share(simulated) + lost, _share(real_share)]
            print(f"{case.name} {baud}: simulated {simulated}, real {shares}", flush=True)
        rows.append([case.name, *cells])
    columns = ["sender", *(f"{baud:,} {how}" for baud in RATES for how in ("simulated", "real"))]
    protocol = (
        "Useful bytes as a share of baud/10, transfers of 12 s at full rate (6 s above 115,200), "
        f"until the pack is checked and staged; real time: median of {repeats}, agent, relay and "
        "sender are three processes on one machine, whose load at the end was "
        f"{os.getloadavg()[1]:.1f}. Messages of "
        "1,024, 4,096 and 16,384 bytes unless stated. Lost: lines of telemetry, of 100 a second."
    )
    return Report("wire", "Uploads through a paced line", protocol, columns, rows, records)


def _share(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


# -- simulated time --------------------------------------------------------------------------


def simulate(case: Case, baud: int, n_bytes: int) -> tuple[float | None, int]:
    """Share of the rate, and lines of telemetry that did not arrive; None for a foreign client."""
    if case.client == "smpclient":
        return None, 0
    buf_size = case.buf_size or BUF_SIZES[baud]
    cable = Cable(baud=baud, latency_s=case.latency_s)
    client = Client(framing=case.framing, baud=baud, max_message=buf_size)
    server = Server(max_message=buf_size)
    upload = Upload(random.Random(0).randbytes(n_bytes), max_message=buf_size)
    client.upload(upload)
    now_s, n_said, n_heard, received = 0.0, 0, 0, bytearray()
    end_s = None
    while end_s is None or (n_said > n_heard and now_s < end_s + 1.0):
        if case.telemetry and now_s >= n_said * TELEMETRY_S and end_s is None:
            server.say(f"p_value=0.{n_said:04d} slot=1")
            n_said += 1
        cable.to_host.write(server.send(), now_s)
        cable.to_board.write(client.send(now_s), now_s)
        due = [cable.to_board.next_arrival_s(), cable.to_host.next_arrival_s()]
        due += [client.next_deadline_s, n_said * TELEMETRY_S if case.telemetry else None]
        now_s = max(now_s, min(t for t in due if t is not None))
        for event in server.receive(cable.to_board.read(now_s), now_s):
            if isinstance(event, Asked):
                server.answer(event, _take(event.request, received, upload), now_s)
        events = client.receive(cable.to_host.read(now_s), now_s)
        n_heard += sum(isinstance(event, Text) for event in events)
        if upload.is_over and end_s is None:
            end_s = now_s
    assert upload.state is UploadState.DONE
    assert bytes(received) == upload.image
    return n_bytes * BITS_PER_BYTE / baud / end_s, n_said - n_heard


def _take(request: Any, received: bytearray, upload: Upload) -> ImageUploadAnswer | Refusal:
    if not isinstance(request, ImageUploadRequest):
        return Refusal(Rc.NOT_SUPPORTED)
    if request.off == len(received):
        received += request.data
    is_whole = len(received) == len(upload.image)
    return ImageUploadAnswer(len(received), match=True if is_whole else None)


# -- real time -------------------------------------------------------------------------------


def real(case: Case, baud: int, n_bytes: int, seed: int) -> float | None:
    """Share of the rate over pseudo-terminals; None where it cannot be measured."""
    if case.telemetry:  # the agent says what it has to say when it is asked
        return None
    pack = pack_of(n_bytes, seed)
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "board"
        size = () if case.buf_size is None else ("--", "--buf-size", case.buf_size)
        late = 1000 * case.latency_s
        with serving(link, "--baud", baud, "--latency-ms", late, *size):
            send = smpclient_send if case.client == "smpclient" else own_send
            try:
                seconds = send(link, baud, case, pack)
            except ImportError:
                print("SKIPPED: smpclient is not installed", flush=True)
                return None
    return len(pack) * BITS_PER_BYTE / baud / seconds


@contextlib.contextmanager
def serving(link: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    """`edgectl simulate` in a process of its own, until the block ends: the process."""
    command = [sys.executable, "-m", "firmware_tools", "simulate", "--link", link, *words]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    timer = threading.Timer(WAIT_S, process.kill)
    timer.start()
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the simulated board does not start")
        timer.cancel()
        yield process
    finally:
        timer.cancel()
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_S)
        process.stdout.close()


def own_send(link: Path, baud: int, case: Case, pack: bytes) -> float:
    """Seconds that this project's uploader takes."""
    open_port: Callable[[], SerialPort] = lambda: SerialPort(str(link), baud)  # noqa: E731
    with Link(open_port, framing=case.framing, baud=baud) as host:
        start = time.monotonic()
        upload = host.upload(pack, 1)
        if upload.state is not UploadState.DONE:
            raise RuntimeError(f"the upload failed: {upload.refusal}")
        return time.monotonic() - start


def smpclient_send(link: Path, baud: int, case: Case, pack: bytes) -> float:
    """Seconds that smpclient takes, as its own documentation uses it."""
    from smpclient import SMPClient
    from smpclient.transport.serial import SMPSerialTransport

    async def send() -> float:
        async with SMPClient(SMPSerialTransport(baudrate=baud), str(link)) as client:
            start = time.monotonic()
            async for _ in client.upload(pack):
                pass
            return time.monotonic() - start

    return asyncio.run(send())


def pack_of(n_bytes: int, seed: int) -> bytes:
    """A signed pack of about so many bytes, whose encoder is noise: it is staged, never run."""
    encoder = random.Random(seed).randbytes(n_bytes)
    digest = hashlib.sha256(encoder).hexdigest()
    entry = EncoderEntry("encoder.onnx", digest, digest, ("embedding",), (3, 8, 8), "float32")
    members = {"encoder.onnx": Content(len(encoder), digest)}
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    return write_pack(
        Manifest("model", "noise", entry, members, classes=("a", "b")),
        {"encoder.onnx": encoder},
        key,
        version=Version.parse("1.0.0"),
        security_counter=0,
    )


if __name__ == "__main__":
    main(run, __doc__)
