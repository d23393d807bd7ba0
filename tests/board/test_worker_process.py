"""A real worker process: what it says when it cannot have what was asked for, and its load."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from edge_runtime.board.runner import Runner
from edge_runtime.board.selftest import Places
from edge_runtime.board.worker import Order
from firmware_tools.__main__ import main

WAIT_S = 60.0


@pytest.fixture
def order(workshop, tmp_path):
    pack = tmp_path / "asks.pack"
    words = (
        "pack", "--encoder", workshop.encoder, "--key", workshop.key, "--name", "asks",
        "--version", "1.0.0", "--accelerator", "coreml", "-o", pack,
    )  # fmt: skip
    assert main([str(word) for word in words]) == 0
    (tmp_path / "shared").mkdir()
    places = Places(str(pack), None, str(tmp_path / "learned"), str(tmp_path / "unpacked"))
    return Order(places, shared=str(tmp_path / "shared"), profile="fast")


def until(runner, is_enough):
    """Everything that it has said, until it is enough."""
    heard, until_s = [], time.monotonic() + WAIT_S
    while not is_enough(heard):
        assert not runner.fault(time.monotonic()), runner.fault(time.monotonic())
        assert time.monotonic() < until_s
        heard += runner.listen(time.monotonic())
        time.sleep(0.02)
    return heard


def test_a_worker_that_takes_too_long_to_start_is_given_up(order):
    runner = Runner(replace(order, start_s=7.5), 100.0)
    try:
        assert runner.fault(107.0) == ""
        assert runner.fault(108.0) == "the runtime did not start within 7.5 s"
    finally:
        runner.kill()


def test_what_is_not_to_be_had_is_an_event_and_the_worker_serves(order, monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # as on a board without numba
    runner = Runner(order, time.monotonic())
    try:
        heard = until(runner, lambda heard: any(each["say"] == "news" for each in heard))
        events = [e for each in heard if each["say"] == "news" for e in each["events"]]
        said = {event["kind"]: event["message"] for event in events}
        assert "'coreml' cannot be used" in said["accelerator"]
        assert "NumPy serves" in said["profile"]
        until(runner, lambda heard: "load" in runner.status)
        assert runner.status["load"]["dropped"] == 0
        assert runner.status["written"]["bytes"] == 0
    finally:
        runner.kill()
