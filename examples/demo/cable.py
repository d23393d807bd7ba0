"""The cable: pack, sign, push, watch, label, undo and report a board that is simulated.

Every step is an `edgectl` command as a person would type it; the board is `edgectl simulate`, the
real agent behind a line of 921,600 baud. Lite0 is quantised first, so that it travels in a minute.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime import EdgeRuntime, open_encoder
from edge_runtime.protocol.pack.manifest import Preprocessing
from edge_runtime.protocol.pack.opening import prepare
from examples.datasets import digits
from examples.datasets.archives import PROJECT, cache_dir
from examples.datasets.lite0 import IMAGE_SIZE, lite0_path
from examples.demo.stages import Images, Labels, Stage, build, inputs
from firmware_tools.encoder_tools.quantise import quantise_encoder

BAUD = 921_600
STREAM = "python:examples.demo.cable:samples"
FIRST = 300  # labelled digits that the pack's state has learned
CALIBRATION, CANARIES = 24, 5
KNOWN, CHANGED = 60, 500  # samples of the board's stream before and after the camera changes
INTERVAL_S = 0.08
WATCH_S = 120.0
STOP_S = 60.0
# A camera gives bytes; the pack says how the encoder wants them: (x - 127) / 128.
PREPARED = Preprocessing((1 / 128,), (-127 / 128,))


def samples() -> Iterator[npt.NDArray[np.uint8]]:
    """The board's own stream; the agent calls this."""
    _, _, stages = build(0)
    for stage, n in _stretches(stages):
        yield from raw(stage.images[:n])


def raw(images: Images) -> Iterator[npt.NDArray[np.uint8]]:
    """Grey images as a camera would give them, channels first."""
    for image in images:
        yield digits.to_rgb(image[None], IMAGE_SIZE)[0].transpose(2, 0, 1)


def _stretches(stages: list[Stage]) -> list[tuple[Stage, int]]:
    named = {stage.name: stage for stage in stages}
    return [(named["handwritten"], KNOWN), (named["printed"], CHANGED)]


def run_cable(
    folder: Path,
    images: Images,
    labels: Labels,
    stages: list[Stage],
    say: Callable[[str], None],
    baud: int = BAUD,
) -> None:
    """Play the whole act; its files land in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say("Quantising Lite0, and learning a few labelled digits on it ...")
    encoder = _make_parts(folder, images, labels)
    _write_answers(folder / "answers.csv", stages)
    edgectl = Edgectl(folder, baud)
    edgectl("keygen", "key.pem")
    edgectl(
        "pack", "--encoder", encoder, "--key", "key.pem", "--name", "digits", "--version", "1.0.0",
        "--scale", *PREPARED.scale, "--offset", *PREPARED.offset, "--state", "learned",
        "--canaries", "canaries.npy", "--canary-labels", "canaries.txt", "-o", "digits.pack",
    )  # fmt: skip
    edgectl("inspect", "digits.pack", "--key", "key.pub.pem")
    with edgectl.board("--pin", "key.pub.pem", "--stream", STREAM):
        edgectl("push", "digits.pack", "--key", "key.pem", "--confirm")
        edgectl(
            "monitor", "--answers", "answers.csv", "--key", "key.pem", "--until", "grown",
            "--for-s", WATCH_S, "--interval-s", 2, "--log", "board.log",
        )  # fmt: skip
        edgectl("status")
        edgectl("undo", "--to", "growth", "--key", "key.pem")
    edgectl("report", "board.log", "-o", "board.html", "--title", "The board behind the cable")


def _make_parts(folder: Path, images: Images, labels: Labels) -> Path:
    """Encoder, learned state and canaries, as files; the encoder's path."""
    encoder = cache_dir().resolve() / "efficientnet_lite0_int8.onnx"
    if not encoder.exists():
        quantise_encoder(lite0_path(), encoder, np.stack(list(inputs(images[-CALIBRATION:]))))
    runtime = EdgeRuntime(prepare(open_encoder(encoder, threads=2), PREPARED))
    runtime.learn_many(list(raw(images[:FIRST])), labels[:FIRST].tolist())
    runtime.save(folder / "learned")
    held_back = slice(FIRST, FIRST + CANARIES)
    np.save(folder / "canaries.npy", np.stack(list(raw(images[held_back]))))
    (folder / "canaries.txt").write_text("".join(f"{y}\n" for y in labels[held_back]))
    return encoder


def _write_answers(path: Path, stages: list[Stage]) -> None:
    """What a person at the cable would know: the label of every sample of the stream.

    The samples that the state was learned from have the numbers before.
    """
    known = np.concatenate([stage.labels[:n] for stage, n in _stretches(stages)])
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sample", "label"])
        rows.writerows(enumerate(known.tolist(), start=FIRST))


class Edgectl:
    """Runs commands in a folder, each shown as it would be typed."""

    def __init__(self, folder: Path, baud: int) -> None:
        self._folder, self._baud = folder, baud
        search = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
        self._environment = {
            **os.environ, "PYTHONPATH": search, "EDGECTL_PORT": "./board",
            "EDGECTL_BAUD": str(baud), "COLUMNS": "100",
        }  # fmt: skip

    def _command(self, words: tuple[object, ...]) -> list[str]:
        print("\n$ edgectl", *(Path(w).name if isinstance(w, Path) else w for w in words))
        sys.stdout.flush()
        return [sys.executable, "-m", "firmware_tools", *map(str, words)]

    def __call__(self, *words: object) -> None:
        """One command, whose failure ends the demo."""
        subprocess.run(self._command(words), check=True, cwd=self._folder, env=self._environment)

    @contextmanager
    def board(self, *words: object) -> Iterator[None]:
        """A simulated board, while the block runs."""
        line = ("--link", "board", "--baud", self._baud, "--interval-s", INTERVAL_S)
        process = subprocess.Popen(
            self._command(("simulate", *line, *words)),
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        timer = threading.Timer(STOP_S, process.kill)
        timer.start()
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the simulated board did not start: see above")
            print("ready", flush=True)
            timer.cancel()
            yield
        finally:
            timer.cancel()
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S)
            process.stdout.close()
