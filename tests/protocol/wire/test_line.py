"""The simulated cable: its pace, its noise, and the hand that pulls it."""

from __future__ import annotations

import pytest

from firmware_tools.line import PIECE_BYTES, Cable, Line, Noise


def test_a_byte_takes_ten_bits_and_the_latency():
    line = Line(baud=1000, latency_s=0.5)
    line.write(b"ab", 1.0)
    assert line.read(1.509) == b""
    assert line.read(1.51) == b"a"
    assert line.next_arrival_s() == pytest.approx(1.52)
    assert line.read(1.52) == b"b"
    assert line.next_arrival_s() is None


def test_bytes_wait_for_those_before_them():
    line = Line(baud=1000)
    line.write(b"a" * 10, 0.0)
    line.write(b"b", 0.0)
    assert line.read(0.1) == b"a" * 10
    assert line.read(0.11) == b"b"


def test_long_writes_arrive_in_pieces():
    line = Line(baud=10)
    line.write(bytes(PIECE_BYTES + 1), 0.0)
    assert line.next_arrival_s() == pytest.approx(PIECE_BYTES)


def test_noise_is_at_its_rate_and_repeatable():
    def through(seed):
        line = Line(baud=1e6, noise=Noise(rate=0.01), seed=seed)
        line.write(bytes(100_000), 0.0)
        return line.n_faults, line.read(1e9)

    n_faults, data = through(1)
    assert 850 < n_faults < 1150
    assert through(1) == (n_faults, data)
    assert through(2) != (n_faults, data)
    assert sum(byte != 0 for byte in data) == pytest.approx(n_faults / 3, rel=0.2)


def test_a_burst_replaces_bytes_in_a_row():
    line = Line(baud=1e6, noise=Noise(burst_rate=1e-3, burst_bytes=16), seed=3)
    line.write(bytes(100_000), 0.0)
    data = line.read(1e9)
    assert len(data) == 100_000
    assert line.n_faults == pytest.approx(1600, rel=0.3)
    assert 0 < sum(byte != 0 for byte in data) <= line.n_faults


def test_a_slow_reader_loses_what_its_buffer_cannot_hold():
    line = Line(baud=1e6, buffer_bytes=4)
    line.write(b"abcdef", 0.0)
    assert line.read(1.0, limit=2) == b"ab"
    assert line.n_overrun == 2
    assert line.read(2.0) == b"cd"


def test_a_pulled_cable_loses_all_that_is_under_way():
    cable = Cable(baud=1000)
    cable.to_board.write(b"ab", 0.0)
    cable.pull()
    cable.to_board.write(b"cd", 0.0)
    assert cable.to_board.read(9.0) == b""
    cable.plug(9.0)
    cable.to_board.write(b"ef", 9.0)
    assert cable.to_board.read(9.01) == b"e"
    assert cable.n_faults == 0


def test_a_line_without_speed_is_refused():
    with pytest.raises(ValueError, match="0 baud"):
        Line(baud=0)
