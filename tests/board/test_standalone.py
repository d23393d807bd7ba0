"""`edge-agent run --labels`: what teaches a board that nobody's cable reaches."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.board import standalone
from edge_runtime.board.__main__ import main
from edge_runtime.board.label_lines import MAX_LINE_BYTES, LabelLines, parse_label
from edge_runtime.encoders import open_encoder
from edge_runtime.errors import LabelError, StreamError
from edge_runtime.pack.opening import prepare
from edge_runtime.runtime import EdgeRuntime
from tests.packs.conftest import RAW, samples

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
def start(before):
    """The id of the first sample."""
    return before["samples"]


@pytest.fixture
def words(workshop, tmp_path):
    """What runs a pack on a table of samples, learned state kept."""
    (tmp_path / "demo.pack").write_bytes(workshop.model(state=workshop.learn("learned")))
    np.save(tmp_path / "x.npy", samples(N))
    table = f"table:{tmp_path / 'x.npy'}"
    return [
        "run", str(tmp_path / "demo.pack"), "--stream", table, "--learned", str(tmp_path / "mine"),
    ]  # fmt: skip


def line(sample, label):
    return json.dumps({"sample": sample, "label": label}) + "\n"


def said_by(capsys):
    return [json.loads(each) for each in capsys.readouterr().out.splitlines()]


# -- lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (b'{"sample": 17, "label": "dog"}', (17, "dog")),
        (b' {"label": 3, "sample": 0}\r', (0, 3)),
        ('{"sample": 1, "label": "Hörnchen"}'.encode(), (1, "Hörnchen")),
    ],
)
def test_a_line_is_a_sample_and_its_label(text, meant):
    assert parse_label(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        b"", b"17 dog", b"[17, 3]", b'{"sample": 17}', b'{"sample": "17", "label": 1}',
        b'{"sample": true, "label": 1}', b'{"sample": 1, "label": false}',
        b'{"sample": 1, "label": 1.5}', b'{"sample": 1, "label": NaN}',
        b'{"sample": -1, "label": 1}', b'{"sample": 1e3, "label": 1}', b'{"sample": 1, "label": 1',
        b'{"sample": 9223372036854775808, "label": 1}', b'{"sample": 1, "label": "\xff"}',
        b'{"sample": 1, "label": 1, "more": 1}', b"[" * 1000, b"9" * 1000,
        b'{"sample": 1, "label": "' + b"x" * MAX_LINE_BYTES + b'"}',
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(text):
    with pytest.raises(LabelError, match=r'expected a line such as {"sample": 17'):
        parse_label(text)


@given(st.binary(max_size=2000))
def test_no_bytes_do_more_than_be_refused(text):
    try:
        sample, label = parse_label(text)
    except LabelError:
        return
    assert 0 <= sample < 2**63
    assert type(label) in (int, str)


def test_a_line_without_end_takes_no_memory(tmp_path):
    (tmp_path / "labels").write_bytes(b"x" * 10**6 + b"\n\n" + line(0, "a").encode())
    refused, taken = LabelLines(str(tmp_path / "labels")).rest(0)
    assert isinstance(refused, LabelError)
    assert taken == (0, "a")


def test_a_label_waits_for_its_sample_and_those_behind_it_wait_too(tmp_path):
    (tmp_path / "labels").write_text(line(0, "a") + line(5, "b") + line(1, "c"))
    lines = LabelLines(str(tmp_path / "labels"))
    wait_for_the_reader(lines)
    assert list(lines.until(-1)) == []
    assert list(lines.until(4)) == [(0, "a")]
    assert lines.waits_for == 5
    assert list(lines.until(5)) == [(5, "b"), (1, "c")]
    assert list(lines.rest(5)) == []
    assert list(lines.rest(5)) == []


def wait_for_the_reader(lines):
    while lines.waits_for is None:
        assert list(lines.until(-1)) == []
        time.sleep(0.001)


def test_what_never_came_is_named(tmp_path):
    (tmp_path / "labels").write_text(line(5, "b") + line(1, "c"))
    never, taken = LabelLines(str(tmp_path / "labels")).rest(3)
    assert str(never) == "sample 5 has a label, and never came"
    assert taken == (1, "c")


def test_no_file_is_said_at_once(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(StreamError, match="no such file"):
            LabelLines(str(path))


# -- runs ---------------------------------------------------------------------------------------


def test_labels_of_a_file_are_learned(words, start, before, counters, tmp_path, capsys):
    (tmp_path / "labels").write_text(
        "".join(line(start + i, ["dark", "bright"][i % 2]) for i in range(0, N, 2))
    )
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    assert [each for each in said_by(capsys) if each.get("event") == "rejected"] == []
    assert counters(tmp_path / "mine")["labels"] == before["labels"] + N // 2


def test_a_bad_label_is_refused_and_the_run_goes_on(words, start, tmp_path, capsys):
    (tmp_path / "labels").write_text(
        line(start, "dark") + "hello\n" + line(start, "dark") + line(start + 1, 7) + line(999, "x")
    )
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    said = said_by(capsys)
    assert sum("sample" in each for each in said) == N
    refused = [each["message"] for each in said if each.get("event") == "rejected"]
    assert [words in text for words, text in zip(
        ("'hello' is no label", "has its label already", "classes so far", "never came"), refused,
        strict=True,
    )] == [True] * 4  # fmt: skip
    waiting = [each["message"] for each in said if each.get("event") == "waiting"]
    assert len(waiting) <= 1  # none where the reader was slower than the samples
    assert all("of sample 999, which has not come" in text for text in waiting)


def test_samples_and_labels_cannot_both_be_standard_input(words, capsys):
    words[words.index("--stream") + 1] = "stdin"
    assert main([*words, "--labels", "-"]) == 1
    assert "name a pipe for one" in capsys.readouterr().err


def test_a_full_disk_is_reported_and_tried_again(
    words, start, before, counters, tmp_path, capsys, monkeypatch
):
    (tmp_path / "labels").write_text("".join(line(start + i, "dark") for i in range(0, N, 2)))
    clock = itertools.count(0.0, 20.0)
    monkeypatch.setattr(standalone.time, "monotonic", lambda: next(clock))
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


def test_what_was_learned_is_saved_where_the_stream_fails(
    words, start, before, counters, tmp_path, capsys, monkeypatch
):
    def unplugged():
        yield from samples(4)
        raise StreamError("the sensor is gone")

    monkeypatch.setattr("edge_runtime.board.streams.open_stream", lambda *_, **__: unplugged())
    (tmp_path / "labels").write_text(line(start, "dark"))
    lines = LabelLines(str(tmp_path / "labels"))
    wait_for_the_reader(lines)
    monkeypatch.setattr(standalone, "LabelLines", lambda _: lines)
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 1
    assert "the sensor is gone" in capsys.readouterr().err
    taught = counters(tmp_path / "mine")
    assert (taught["samples"], taught["labels"]) == (start + 4, before["labels"] + 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_labels_come_over_a_pipe_and_a_signal_ends_the_run(
    words, start, counters, tmp_path, number
):
    os.mkfifo(tmp_path / "pipe")
    words += ["--labels", str(tmp_path / "pipe"), "--repeat", "--interval", "0.01"]
    program = [sys.executable, "-m", "edge_runtime.board", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
        assert json.loads(child.stdout.readline())["classes"] == ["dark", "bright"]
        answer = json.loads(child.stdout.readline())
        assert answer["sample"] == start
        with (tmp_path / "pipe").open("w") as pipe:
            pipe.write(line(start, "dark") + line(start, "dark"))
        for text in child.stdout:  # the second one is refused: the first was learned
            if "has its label already" in text:
                break
        child.send_signal(number)
        child.stdout.read()
        assert child.wait(timeout=60) == 0
    assert counters(tmp_path / "mine")["samples"] > start


def test_a_signal_in_the_middle_of_a_step_waits_for_its_end():
    stop, done = standalone.Stop(), []

    def step():
        with stop.held_off():
            signal.raise_signal(signal.SIGTERM)
            done.append("all of it")

    try:
        with pytest.raises(KeyboardInterrupt):
            step()
        assert done == ["all of it"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        stop.restore()
