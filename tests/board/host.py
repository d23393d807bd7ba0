"""A host at a pseudo-terminal, and an agent at the other end: what every test here stands on."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import tty

from edge_runtime.protocol.wire.client import Answered, Client, GaveUp
from edge_runtime.protocol.wire.edge_messages import (
    AuthoriseRequest,
    ChallengeRequest,
    StatusRequest,
    authorisation_text,
)
from edge_runtime.protocol.wire.framing import Framing, Text
from edge_runtime.protocol.wire.messages import (
    EchoRequest,
    ImageStateRequest,
    ResetRequest,
    SetImageStateRequest,
)
from edge_runtime.protocol.wire.smp import Refusal
from edge_runtime.protocol.wire.upload import Upload, UploadState

START_S = 30.0
# One that outlived its test would wait for a terminal of the same name to return.
AGENT = """
import sys
from edge_runtime.board import __main__, worker
worker.die_with_parent()
sys.exit(__main__.main())
"""


class AgentGone(Exception):
    """The process that should answer has ended."""


class Host:
    """Asks, and waits for answers, over a file descriptor."""

    def __init__(self, fd, *, framing=Framing.COBS, buf_size=4096):
        self.fd, self.buf_size, self.framing = fd, buf_size, framing
        self.reconnect()
        self.heard, self.lines = [], []
        self.is_alive = lambda: True

    def turn(self, wait_s=0.05):
        if not self.is_alive():
            raise AgentGone
        out = self.client.send(time.monotonic())
        while out:
            out = out[os.write(self.fd, out) :]
        ready, _, _ = select.select([self.fd], [], [], wait_s)
        data = b""
        if ready:
            with contextlib.suppress(OSError):
                data = os.read(self.fd, 65536)
        for event in self.client.receive(data, time.monotonic()):
            (self.lines if isinstance(event, Text) else self.heard).append(event)

    def reconnect(self):
        """Whoever was there before is gone, and with it what was asked."""
        self.client = Client(
            framing=self.framing, max_message=self.buf_size, window=4,
            first_sequence=int(time.monotonic() * 1000) & 0xFF,
        )  # fmt: skip

    def ask(self, request, timeout_s=20.0):
        """The answer or refusal; AssertionError if none comes."""
        ticket = self.client.request(request)
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.turn()
            for event in self.heard:
                if isinstance(event, Answered) and event.ticket == ticket:
                    self.heard.clear()
                    return event.answer
                if isinstance(event, GaveUp) and event.ticket == ticket:
                    raise AssertionError(f"gave up asking {request}")
        raise AssertionError(f"no answer to {request} within {timeout_s} s")

    def upload(self, data, timeout_s=60.0):
        upload = Upload(data, max_message=self.buf_size)
        self.client.upload(upload)
        end = time.monotonic() + timeout_s
        while not upload.is_over and time.monotonic() < end:
            self.turn()
        self.heard.clear()
        return upload

    def status(self):
        return self.ask(StatusRequest())

    def authorise(self, key):
        from hashlib import sha256

        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        challenge = self.ask(ChallengeRequest())
        text = authorisation_text(challenge.nonce, challenge.board)
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return self.ask(AuthoriseRequest(sha256(der).digest(), key.sign(text)))

    def wait(self, is_so, timeout_s=START_S):
        """The first status for which `is_so`."""
        end = time.monotonic() + timeout_s
        status = None
        while time.monotonic() < end:
            status = self.status()
            if not isinstance(status, Refusal) and is_so(status):
                return status
            time.sleep(0.05)
        raise AssertionError(f"not so within {timeout_s} s: {status}")

    def install(self, data, *, confirm=True):
        """Push, test, reset, and confirm."""
        upload = self.upload(data)
        assert upload.state is UploadState.DONE, upload.refusal
        new = next(each for each in self.ask(ImageStateRequest()).images if each.slot == 1)
        marked = self.ask(SetImageStateRequest(new.hash))
        assert not isinstance(marked, Refusal), marked
        self.ask(ResetRequest())
        self.wait(lambda s: s.agent["phase"] == "trial" and s.agent["worker"] == "ready")
        if confirm:
            self.ask(SetImageStateRequest(confirm=True))
            self.wait(lambda s: s.agent["phase"] == "confirmed")


class AgentProcess:
    """``edge-agent serve`` on a pseudo-terminal."""

    def __init__(self, state, *arguments, buf_size=4096, framing=Framing.COBS):
        self.state, self.arguments = state, arguments
        self.master, slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(slave)
        self.slave = slave
        self.port = os.ttyname(slave)
        self.buf_size = buf_size
        self.process = None
        self.host = Host(self.master, buf_size=buf_size, framing=framing)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        os.close(self.master)
        os.close(self.slave)

    def start(self):
        command = [
            sys.executable, "-c", AGENT, "serve", "--port", self.port,
            "--state", str(self.state), "--buf-size", str(self.buf_size), *self.arguments,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE)
        self.host.is_alive = lambda: self.process.poll() is None
        self.host.reconnect()
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(AssertionError, AgentGone):
                self.host.ask(EchoRequest("up?"), timeout_s=1.0)
                return self
        raise AssertionError(f"the agent did not start: {self.process.stderr.read().decode()}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            finally:
                self.kill()
