from __future__ import annotations

import io
import os
import warnings
from itertools import islice, pairwise

import numpy as np
import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.errors import SampleError, StreamError
from edge_runtime.inputs import sources
from edge_runtime.inputs.encoders import IdentityEncoder
from edge_runtime.inputs.features import FeatureReader
from edge_runtime.inputs.sources import (
    BadSample,
    from_files,
    from_lines,
    from_serial,
    from_table,
    windows,
)


def values(samples):
    return [each.reason if isinstance(each, BadSample) else each.tolist() for each in samples]


class Chunked:
    """A binary file that gives its bytes in the pieces it is told to."""

    def __init__(self, pieces):
        self.pieces = iter(pieces)

    def read1(self, size):
        return next(self.pieces, b"")


@pytest.mark.parametrize("encoder", [None, IdentityEncoder(3)])
def test_a_bad_sample_is_refused_by_the_runtime_with_its_reason(encoder):
    with pytest.raises(SampleError, match=r"^line 3: why$"):
        FeatureReader(encoder).read([BadSample("line 3: why")])


# -- lines ----------------------------------------------------------------------------------


def test_lines_of_numbers_become_samples_whatever_separates_them():
    text = b"1,2.5\r\n3 4\n\n  \n5,\t-6e1\n nan inf \n7 8"
    expected = [[1, 2.5], [3, 4], [5, -60], [np.nan, np.inf], [7, 8]]
    np.testing.assert_array_equal(values(from_lines(io.BytesIO(text))), expected)


@pytest.mark.parametrize("line", [b"abc", b"1,,2", b"1 2 x", b"\xff\xfe", b"1;2", b"\x00", b"0x10"])
def test_a_line_that_is_no_numbers_is_a_bad_sample_and_the_next_is_read(line):
    bad, good = from_lines(io.BytesIO(line + b"\n1 2\n"))
    assert isinstance(bad, BadSample)
    assert bad.reason.startswith("line 1: ")
    assert good.tolist() == [1, 2]


def test_what_is_shown_of_a_bad_line_is_short_and_printable():
    (bad,) = from_lines(io.BytesIO(b"\x1b[2J" + b"x" * 5000))
    assert len(bad.reason) < 100
    assert bad.reason.isprintable()


@pytest.mark.parametrize("end", [b"\n1\n", b"\r\n1", b"\n 1 \n\n"])
def test_a_line_too_long_is_a_bad_sample_and_takes_no_more_memory(end):
    chunks = [b"1 " * 1000] * 500 + [end]
    bad, good = from_lines(Chunked(chunks))
    assert bad.reason == f"line 1 is longer than {sources.MAX_LINE_BYTES} bytes"
    assert good.tolist() == [1]


def test_a_line_as_long_as_allowed_is_read():
    line = b"1 ".ljust(sources.MAX_LINE_BYTES)
    assert values(from_lines(io.BytesIO(line + b"\n" + line + b" "))) == [
        [1],
        f"line 2 is longer than {sources.MAX_LINE_BYTES} bytes",
    ]


def test_a_line_of_too_many_values_is_a_bad_sample():
    most = b",".join([b"1"] * sources.MAX_VALUES)
    good, bad = from_lines(io.BytesIO(most + b"\n" + most + b",1\n"))
    assert len(good) == sources.MAX_VALUES
    assert bad.reason == f"line 2 has more than {sources.MAX_VALUES} values"


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n"])
def test_an_empty_stream_is_an_error_at_its_end(content):
    with pytest.raises(StreamError, match="is empty, expected at least one sample"):
        list(from_lines(io.BytesIO(content)))


def test_a_text_file_is_refused_with_the_remedy():
    with pytest.raises(StreamError, match=r"pass sys\.stdin\.buffer"):
        from_lines(io.StringIO("1 2"))


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=20))
def test_lines_do_not_depend_on_how_bytes_arrive(data, cuts):
    bounds = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(bounds)]
    expected = data.split(b"\n")
    assert list(sources._split_lines(pieces)) == expected[: None if expected[-1] else -1]


@given(st.binary(max_size=100))
def test_any_bytes_give_samples_or_an_empty_stream(data):
    try:
        samples = list(from_lines(io.BytesIO(data)))
    except StreamError:
        assert not data.strip(b" \t\n\r\v\f")
    else:
        assert all(isinstance(each, BadSample | np.ndarray) for each in samples)


