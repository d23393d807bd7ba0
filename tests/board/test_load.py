"""What yields when there is too much to do: learning, then the oldest samples; never answers."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.board.health import throttling
from edge_runtime.board.inbox import MAX_WAITING, MAX_YIELD_S, READ_AHEAD, Inbox
from edge_runtime.board.streams import is_live


class Bench:
    def __init__(self, *, is_live=True):
        self.now_s = 0.0
        self.inbox = Inbox(is_live=is_live, clock=lambda: self.now_s)

    def samples(self, *values):
        for value in values:
            self.inbox.put_sample(value)

    def command(self, do):
        self.inbox.put_command({"do": do})

    def take(self):
        got = self.inbox.get(0.0)
        return None if got is None else got[1]["do"] if got[0] == "command" else got[1]

    def take_all(self):
        taken = []
        while (item := self.take()) is not None:
            taken.append(item)
        return taken


@pytest.fixture
def bench():
    return Bench()


def test_with_time_everything_is_done_in_the_order_in_which_it_came(bench):
    for n in range(3):
        bench.now_s = float(n)
        bench.samples(n)
        bench.command("labels")
        bench.now_s += 0.5
        assert [bench.take(), bench.take()] == [n, "labels"]
    assert bench.take() is None
    assert bench.inbox.status() == {
        "waiting": 0, "dropped": 0, "yielded": 0, "throttled": False
    }  # fmt: skip


def test_a_live_source_loses_its_oldest_samples_and_they_are_counted(bench):
    bench.samples(*range(MAX_WAITING + 5))
    assert bench.inbox.n_dropped == 5
    assert bench.take_all() == list(range(5, MAX_WAITING + 5))


def test_a_source_that_can_wait_waits_and_loses_nothing():
    bench = Bench(is_live=False)
    thread = threading.Thread(target=bench.samples, args=range(50))
    thread.start()
    taken = []
    while len(taken) < 50:
        got = bench.inbox.get(5.0)
        assert bench.inbox.n_waiting <= READ_AHEAD
        taken.append(got[1])
    thread.join()
    assert taken == list(range(50))
    assert bench.inbox.n_dropped == 0


def test_labels_wait_while_samples_pile_up(bench):
    bench.command("labels")
    bench.samples(*range(6))
    # Until as many wait as are read ahead anyway: then the label's turn comes.
    assert bench.take_all() == [0, 1, 2, 3, "labels", 4, 5]
    assert bench.inbox.n_yielded == 1


def test_a_throttled_processor_learns_when_no_sample_waits(bench):
    bench.command("labels")
    bench.samples(1, 2)
    bench.inbox.is_throttled = True
    assert bench.take_all() == [1, 2, "labels"]


def test_labels_wait_no_longer_than_their_host(bench):
    bench.command("labels")
    bench.samples(*range(8))
    bench.now_s = MAX_YIELD_S - 0.1
    assert bench.take() == 0
    bench.now_s = MAX_YIELD_S
    assert bench.take() == "labels"


@pytest.mark.parametrize("urgent", ["stop", "gone"])
def test_the_end_does_not_wait_and_labels_before_it_are_learned(bench, urgent):
    bench.command("labels")
    bench.command(urgent)
    bench.samples(*range(9))
    assert [bench.take(), bench.take()] == ["labels", urgent]


def test_other_commands_do_not_yield(bench):
    bench.command("undo")
    bench.samples(*range(9))
    assert bench.take() == "undo"


def test_the_end_of_a_stream_comes_after_its_samples(bench):
    bench.samples(1)
    bench.inbox.end_samples("pulled")
    assert [bench.inbox.get(0.0), bench.inbox.get(0.0)] == [("sample", 1), ("end", "pulled")]


@given(st.lists(st.sampled_from(["sample", "labels", "pull", "take", "later"]), max_size=120))
def test_commands_keep_their_order_and_nothing_grows(steps):
    bench, sent, seen, n_samples = Bench(), [], [], 0
    for step in steps:
        if step == "sample":
            bench.samples(n_samples)
            n_samples += 1
        elif step == "later":
            bench.now_s += 4.0
        elif step == "take":
            seen.append(bench.take())
        else:
            sent.append(step)
            bench.command(step)
        assert bench.inbox.n_waiting <= MAX_WAITING
    seen += bench.take_all()
    assert [each for each in seen if isinstance(each, str)] == sent
    numbers = [each for each in seen if isinstance(each, int)]
    assert numbers == sorted(numbers)
    assert len(numbers) + bench.inbox.n_dropped == n_samples


def test_which_sources_wait():
    assert [is_live(spec) for spec in ("python:cam:frames", "serial:/dev/x", "stdin", "none")] == [
        False, True, False, False
    ]  # fmt: skip


# -- throttling ------------------------------------------------------------------------------


def put(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "0x50005\n", "firmware"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "0x50000\n", ""),  # in the past
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "0x1\n", ""),  # a weak supply
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "rubbish\xff", ""),
        ("sys/class/thermal/thermal_zone0/temp", "80000\n", "80 °C"),
        ("sys/class/thermal/thermal_zone0/temp", "79900\n", ""),
        ("sys/class/thermal/thermal_zone0/temp", "-", ""),
    ],
)
def test_a_throttled_board_says_why(tmp_path, path, text, says):
    put(tmp_path, path, text)
    assert throttling(tmp_path).count(says) >= 1
    assert bool(throttling(tmp_path)) == bool(says)


@pytest.mark.parametrize(("kind", "level", "is_slow"), [
    ("thermal-cpufreq-0", "2", True), ("thermal-cpufreq-0", "0", False), ("pwm-fan", "3", False),
])  # fmt: skip
def test_the_kernels_own_cooling_counts_and_a_fan_does_not(tmp_path, kind, level, is_slow):
    put(tmp_path, "sys/class/thermal/cooling_device0/type", kind)
    put(tmp_path, "sys/class/thermal/cooling_device0/cur_state", level)
    assert bool(throttling(tmp_path)) == is_slow


def test_a_board_without_any_of_it_is_not_throttled(tmp_path):
    assert throttling(tmp_path) == ""
