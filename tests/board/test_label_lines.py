"""Labels from lines of JSON: what is one, in which order they are given, and when they end."""

from __future__ import annotations

import errno
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.board.label_lines import MAX_LINE_BYTES, LabelLines, parse_label
from edge_runtime.errors import LabelError, StreamError


def line(sample, label):
    return json.dumps({"sample": sample, "label": label}) + "\n"


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
        b'{"sample": 1, "label": 9223372036854775808}', b'{"sample": 1, "label": "\\ud800"}',
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
    if type(label) is str:
        assert label.encode()
    else:
        assert type(label) is int
        assert -(2**63) <= label < 2**63


def test_a_line_without_end_takes_no_memory(tmp_path):
    (tmp_path / "labels").write_bytes(b"x" * 10**6 + b"\n\n" + line(0, "a").encode())
    refused, taken = all_of(LabelLines(str(tmp_path / "labels")), 0)
    assert isinstance(refused, LabelError)
    assert taken == (0, "a")


def all_of(lines, newest):
    """What a source that ends has, where no more samples come."""
    items = []
    while not lines.has_ended:
        items += lines.until(newest, is_last=True)
        time.sleep(0.001)
    return items


def wait_for_the_reader(lines):
    while lines.waits_for is None:
        assert list(lines.until(-1)) == []
        time.sleep(0.001)


def test_a_label_waits_for_its_sample_and_those_behind_it_wait_too(tmp_path):
    (tmp_path / "labels").write_text(line(0, "a") + line(5, "b") + line(1, "c"))
    lines = LabelLines(str(tmp_path / "labels"))
    wait_for_the_reader(lines)
    while list(lines.until(-1)) != [] or lines._came.qsize() < 2:
        time.sleep(0.001)
    assert list(lines.until(4)) == [(0, "a")]
    assert lines.waits_for == 5
    assert list(lines.until(5)) == [(5, "b"), (1, "c")]
    assert all_of(lines, 5) == []


def test_what_never_came_is_named(tmp_path):
    (tmp_path / "labels").write_text(line(5, "b") + line(1, "c"))
    never, taken = all_of(LabelLines(str(tmp_path / "labels")), 3)
    assert str(never) == "sample 5 has a label, and never came"
    assert taken == (1, "c")


def test_a_named_pipe_does_not_end_where_one_of_its_writers_does(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    lines = LabelLines(str(tmp_path / "pipe"))
    for sample in range(3):
        (tmp_path / "pipe").write_text(line(sample, "a"))
        wait_for_the_reader(lines)
        assert list(lines.until(sample)) == [(sample, "a")]
    assert not lines.has_ended


def test_a_source_that_cannot_be_read_on_says_so(tmp_path, monkeypatch):
    (tmp_path / "labels").write_text(line(0, "a"))

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("edge_runtime.board.label_lines._lines", broken)
    (error,) = all_of(LabelLines(str(tmp_path / "labels")), 0)
    assert "cannot be read on" in str(error)


def test_no_file_is_said_at_once(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(StreamError, match="no such file"):
            LabelLines(str(path))