@given(
    st.lists(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5), min_size=1, max_size=5),
    st.sampled_from([",", " ", ", "]),
)
def test_numbers_come_back_as_they_were_written(rows, separator):
    text = "\n".join(separator.join(map(repr, row)) for row in rows)
    assert values(from_lines(io.BytesIO(text.encode()))) == rows


# -- files ----------------------------------------------------------------------------------


def test_files_of_a_folder_come_by_name_without_the_hidden_ones(tmp_path):
    for name in ("b.npy", "a.npy", "c.npy"):
        np.save(tmp_path / name, np.array([ord(name[0])]))
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    assert values(from_files(tmp_path)) == [[97], [98], [99]]
    assert values(from_files([tmp_path / "c.npy", str(tmp_path / "a.npy")])) == [[99], [97]]


def test_whatever_load_raises_makes_one_bad_sample(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text(name)

    def load(path):
        if path.name == "b":
            raise RuntimeError("decoder ran into the sand")
        return np.array([1.0])

    found = values(from_files(tmp_path, load))
    assert found == [[1], f"{tmp_path / 'b'}: RuntimeError: decoder ran into the sand", [1]]


@pytest.mark.parametrize("damage", ["empty", "truncated", "pickled", "oversized", "foreign"])
def test_a_damaged_npy_is_a_bad_sample(tmp_path, damage):
    path = tmp_path / "x.npy"
    objects = np.array([{}], object)
    np.save(path, objects if damage == "pickled" else np.zeros(8), allow_pickle=True)
    data = path.read_bytes()
    damaged = {
        "empty": b"",
        "truncated": data[:-9],
        "oversized": data.replace(b"(8,), }         ", b"(800000000,), } "),
        "foreign": b"PK\x03\x04",
    }
    path.write_bytes(damaged.get(damage, data))
    (bad,) = from_files(tmp_path)
    assert isinstance(bad, BadSample)
    assert str(path) in bad.reason


def test_missing_files_are_named_at_once(tmp_path):
    missing = tmp_path / "none"
    with pytest.raises(StreamError, match=r"none is missing, expected a folder"):
        from_files(missing)
    with pytest.raises(StreamError, match=r"none does not exist"):
        from_files([missing])
    with pytest.raises(StreamError, match=r"none\.npy does not exist"):
        from_table(tmp_path / "none.npy")
    with pytest.raises(StreamError, match="is no file"):
        from_table(tmp_path)


def test_an_empty_folder_is_an_error_at_its_end(tmp_path):
    with pytest.raises(StreamError, match="is empty"):
        list(from_files(tmp_path))


# -- tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 2)])
def test_rows_of_an_npy_are_samples_of_their_own(tmp_path, shape):
    table = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.save(tmp_path / "x.npy", table)
    rows = list(from_table(tmp_path / "x.npy"))
    np.testing.assert_array_equal(rows, table)
    assert type(rows[0]) is np.ndarray
    assert rows[0].flags.writeable


@pytest.mark.parametrize("table", [np.zeros(3), np.array([["a"]]), np.float32(1)])
def test_an_npy_that_has_no_rows_of_numbers_is_refused(tmp_path, table):
    np.save(tmp_path / "x.npy", table)
    with pytest.raises(StreamError, match="expected rows of numbers"):
        from_table(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"1,2\n", b"\x93NUMPY\x01\x00"])
