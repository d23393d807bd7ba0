"""The power goes at every moment of every update: what runs is the old pack or the new, whole.

Every file operation of a long history is recorded; every prefix of it, with un-synced data lost,
torn or zeroed and un-synced names in any combination, is a disk that the store must start from.
And without any one of its syncs, the same test must fail: else it would prove nothing.
"""

from __future__ import annotations

import io
from functools import cache

import pytest

from edge_runtime.board.images import BoardLimits, ImageStore
from edge_runtime.board.record import Now, Phase, StoreError
from edge_runtime.board.selftest import Verdict
from edge_runtime.protocol.pack import PackError, read_pack
from tests.protocol.packs import making
from tests.protocol.packs.disk import MemoryFiles, disks_after
from tests.protocol.packs.making import PINNED

NOW = Now(100.0, 1_700_000_000.0)
LIMITS = BoardLimits("0.1.0")


class NotingStore(ImageStore):
    """Notes on the disk which record is being written, and which one is done."""

    def _write(self, new):
        self._files.note(("begun", new))
        super()._write(new)
        self._files.note(("done", new))


def upload(files, data):
    for start in range(0, len(data), 500):
        files.write_at("upload-x", start, data[start : start + 500])
    return "upload-x"


def history(files):
    """Everything that can happen to packs: accepted, refused, reverted, replaced, rolled back."""
    store = NotingStore(files, PINNED, LIMITS)
    store.start(NOW)
    first, second, head = making.model(), making.model(version="2.0.0"), making.head()
    for data in (first, second, head):
        store.stage(upload(files, data), NOW)
        store.test(NOW, lambda request: Verdict(True, learned="new"))
        store.begin_trial(NOW)
        store.confirm(NOW)
    with pytest.raises(PackError):
        store.stage(upload(files, making.model(counter=0)), NOW)
    store.stage(upload(files, making.model(version="3.0.0")), NOW)
    store.stage(upload(files, making.model(version="3.1.0")), NOW)
    store.test(NOW, lambda request: Verdict(False, "worse"))
    store.rollback(NOW)
    store.test(NOW, lambda request: Verdict(True))
    store.begin_trial(NOW)
    assert store.tick(Now(NOW.monotonic_s + 10_000, NOW.wall_s))
    store.stage(upload(files, making.model(version="4.0.0")), NOW)
    store.test(NOW, lambda request: Verdict(True))
    NotingStore(files, PINNED, LIMITS).start(NOW)  # after a restart it runs unconfirmed
    store = NotingStore(files, PINNED, LIMITS)
    store.start(NOW)  # another one ends it
    return store


@cache
def whole(data):
    try:
        return read_pack(io.BytesIO(data), PINNED).id
    except PackError:
        return None


def fault(notes, content):
    """What is wrong with the store on this disk; empty if nothing."""
    files = MemoryFiles(content)
    try:
        store = ImageStore(files, PINNED, LIMITS)
    except StoreError as error:
        return str(error)
    done = [record for kind, record in notes if kind == "done"]
    begun = [record for kind, record in notes if kind == "begun"]
    allowed = [*done[-1:], *begun[-1:]]
    if store.record not in allowed and (done or store.record.phase is not Phase.EMPTY):
        return f"{store.record.phase} is neither the old record nor the new"
    for deployment in (store.record.active, store.record.candidate, store.record.previous):
        for pack in deployment.packs if deployment else ():
            if whole(files.content.get(f"{pack.id}.pack", b"")) != pack.id:
                return f"pack {pack.version} is named and not whole"
    was_cut_off = store.record.phase in (Phase.TESTING, Phase.TRIAL)
    before = store.record.active
    running = store.start(NOW)
    if was_cut_off and (store.record.phase is not Phase.REVERTED or running != before):
        return "an update that was cut off goes on"
    return ""


def faults(skip_sync=None):
    files = MemoryFiles(skip_sync=skip_sync)
    history(files)
    found = [fault(notes, content) for notes, content in disks_after(files.operations)]
    return len(found), [each for each in found if each]


def test_the_history_itself_ends_well():
    files = MemoryFiles()
    store = history(files)
    outcomes = [(each.version, each.outcome) for each in store.record.attempts]
    assert outcomes == [
        ("1.0.0", "confirmed"),
        ("2.0.0", "confirmed"),
        ("1.0.0", "confirmed"),
        ("1.0.0", "refused"),
        ("3.0.0", "replaced"),
        ("3.1.0", "reverted"),
        ("2.0.0", "reverted"),
        ("4.0.0", "reverted"),
    ]
    assert store.record.active.head is not None
    # The head, its model, which is also what was before it, and the record: nothing else is kept.
    assert len(files.names()) == 3


def test_after_a_power_cut_at_any_point_the_old_or_the_new_pack_runs():
    n_disks, bad = faults()
    assert bad == []
    assert n_disks >= 1500


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("sync", "upload-"),  # the pack's content
        ("sync", "record"),  # the record's content
        ("sync_directory", "record"),  # the step itself
    ],
)
def test_without_any_one_sync_it_would_not_hold(kind, start):
    _, bad = faults(lambda each, name: each == kind and name.startswith(start))
    assert bad


def test_without_the_sync_of_the_packs_name_it_would_not_hold():
    _, bad = faults(lambda each, name: each == "sync_directory" and name.endswith(".pack"))
    assert bad


def test_these_are_all_the_syncs_there_are():
    files = MemoryFiles()
    history(files)
    syncs = {(op[0], op[1][:6]) for op in files.operations if op[0].startswith("sync")}
    packs = {name for kind, name in syncs if kind == "sync_directory"} - {"record"}
    assert {kind for kind, _ in syncs} == {"sync", "sync_directory"}
    assert {name for kind, name in syncs if kind == "sync"} == {"upload", "record"}
    assert len(packs) == 6  # one for each pack that was accepted, by its id
