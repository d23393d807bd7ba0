"""A live ``edgectl simulate`` in a process of its own, and packs to push to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.protocol.packs.conftest import Workshop, samples
from tests.protocol.packs.making import KEY

READY_S = 60


class Simulated:
    """Running when made; `close` ends it and returns its exit code."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.path = directory / "board"
        words = map(str, ("simulate", "--link", self.path, "--baud", 921600, *arguments))
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "firmware_tools", *words],
            stdout=subprocess.PIPE,
            env=environment,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        timer = threading.Timer(READY_S, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        timer.cancel()
        assert line == "ready\n", f"the simulator said {line!r}"

    def close(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code

    def edgectl(self, *arguments: object, code: int = 0) -> str:
        """Standard output of a command on this board."""
        port = ("--port", self.path, "--baud", 921600)
        command = [sys.executable, "-m", "firmware_tools", *map(str, (*arguments, *port))]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2]
        )
        assert done.returncode == code, done.stderr
        return done.stdout


def make_packs(workshop: Workshop) -> dict[str, Path]:
    """Two versions of a model that has learned, a stream that changes, and the public key."""
    learned = workshop.learn("learned")
    parts = {"state": learned, "classes": ["dark", "bright"], **workshop.canaries()}
    paths = {}
    for version in ("1.0.0", "1.1.0"):
        paths[version] = workshop.directory / f"{version}.pack"
        paths[version].write_bytes(workshop.model(version, **parts))
    changed = samples(400, seed=6)[:, :, ::-1] * -1 + 0.8
    stream = np.concatenate([samples(100, seed=5), changed])
    paths["stream"] = workshop.directory / "stream.npy"
    np.save(paths["stream"], stream)
    paths["public"] = workshop.directory / "key.pub.pem"
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    paths["public"].write_bytes(pem)
    return paths
