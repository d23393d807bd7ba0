"""Hostile packs over the wire: refused with the reason, logged, what runs untouched."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from dataclasses import replace

import pytest

from edge_runtime.protocol.pack import Version
from edge_runtime.protocol.pack.archive import write_archive
from edge_runtime.protocol.pack.container import write_image
from edge_runtime.protocol.pack.manifest import Requirements
from edge_runtime.protocol.wire.smp import Rc, Refusal
from tests.board.desk import Desk
from tests.protocol.packs import making
from tests.protocol.packs.making import ENCODER, KEY, OTHER_KEY, PINNED, manifest_bytes


def signed(payload, *, counter=5):
    """An image that is in order, whatever is in it, signed by the pinned key."""
    return write_image(payload, KEY, version=Version(9, 0, 0), security_counter=counter)


def zipped(*members, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def swapped_encoder():
    return signed(
        write_archive({"manifest.json": manifest_bytes(), "encoder.onnx": ENCODER + b"!"})
    )


def other_encoder_of_the_same_length():
    swapped = bytes([ENCODER[0] ^ 1]) + ENCODER[1:]
    return signed(write_archive({"manifest.json": manifest_bytes(), "encoder.onnx": swapped}))


def claims():
    """A member that says it is longer than the file."""
    payload = bytearray(write_archive({"manifest.json": manifest_bytes(), "encoder.onnx": ENCODER}))
    struct.pack_into("<II", payload, 18, 2**31, 2**31)
    return signed(bytes(payload))


def long_name():
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 0xFFFF, 0)
    return signed(local + b"a" * 300_000)


def of_the_future():
    manifest = manifest_bytes().replace(b'"schema": 1', b'"schema": 2')
    return signed(write_archive({"manifest.json": manifest, "encoder.onnx": ENCODER}))


def extra_member():
    files = {"manifest.json": manifest_bytes(), "encoder.onnx": ENCODER, "run.sh": b"rm -rf /"}
    return signed(write_archive(files))


HOSTILE = {
    "wrong key": (lambda: making.model(key=OTHER_KEY, version="9.0.0", counter=5), "key"),
    "lower counter": (lambda: making.model(version="9.0.0", counter=4), "counter"),
    "wrong board": (
        lambda: making.model(counter=5, requires=Requirements(boards=("jetson",))), "board",
    ),
    "too much memory": (
        lambda: making.model(counter=5, requires=Requirements(memory_bytes=2**45)), "board",
    ),
    "another release": (lambda: making.model(counter=5, requires=Requirements("9.9.9")), "runtime"),
    "swapped encoder": (swapped_encoder, "manifest"),
    "swapped encoder of the same length": (other_encoder_of_the_same_length, "digest"),
    "head for another encoder": (lambda: making.head(b"other", counter=5), "encoder"),
    "zip bomb": (
        lambda: signed(
            zipped(("manifest.json", bytes(10**7)), compression=zipfile.ZIP_DEFLATED)
        ), "archive",
    ),
    "path traversal": (lambda: signed(zipped(("../../etc/passwd", b"x"))), "archive"),
    "absolute path": (lambda: signed(zipped(("/etc/passwd", b"x"))), "archive"),
    "300 kB name": (long_name, "archive"),
    "size that is not there": (claims, "archive"),
    "manifest of the future": (of_the_future, "manifest"),
    "one member more": (extra_member, "manifest"),
    "no manifest": (lambda: signed(write_archive({"encoder.onnx": ENCODER})), "manifest"),
    "no zip": (lambda: signed(b"\0" * 1000), "archive"),
    "nothing": (lambda: b"\0" * 1000, "container"),
    "two packs in one": (lambda: making.model() + making.model(version="9.0.0"), "container"),
}  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A provisioned board that runs a pack of counter 5."""
    desk = Desk(tmp_path_factory.mktemp("desk"), PINNED)
    desk.lines[0].access._is_open = True
    desk.install(making.model(counter=5))
    return desk


def assert_untouched(desk, before, files):
    after = desk.record
    assert replace(after, attempts=()) == replace(before, attempts=())
    assert {name: desk.files.size(name) for name in desk.files.names() if name != "record"} == files
    assert len(desk.runners) == 1
    assert not desk.runner.ended


def files_of(desk):
    return {name: desk.files.size(name) for name in desk.files.names() if name != "record"}


@pytest.mark.parametrize("what", list(HOSTILE))
def test_it_is_refused_logged_and_nothing_else_happens(desk, what):
    make, reason = HOSTILE[what]
    before, files = desk.record, files_of(desk)
    refusal = desk.upload(make(), piece=4000)
    assert isinstance(refusal, Refusal)
    assert refusal.rc == Rc.INVALID
    assert refusal.rsn.startswith(f"{reason}: ")
    assert desk.record.attempts[-1].outcome == "refused"
    assert desk.record.attempts[-1].reason.startswith(f"{reason}: ")
    assert_untouched(desk, before, files)


def test_every_truncation_of_a_pack_is_refused(desk):
    whole = making.model(version="9.0.0", counter=5)
    before, files = desk.record, files_of(desk)
    for length in range(1, len(whole), 37):
        assert isinstance(desk.upload(whole[:length], piece=4000), Refusal), length
    assert_untouched(desk, before, files)


def test_no_flipped_bit_is_accepted(desk):
    """A host that lies about the digest, too: the upload's own is that of the flipped file."""
    whole, chance = making.model(version="9.0.0", counter=5), random.Random(0)
    before, files = desk.record, files_of(desk)
    for _ in range(150):
        damaged = bytearray(whole)
        bit = chance.randrange(8 * len(whole))
        damaged[bit // 8] ^= 1 << bit % 8
        assert isinstance(desk.upload(bytes(damaged), piece=4000), Refusal), bit
    assert_untouched(desk, before, files)
