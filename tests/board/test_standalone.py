"""`edge-agent run --labels`: what teaches a board that nobody's cable reaches."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from edge_runtime.board import standalone
from edge_runtime.board.__main__ import main
from edge_runtime.board.inbox import Inbox
from edge_runtime.board.label_lines import LabelLines
from edge_runtime.errors import BudgetError, StreamError
from edge_runtime.inputs.encoders import open_encoder
from edge_runtime.protocol.pack.opening import prepare
from edge_runtime.runtime import EdgeRuntime
from tests.board.test_label_lines import line, wait_for_the_reader
from tests.protocol.packs.conftest import RAW, samples

N = 20


@pytest.fixture
def counters(workshop):
    """What a directory's learned state has counted."""

    def load(directory):
        encoder = prepare(open_encoder(workshop.encoder), RAW)
        return EdgeRuntime.load(directory, encoder).status()["counters"]

    return load


@pytest.fixture
def before(workshop, counters):
    """Of what the pack brings."""
    return counters(workshop.learn("learned"))


@pytest.fixture
def start(workshop):
    """The id of the first sample, after those that the pack's state was learned from."""
    encoder = prepare(open_encoder(workshop.encoder), RAW)
    return EdgeRuntime.load(workshop.learn("learned"), encoder).step(samples(1)[0]).sample_id


@pytest.fixture
def words(workshop, tmp_path):
    """What runs a pack on a table of samples, learned state kept."""
    (tmp_path / "demo.pack").write_bytes(workshop.model(state=workshop.learn("learned")))
    np.save(tmp_path / "x.npy", samples(N))
    table = f"table:{tmp_path / 'x.npy'}"
    return [
        "run", str(tmp_path / "demo.pack"), "--stream", table, "--learned", str(tmp_path / "mine"),
    ]  # fmt: skip


def said_by(capsys):
    return [json.loads(each) for each in capsys.readouterr().out.splitlines()]


def test_labels_of_a_file_are_learned(words, start, before, counters, tmp_path, capsys):
    (tmp_path / "labels").write_text(
        "".join(line(start + i, ["dark", "bright"][i % 2]) for i in range(0, N, 2))
    )
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    assert [each for each in said_by(capsys) if each.get("event") == "label_refused"] == []
    assert counters(tmp_path / "mine")["labels"] == before["labels"] + N // 2


def test_a_bad_label_is_refused_and_the_run_goes_on(words, start, tmp_path, capsys):
    (tmp_path / "labels").write_text(
        line(start, "dark") + "hello\n" + line(start + 1, 7) + line(999, "x")
    )
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    said = said_by(capsys)
    assert sum("sample" in each for each in said) == N
    refused = [each["message"] for each in said if each.get("event") == "label_refused"]
    assert [words in text for words, text in zip(
        ("'hello' is no label", "classes so far", "never came"), refused, strict=True,
    )] == [True] * 3  # fmt: skip
    waiting = [each["message"] for each in said if each.get("event") == "waiting"]
    assert len(waiting) <= 1  # none where the reader was slower than the samples
    assert all("of sample 999, which has not come" in text for text in waiting)


def test_a_label_that_finds_no_room_is_refused_too(words, start, tmp_path, capsys, monkeypatch):
    def no_room(*_):
        raise BudgetError("a new class does not fit")

    monkeypatch.setattr(EdgeRuntime, "learn", no_room)
    (tmp_path / "labels").write_text(line(start, "new"))
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    (refused,) = [each for each in said_by(capsys) if each.get("event") == "label_refused"]
    assert refused["message"] == "a new class does not fit"


def test_samples_and_labels_cannot_both_be_standard_input(words, capsys):
    words[words.index("--stream") + 1] = "stdin"
    assert main([*words, "--labels", "-"]) == 1
    assert "name a pipe for one" in capsys.readouterr().err


def test_no_samples_at_all_are_no_error(words, tmp_path, capsys):
    words[words.index("--stream") + 1] = "none"
    assert main(words) == 0
    assert main([*words, "--limit", "0"]) == 0
    assert sum("sample" in each for each in said_by(capsys)) == 0


def test_a_full_disk_is_reported_and_tried_again(
    words, start, before, counters, tmp_path, capsys, monkeypatch
):
    (tmp_path / "labels").write_text("".join(line(start + i, "dark") for i in range(0, N, 2)))
    clock = itertools.count(0.0, 20.0)
    run = standalone.Run.go_on
    monkeypatch.setattr(
        standalone.Run, "go_on", lambda self, *given: run(self, *given[:3], lambda: next(clock))
    )
    save, tried = EdgeRuntime.save, []

    def full_at_first(runtime, directory):
        tried.append(directory)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(runtime, directory)

    monkeypatch.setattr(EdgeRuntime, "save", full_at_first)
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    unsaved = [each["message"] for each in said_by(capsys) if each.get("event") == "unsaved"]
    assert len(unsaved) == 1
    assert "No space left" in unsaved[0]
    assert len(tried) >= 3  # tried again on the way, and in the end
    assert counters(tmp_path / "mine")["labels"] == before["labels"] + N // 2


