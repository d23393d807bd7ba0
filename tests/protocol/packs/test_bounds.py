"""What packs may cost: memory, imports, and a board that is sent fifty bad ones in a row."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tracemalloc

import pytest

from edge_runtime.board.record import MAX_ATTEMPTS
from edge_runtime.board.selftest import run_self_test
from edge_runtime.protocol.pack import PackError, Version, read_pack
from edge_runtime.protocol.pack.manifest import STATE, Manifest
from edge_runtime.protocol.pack.writing import write_pack
from edge_runtime.state import generations
from tests.protocol.packs import making
from tests.protocol.packs.conftest import NOW
from tests.protocol.packs.making import KEY, PINNED
from tests.protocol.packs.test_selftest import accuracy, bad_encoders, opened, place


def test_a_large_pack_is_verified_in_constant_memory(tmp_path):
    n_bytes = 16 * 2**20
    (tmp_path / "large.pack").write_bytes(making.model(b"\x08" + bytes(n_bytes)))
    tracemalloc.start()
    try:
        with (tmp_path / "large.pack").open("rb") as file:
            read_pack(file, PINNED)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < n_bytes / 16


def imports(*modules, without):
    code = (
        f"import sys, {', '.join(modules)}\n"
        f"sys.exit(', '.join({set(without)!r} & set(sys.modules)) or 0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_board_verifies_and_switches_packs_without_numpy():
    store = ("edge_runtime.board.images", "edge_runtime.board.uploads")
    imports(*store, without=("numpy", "numba", "onnxruntime", "hdc", "adaptors"))


def test_the_host_packs_without_the_learner():
    imports("firmware_tools.packing", without=("numba", "onnxruntime", "hdc", "adaptors"))


def test_what_an_unconfirmed_pack_learned_goes_with_it_and_nothing_else(workshop, board):
    board.bring(workshop.model(state=workshop.learn("learned")))
    before = board.store.record.active
    board.stage(workshop.model("2.0.0"))
    assert board.store.test(NOW).passed
    board.store.begin_trial(NOW)
    tried = place(board, board.store.record.running)
    runtime = opened(board)
    for _ in range(generations.KEEP + 1):  # enough to push out every generation that was there
        runtime.save(tried.learned)
    board.store.revert("does not please", NOW)
    assert not tried.learned.exists()
    assert generations.load(place(board, before).learned).number == 1
    assert accuracy(opened(board)) == 1.0


def bad_packs(workshop, model):
    """Fifty, of every kind that a signature does not stop; the last are not even signed well."""
    encoder, rng = read_pack(io.BytesIO(model), PINNED).manifest.encoder, random.Random(0)
    whole, bad = workshop.encoder.read_bytes(), bad_encoders()
    learned = generations.to_bytes(*_loaded(workshop.learn("whole")))
    for n in range(10):
        version = f"6.{n}.0"
        cut = whole[: len(whole) * (n + 1) // 12]
        yield making.model(cut, version=version)
        flipped = bytearray(learned)
        flipped[rng.randrange(8, len(flipped))] ^= 1 << n % 8
        head = Manifest("head", "bad", encoder, {})
        yield write_pack(
            head, {STATE: bytes(flipped)}, KEY, version=Version(6, n, 1), security_counter=1
        )
        yield making.model(bad["hangs" if n % 2 else "eats memory"], version=f"6.{n}.2")
        yield workshop.model(f"6.{n}.3", thresholds={"no_such_threshold": n})
        damaged = bytearray(model)
        damaged[rng.randrange(len(damaged))] ^= 1
        yield bytes(damaged)


def _loaded(directory):
    saved = generations.load(directory)
    return saved.header, saved.arrays


@pytest.mark.slow
def test_fifty_bad_packs_later_the_board_is_what_it_was(workshop, board):
    model = workshop.model(state=workshop.learn("learned"), **workshop.canaries())
    board.bring(model)
    before, learned = board.store.record.active, place(board, board.store.record.active).learned
    files = sorted((path.name, path.read_bytes()) for path in learned.iterdir())
    sent = 0
    for data in bad_packs(workshop, model):
        sent += 1
        try:
            board.stage(data)
        except PackError:
            continue
        verdict = board.store.test(NOW, lambda request: run_self_test(request, timeout_s=10))
        assert not verdict.passed
        assert verdict.reason
        assert board.store.record.running == before
    assert sent == 50
    attempts = board.store.record.attempts
    assert len(attempts) == 1 + sent <= MAX_ATTEMPTS
    assert {each.outcome for each in attempts[1:]} == {"refused", "reverted"}
    assert sorted((path.name, path.read_bytes()) for path in learned.iterdir()) == files
    assert board.reboot() == before
    assert accuracy(opened(board)) == 1.0
