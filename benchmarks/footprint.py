"""Memory of a board at work: agent and worker, Lite0 int8, four slots, labels coming in.

A real agent serves a real pack over pseudo-terminals: `edgectl simulate` in a process of its own.
Random images stream in; every label that the board requests is given at once, and those of samples
around it too, so that slots learn and trials of new slots are run. RSS is what the kernel counts as
resident (`/proc/PID/status`, its peak as VmHWM), read while labels come. "Pages of both" counts a
page that the two processes share once: what a board has less of. `run` is `edge-agent run`, which
needs no second process. Peers are what an import of them alone costs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.command import main
from benchmarks.encoder_files import lite0_files
from benchmarks.options import Options
from benchmarks.reporting import ABSENT, Report
from benchmarks.resident import descendants, kilobytes, together
from benchmarks.step import LABELS, N_DOMAINS, made_up, taught
from benchmarks.wire import serving
from edge_runtime import __version__, open_encoder
from edge_runtime.board.files import Files
from edge_runtime.board.images import BoardLimits, ImageStore
from edge_runtime.board.record import Now
from edge_runtime.board.selftest import Verdict
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.pack.container import Version, write_image
from edge_runtime.protocol.wire.edge_messages import (
    LabelEntry,
    LabelsAnswer,
    LabelsRequest,
    StatusAnswer,
    StatusRequest,
)
from firmware_tools.link import Link
from firmware_tools.packing import Ingredients, model_payload
from firmware_tools.ports import SerialPort

BAUD = 921_600
PROFILES = ("small", "standard", "fast")
IMPORTS = ("numpy", "numba", "onnxruntime", "ai_edge_litert.interpreter", "torch")
PACK = "model.pack"
MB = 2**20


@dataclass(frozen=True)
class Use:
    """Bytes of the agent and the worker, at work and at their peak; what both hold together."""

    agent: int
    worker: int
    worker_peak: int
    pages: int

    @property
    def total(self) -> int:
        return self.agent + self.worker


def run(options: Options) -> Report:
    """Measure every profile with every encoder that can be had, then the imports."""
    records: list[dict[str, Any]] = []
    repeats = 1 if options.quick else 3
    for name, path in lite0_files(int8_only=True).items():
        with tempfile.TemporaryDirectory() as folder:
            board = Path(folder) / "board"
            install(path, board, 200 if options.quick else LABELS)
            for profile in PROFILES:
                uses = [measure(path, board, profile, options.quick) for _ in range(repeats)]
                records.append(_record(f"{name}, {profile}", uses))
            for profile in PROFILES:
                uses = [measure_run(path, board, profile, options.quick) for _ in range(repeats)]
                records.append(_record(f"{name}, {profile}, run", uses))
    peers = [{"what": f"import {name}", "total": imported_bytes(name)} for name in IMPORTS]
    torch = peers[-1]["total"]
    return Report(
        name="footprint",
        title="Resident memory of a board at work, MB",
        protocol=(
            "Agent and worker of `edge-agent serve`, EfficientNet-Lite0 int8, "
            f"{N_DOMAINS} slots with adaptors, labels learned while it is measured; medians of "
            f"{repeats} runs. The peak is the worker's, self-test and all. Pages of both: one that "
            "they share is counted once. `run` rows: `edge-agent run`, one process and no serial "
            "line. `import` rows: a fresh interpreter that imports this alone. numba "
            f"{_beside_numba()}."
        ),
        columns=("what", "agent", "worker", "both", "pages of both", "worker's peak", "/ torch"),
        rows=[_row(record, torch) for record in [*records, *peers]],
        records=[*records, *peers],
    )


def _record(name: str, uses: list[Use]) -> dict[str, Any]:
    middle = {
        field: int(median(getattr(use, field) for use in uses))
        for field in ("agent", "worker", "total", "pages", "worker_peak")
    }
    return {"what": name, **middle}


def _row(record: dict[str, Any], torch: int | None) -> list[str]:
    fields = ("agent", "worker", "total", "pages", "worker_peak")
    cells = [f"{record[name] / MB:.0f}" if record.get(name) else ABSENT for name in fields]
    ratio = f"{record['total'] / torch:.2f}" if torch and record["total"] else ABSENT
    return [record["what"], *cells, ratio]


def _beside_numba() -> str:
    """SciPy, where it is installed, is loaded by numba, and counts."""
    import importlib.util

    return "finds SciPy here" if importlib.util.find_spec("scipy") else "without SciPy"


def imported_bytes(module: str) -> int | None:
    """Resident bytes of an interpreter that has imported this module; None if it is not here."""
    code = f"import {module}; print(open('/proc/self/statm').read().split()[1])"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if child.returncode:
        print(f"SKIPPED: {module} is not installed", file=sys.stderr)
        return None
    return int(child.stdout.splitlines()[-1]) * os.sysconf("SC_PAGE_SIZE")


# -- a board at work -------------------------------------------------------------------------


def measure(encoder: Path, board: Path, profile: str, quick: bool) -> Use:
    """Run a copy of a board for some hundred samples, labels included."""
    with tempfile.TemporaryDirectory() as folder:
        link, state = Path(folder) / "board", Path(folder) / "state"
        shutil.copytree(board, state)
        samples = frames(Path(folder) / "frames", encoder)
        stream = ("--stream", f"files:{samples}", "--repeat", "--interval-s", "0.02")
        words = ("--state", state, "--baud", BAUD, *stream, "--", "--profile", profile, "--open")
        with serving(link, *words) as simulator:
            return _teach(link, simulator.pid, n_labels=40 if quick else 200)


def measure_run(encoder: Path, board: Path, profile: str, quick: bool) -> Use:
    """`edge-agent run` with a label for every sample that it answers."""
    wanted = 40 if quick else 400
    with tempfile.TemporaryDirectory() as folder:
        samples = frames(Path(folder) / "frames", encoder)
        command = [
            sys.executable, "-m", "edge_runtime.board", "run", str(board / PACK), "--stream",
            f"files:{samples}", "--repeat", "--labels", "-", "--profile", profile,
            "--learned", f"{folder}/learned",
        ]  # fmt: skip
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        resident = []
        with subprocess.Popen(command, text=True, stderr=subprocess.DEVNULL, **pipes) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            for line in child.stdout:
                sample = json.loads(line).get("sample")
                if sample is None:
                    continue
                print(
                    json.dumps({"sample": sample, "label": sample % 7}),
                    file=child.stdin,
                    flush=True,
                )
                resident.append(kilobytes(child.pid, "VmRSS") * 1024)
                if len(resident) == wanted:
                    break
            peak, pages = kilobytes(child.pid, "VmHWM") * 1024, together([child.pid])
            child.terminate()
            child.stdout.read()
        return Use(0, int(median(resident[wanted // 2 :])), peak, pages)


def frames(directory: Path, encoder_path: Path) -> Path:
    """Random images as files, as the encoder takes them: a stream that costs no memory."""
    spec = open_encoder(encoder_path).input_spec
    assert spec is not None
    directory.mkdir()
    for i in range(16):
        image = np.random.default_rng(i).normal(size=spec.shape)
        np.save(directory / f"{i:02}.npy", image.astype(np.float32))
    return directory


def install(encoder_path: Path, state: Path, labels: int) -> None:
    """Make a board whose pack is confirmed, with a slot for each domain; the pack lies beside."""
    encoder = open_encoder(encoder_path)
    rng = np.random.default_rng(0)
    runtime = taught([made_up(rng, labels) for _ in range(N_DOMAINS)], 8192, encoder)
    with tempfile.TemporaryDirectory() as folder:
        runtime.save(folder)
        parts = Ingredients(classes=runtime.classes, state=Path(folder))
        payload = model_payload("footprint", encoder_path, list(encoder.taps), parts)
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    version = Version.parse("1.0.0")
    for name in ("packs", "keys"):
        (state / name).mkdir(parents=True)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (state / "keys" / "fleet.pem").write_bytes(public)
    files = Files(state / "packs")
    image = write_image(payload, key, version=version, security_counter=0)
    (state / PACK).write_bytes(image)
    files.write("brought", image)
    store, now = ImageStore(files, None, BoardLimits(__version__, ())), Now(0.0, 0.0)
    store.start(now)
    store.stage("brought", now)
    store.test(now, lambda request: Verdict(True))
    store.begin_trial(now)
    store.confirm(now)


def _teach(link: Path, simulator: int, n_labels: int) -> Use:
    """Give labels, reading memory after each handful; medians over the second half."""
    agents: list[int] = []
    workers: list[int] = []
    given = 0
    with Link(lambda: SerialPort(str(link), BAUD), baud=BAUD) as host:
        _wait_for_samples(host)
        while given < n_labels:
            status = host.ask(StatusRequest(), StatusAnswer)
            newest = int(status.runtime["counters"]["samples"]) - 2
            labels = tuple(LabelEntry(i, i % 7) for i in range(max(0, newest - 8), newest))
            given += host.ask(LabelsRequest(labels), LabelsAnswer).accepted
            agents.append(status.agent["agent_bytes"])
            workers.append(status.agent["worker_bytes"])
            time.sleep(0.2)
        pids = [pid for pid in descendants(simulator) if _is_ours(pid)]
        peak = max(kilobytes(pid, "VmHWM") for pid in pids)
        pages = together(pids)
    half = len(agents) // 2
    return Use(int(median(agents[half:])), int(median(workers[half:])), peak * 1024, pages)


def _wait_for_samples(host: Link) -> None:
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        status = host.ask(StatusRequest(), StatusAnswer)
        if status.runtime.get("counters", {}).get("samples", 0) > 16:
            return
        time.sleep(0.2)
    raise EdgeRuntimeError(f"the board does not run: {status.agent.get('trouble')}")


def _is_ours(pid: int) -> bool:
    return b"edge_runtime" in Path(f"/proc/{pid}/cmdline").read_bytes()


if __name__ == "__main__":
    main(run, __doc__)