def test_a_foreign_npy_is_refused(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(StreamError, match=r"cannot read .* as \.npy"):
        from_table(tmp_path / "x.npy")


def test_an_npy_without_rows_is_empty(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((0, 4)))
    with pytest.raises(StreamError, match=r"is empty|cannot read"):
        list(from_table(tmp_path / "x.npy"))


def test_a_csv_may_begin_with_names(tmp_path):
    path = tmp_path / "x.CSV"
    path.write_text("x,y\n1,2\n3,?\n5,6\n")
    assert values(from_table(path)) == [[1, 2], "line 2: '3,?' is not a line of numbers", [5, 6]]
    path.write_text("1,2\n")
    assert values(from_table(path)) == [[1, 2]]


@pytest.mark.parametrize("content", ["", "x,y\n"])
def test_a_csv_without_rows_is_empty(tmp_path, content):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(StreamError, match=r"x\.csv is empty"):
        list(from_table(tmp_path / "x.csv"))


def test_another_kind_of_table_is_refused(tmp_path):
    (tmp_path / "x.xls").write_text("1")
    with pytest.raises(StreamError, match=r"ends in '\.xls', expected \.npy or \.csv"):
        from_table(tmp_path / "x.xls")


# -- serial ---------------------------------------------------------------------------------


def test_a_serial_sensor_gives_a_sample_a_line_after_the_first_end_of_line(monkeypatch):
    port = serial.serial_for_url("loop://")
    port.write(b".5,3\n1,2\r\noops\n\n3 4\n")
    monkeypatch.setattr(serial, "serial_for_url", lambda *_, **__: port)
    samples = from_serial("loop://")
    found = values(islice(samples, 3))
    assert found == [[1, 2], "line 2: 'oops' is not a line of numbers", [3, 4]]
    samples.close()
    assert not port.is_open


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_a_real_port_that_is_pulled_out_ends_in_a_stream_error():
    board, host = os.openpty()
    samples = from_serial(os.ttyname(host), 9600)
    os.close(host)
    # The port is opened by the first `next`, so the far end speaks from within its own opening.
    opened = serial.serial_for_url

    def open_and_send(*arguments, **options):
        port = opened(*arguments, **options)
        os.write(board, b"part\n1 2\n")
        return port

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serial, "serial_for_url", open_and_send)
        assert next(samples).tolist() == [1, 2]
    os.close(board)
    with pytest.raises(StreamError, match="serial port /dev/"):
        next(samples)


@pytest.mark.parametrize("port", ["/dev/does-not-exist", "nonsense://"])
def test_a_port_that_cannot_be_opened_is_named(port):
    with pytest.raises(StreamError, match=f"serial port {port}: .* is it plugged in and free"):
        next(from_serial(port))


def test_nothing_is_warned_about_a_source_that_is_left_early(tmp_path):
    (tmp_path / "x.csv").write_text("1\n2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = from_table(tmp_path / "x.csv")
        assert next(samples).tolist() == [1]
        del samples


# -- windows ------------------------------------------------------------------------------------


@given(
    n=st.integers(0, 60),
    length=st.integers(1, 12),
    step=st.integers(1, 20),
    bad=st.sets(st.integers(0, 59)),
)
def test_windows_are_the_slices_between_bad_readings(n, length, step, bad):
    readings = [float("nan") if i in bad else float(i) for i in range(n)]
    expected, run = [], []
    for i in [*range(n), None]:
        if i is None or i in bad:
            starts = range(0, len(run) - length + 1, step)
            expected += [run[start : start + length] for start in starts]
            run = []
        else:
            run.append(float(i))
    n_bad_runs = sum(i in bad and i - 1 not in bad for i in range(n))
    try:
        found = list(windows(readings, length, step))
    except StreamError:
        found = []
        assert n_bad_runs == 0
    good = [each.tolist() for each in found if not isinstance(each, BadSample)]
    assert good == expected
    assert len(found) - len(good) == n_bad_runs


def test_windows_have_the_channels_of_their_readings():
    (window,) = windows(iter(np.arange(12).reshape(4, 3)), length=4)
    assert window.shape == (4, 3)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (BadSample("line 3: 'x' is not a line of numbers"), "line 3"),
        ([1.0, 2.0, 3.0], r"shape \(3,\), expected \(2,\)"),
        ([1.0, float("inf")], "disconnected"),
        (["a", "b"], "expected numbers"),
        (None, "expected numbers"),
        ([[1.0], [1.0, 2.0]], "no array"),
        (np.zeros(100_000), "expected numbers"),
    ],
)
def test_a_bad_reading_is_one_bad_sample_and_a_new_window_begins(bad, reason):
    readings = [[0.0, 0.0], bad, bad, [1.0, 1.0], [2.0, 2.0]]
    spoilt, window = windows(readings, length=2)
    with pytest.raises(SampleError, match=f"reading 2: .*{reason}"):
        np.asarray(spoilt)
    assert window.tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_a_signal_without_a_window_is_said_and_bad_sizes_are_refused():
    with pytest.raises(StreamError, match="less than 5 readings is empty"):
        list(windows([1, 2, 3], length=5))
    for length, step in ((0, 1), (5, 0), (10**9, 1)):
        with pytest.raises(ValueError, match="expected 1 to"):
            windows([1], length, step)