def test_where_there_is_no_slot_yet_nothing_is_saved(tmp_path):
    run = standalone.Run(EdgeRuntime(), tmp_path / "mine", None)
    run._plan.changed(0.0)
    run._tend(1e9)
    assert run.save() == 0
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("error", [StreamError("the cable is out"), RuntimeError("no such camera")])
def test_what_was_learned_is_saved_where_the_stream_fails(
    words, start, before, counters, tmp_path, capsys, monkeypatch, error
):
    lines = []

    def unplugged():
        yield from samples(4)
        wait_for_the_reader(lines[0])
        raise error

    def labels(source):
        lines.append(LabelLines(source))
        return lines[0]

    monkeypatch.setattr("edge_runtime.board.streams.open_stream", lambda *_, **__: unplugged())
    monkeypatch.setattr(standalone, "LabelLines", labels)
    (tmp_path / "labels").write_text(line(start, "dark") + line(start + 4, "dark"))
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 1
    assert str(error) in capsys.readouterr().err
    taught = counters(tmp_path / "mine")
    assert (taught["samples"], taught["labels"]) == (4, before["labels"] + 1)


@contextmanager
def started(words, tmp_path):
    """A run in a process of its own, taught over a pipe, whose first line has come."""
    os.mkfifo(tmp_path / "pipe")
    program = [sys.executable, "-m", "edge_runtime.board", *words, "--labels", tmp_path / "pipe"]
    with subprocess.Popen(
        list(map(str, program)), stdout=subprocess.PIPE, text=True, preexec_fn=_heed_signals
    ) as child:
        timer = threading.Timer(120, child.kill)
        timer.start()
        try:
            assert json.loads(child.stdout.readline())["classes"] == ["dark", "bright"]
            yield child
        finally:
            timer.cancel()
            child.kill()


def _heed_signals():
    """Whatever has started the tests may ignore some, and so would its children: nohup, a CI."""
    for number in standalone.SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def until(child, text):
    for said in child.stdout:
        if text in said:
            return
    pytest.fail(f"it ended without {text!r}")


@pytest.mark.parametrize("number", standalone.SIGNALS)
def test_labels_come_over_a_pipe_and_a_signal_ends_the_run(
    words, start, before, counters, tmp_path, number
):
    with started([*words, "--repeat", "--interval", "0.01"], tmp_path) as child:
        assert json.loads(child.stdout.readline())["sample"] == start
        for text in (line(start, "dark"), "hello\n"):  # refused: the one before was learned
            (tmp_path / "pipe").write_text(text)
        until(child, "is no label")
        child.send_signal(number)
        child.send_signal(number)  # of somebody who cannot wait
        child.stdout.read()
        assert child.wait(timeout=60) == 0
    assert counters(tmp_path / "mine")["labels"] > before["labels"]


def test_labels_are_learned_where_no_more_samples_come(words, start, before, counters, tmp_path):
    with started(words, tmp_path) as child:
        until(child, f'"sample": {start + N - 1}')
        (tmp_path / "pipe").write_text(line(start, "dark"))
        (tmp_path / "pipe").write_text("hello\n")
        until(child, "is no label")
        child.terminate()
        assert child.wait(timeout=60) == 0
    assert counters(tmp_path / "mine")["labels"] == before["labels"] + 1


def test_a_flood_of_labels_stops_no_answers(words, start, tmp_path):
    def flood():
        with suppress(BrokenPipeError), (tmp_path / "pipe").open("w") as pipe:
            while True:
                pipe.write(line(start, "dark") + "hello\n")

    with started([*words, "--repeat"], tmp_path) as child:
        writer = threading.Thread(target=flood)
        writer.start()
        until(child, "is no label")
        until(child, f'"sample": {start + 10}')
        child.terminate()
        child.stdout.read()
        assert child.wait(timeout=60) == 0
        writer.join(timeout=60)
    assert not writer.is_alive()


def test_labels_that_never_found_their_samples_are_refused_once(words, tmp_path, capsys):
    (tmp_path / "labels").write_text("".join(line(10**6 + i, "dark") for i in range(200)))
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    refused = [each["message"] for each in said_by(capsys) if each.get("event") == "label_refused"]
    assert refused == [f"sample {10**6 + i} has a label, and never came" for i in range(200)]


def test_samples_that_were_lost_are_counted(capsys):
    inbox = Inbox(is_live=True)
    for _ in range(20):
        inbox.put_sample(np.zeros(3))
    inbox.end_samples("")
    standalone.Run(EdgeRuntime(), None, None).go_on(inbox, None, standalone.Stop(), lambda: 0.0)
    lost = [each["message"] for each in said_by(capsys) if each.get("event") == "overrun"]
    assert lost == ["4 samples came faster than they were answered, and are lost"]


def test_signals_that_are_ignored_stay_ignored():
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        stop = standalone.Stop()
        signal.raise_signal(signal.SIGHUP)
        assert not stop.is_asked
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_asked
        stop.restore()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, usual)
        signal.signal(signal.SIGTERM, terminate)
