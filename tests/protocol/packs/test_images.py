"""The image store: every way through an update, on a real directory, with the child replaced."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os

import pytest

from edge_runtime.board import record as records
from edge_runtime.board.files import Files
from edge_runtime.board.images import TRIAL_S, BoardLimits, ImageStore
from edge_runtime.board.record import (
    MAX_ATTEMPTS,
    MAX_COUNTERS,
    MAX_REASON_CHARS,
    MAX_RECORD_BYTES,
    TRANSITIONS,
    Deployment,
    Installed,
    Now,
    Phase,
    Record,
    StoreError,
)
from edge_runtime.board.selftest import Verdict
from edge_runtime.board.uploads import Uploads
from edge_runtime.protocol.pack import PackError
from edge_runtime.protocol.pack.manifest import Requirements
from tests.protocol.packs import making
from tests.protocol.packs.making import OTHER_KEY, PINNED

NOW = Now(100.0, 1_700_000_000.0)
LATER = Now(100.0 + TRIAL_S, 5.0)  # the wall clock may jump; nothing depends on it


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


@pytest.fixture
def store(files):
    return reopened(files)


def reopened(files, keys=PINNED):
    return ImageStore(files, keys, BoardLimits("0.1.0", ("raspberrypi,4-model-b",)))


def stage(store, files, data):
    files.write_at("upload-x", 0, data)
    return store.stage("upload-x", NOW)


def good(request):
    return Verdict(True, learned="carried over")


def bring(store, files, data):
    """All the way to confirmed."""
    pack = stage(store, files, data)
    store.test(NOW, good)
    store.begin_trial(NOW)
    store.confirm(NOW)
    return pack


def last(store):
    entry = store.record.attempts[-1]
    return entry.outcome, entry.reason


def test_an_update_goes_all_the_way(store, files):
    assert store.record.phase is Phase.EMPTY
    assert store.start(NOW) is None
    first = stage(store, files, making.model())
    assert (store.record.phase, store.record.running) == (Phase.STAGED, None)
    assert store.test(NOW, good).passed
    assert (store.record.phase, store.record.running) == (Phase.READY, None)
    running = reopened(files).start(NOW)
    assert running.model.id == first.id
    store = reopened(files)
    assert store.record.phase is Phase.TRIAL
    store.confirm(NOW)
    assert store.record.phase is Phase.CONFIRMED
    assert reopened(files).start(NOW).model.id == first.id
    assert last(store) == ("confirmed", "learned state: carried over")
    assert sorted(files.names()) == sorted([f"{first.id}.pack", "record"])


def test_a_pack_that_fails_its_self_test_never_runs(store, files):
    first = bring(store, files, making.model())
    second = stage(store, files, making.model(version="2.0.0"))
    assert not store.test(NOW, lambda request: Verdict(False, "died by SIGSEGV")).passed
    assert store.record.phase is Phase.REVERTED
    assert store.record.running.model.id == first.id
    assert last(store) == ("reverted", "died by SIGSEGV")
    assert f"{second.id}.pack" not in files.names()


@pytest.mark.parametrize("phase", ["testing", "trial"])
def test_a_board_that_goes_down_meanwhile_comes_back_with_the_old_pack(store, files, phase):
    first = bring(store, files, making.model())
    stage(store, files, making.model(version="2.0.0"))
    if phase == "trial":
        store.test(NOW, good)
        store.begin_trial(NOW)
    else:

        def dies(request):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store.test(NOW, dies)
    store = reopened(files)
    assert store.record.phase.value == phase
    assert store.start(NOW).model.id == first.id
    assert last(store) == ("reverted", f"the board went down during its {phase}")
    assert reopened(files).start(NOW).model.id == first.id


def test_an_update_that_nobody_confirms_is_undone(store, files):
    first = bring(store, files, making.model())
    stage(store, files, making.model(version="2.0.0"))
    store.test(NOW, good)
    store.begin_trial(NOW)
    assert not store.tick(Now(LATER.monotonic_s - 0.1, 9e9))
    assert store.record.running.model.version == "2.0.0"
    assert store.tick(LATER)
    assert store.record.running.model.id == first.id
    assert last(store) == ("reverted", "not confirmed in time")
    assert not store.tick(LATER)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (making.golden()[:-1], "container"),
        (making.golden()[:200] + b"?" + making.golden()[201:], "digest"),
        (making.model(key=OTHER_KEY), "key"),
        (making.model(counter=4), "counter"),
        (making.model(counter=5, requires=Requirements("9.0.0")), "runtime"),
        (making.model(counter=5, requires=Requirements(boards=("nvidia,orin",))), "board"),
        (making.head(b"\x08\x07 another encoder"), "encoder"),
        (b"", "container"),
    ],
)
def test_a_refused_pack_changes_nothing_but_the_log(store, files, data, reason):
    first = bring(store, files, making.model(counter=5))
    with pytest.raises(PackError) as caught:
        stage(store, files, data)
    assert caught.value.reason == reason
    outcome, logged = last(store)
    assert outcome == "refused"
    assert logged.startswith(f"{reason}: ")
    assert reopened(files).start(NOW).model.id == first.id
    assert sorted(files.names()) == sorted([f"{first.id}.pack", "record"])


def test_security_counters_never_go_down_not_by_rollback_either(store, files):
    bring(store, files, making.model(counter=5))
    bring(store, files, making.model(counter=6, version="2.0.0"))
    with pytest.raises(StoreError, match="older than the security counter"):
        store.rollback(NOW)
    stage(store, files, making.model(counter=9, version="3.0.0"))
    store.test(NOW, lambda request: Verdict(False, "hangs"))
    stage(store, files, making.model(counter=6, version="2.1.0"))  # 9 was never confirmed


def test_rollback_goes_through_test_and_trial_as_every_update(store, files):
    first = bring(store, files, making.model())
    second = bring(store, files, making.model(version="2.0.0"))
    store.rollback(NOW)
    assert store.record.running.model.id == second.id
    store.test(NOW, good)
    assert store.start(NOW).model.id == first.id
    store.confirm(NOW)
    store.rollback(NOW)
    assert store.record.candidate.model.id == second.id


def test_there_is_nothing_to_roll_back_to_at_first(store, files):
    with pytest.raises(StoreError, match="no pack to go back to"):
        store.rollback(NOW)
    bring(store, files, making.model())
    with pytest.raises(StoreError, match="no pack to go back to"):
        store.rollback(NOW)


def test_a_head_runs_on_the_model_that_is_there(store, files):
    model = bring(store, files, making.model())
    head = bring(store, files, making.head())
    running = store.record.running
    assert (running.model.id, running.head.id) == (model.id, head.id)
    assert running.id == f"{model.id[:24]}-{head.id[:24]}"
    assert len(making.head()) < len(making.model(bytes(10_000)))
    other = bring(store, files, making.model(b"\x08\x07 another encoder", version="2.0.0"))
    assert store.record.running.packs == (store.record.running.model,)
    assert store.record.running.model.id == other.id


def test_a_head_before_any_model_is_refused(store, files):
    with pytest.raises(PackError) as caught:
        stage(store, files, making.head())
    assert caught.value.reason == "encoder"


def test_the_same_pack_twice_is_no_harm(store, files):
    first = bring(store, files, making.model())
    bring(store, files, making.model())
    assert store.start(NOW).model.id == first.id


def test_what_was_learned_and_unpacked_for_packs_long_gone_is_removed(store, files):
    kept = []
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        bring(store, files, making.model(version=version))
        deployment = store.record.active
        (files.root / "learned" / deployment.id).mkdir(parents=True)
        (files.root / "encoders").mkdir(exist_ok=True)
        (files.root / "encoders" / f"{deployment.model.id}.onnx").write_bytes(b"x")
        kept.append(deployment)
    store.start(NOW)
    found = {path.name for path in (files.root / "learned").iterdir()}
    assert found == {each.id for each in kept[1:]}
    found = {path.stem for path in (files.root / "encoders").iterdir()}
    assert found == {each.model.id for each in kept[1:]}


def test_without_a_pinned_key_counters_of_unchecked_signatures_do_not_count(files):
    store = reopened(files, keys=None)
    bring(store, files, making.model(counter=2**32 - 1, key=OTHER_KEY))
    assert store.record.counters == {}
    store = reopened(files, keys=[OTHER_KEY.public_key()])
    bring(store, files, making.model(counter=1, key=OTHER_KEY, version="2.0.0"))
    assert list(store.record.counters.values()) == [1]


def test_the_log_is_bounded_and_numbered_on(store, files):
    for _ in range(MAX_ATTEMPTS + 5):
        with pytest.raises(PackError):
            stage(store, files, b"\x1b[2J" * 100)
    numbers = [each.number for each in reopened(files).record.attempts]
    assert numbers == list(range(6, MAX_ATTEMPTS + 6))
    assert files.size("record") < MAX_RECORD_BYTES / 4


@pytest.mark.parametrize("letter", ["\0", "é", "😀", "\ud800"])
def test_the_longest_record_there_can_be_is_read_again(letter):
    pack = Installed("f" * 64, "n" * 64, "255.255.65535+4294967295", "f" * 64 + ":2", 2**32 - 1)
    deployment = Deployment(pack, pack, "f" * 64)
    counters = {f"{i:064d}:2": 2**32 - 1 for i in range(MAX_COUNTERS)}
    full = Record(Phase.TRIAL, deployment, deployment, deployment, 1e300, counters)
    for _ in range(MAX_ATTEMPTS):
        full = full.log(1.7e9, pack, "confirmed", letter * (MAX_REASON_CHARS + 1))
    data = records.to_bytes(full)
    assert len(data) < MAX_RECORD_BYTES
    assert records.from_bytes(data) == full


def test_the_table_of_steps_is_all_there_is():
    for step, (sources, target) in TRANSITIONS.items():
        for phase in Phase:
            if phase in sources:
                assert Record(phase).take(step).phase is target
            else:
                with pytest.raises(StoreError, match=f"cannot {step} while {phase.value}"):
                    Record(phase).take(step)


def test_steps_that_do_not_follow_leave_everything(store, files):
    for step in (store.confirm, store.begin_trial, store.test):
        with pytest.raises(StoreError):
            step(NOW)
    with pytest.raises(StoreError):
        store.revert("why not", NOW)
    assert files.names() == []
    stage(store, files, making.model())
    store.test(NOW, good)
    store.begin_trial(NOW)
    with pytest.raises(StoreError, match="cannot stage while trial"):
        stage(store, files, making.model(version="2.0.0"))


@pytest.mark.parametrize("damage", [b"", b"x", b"{}\n", bytes(100), b"[" * (MAX_RECORD_BYTES + 1)])
def test_a_damaged_record_is_said_and_nothing_is_guessed(store, files, damage):
    bring(store, files, making.model())
    files.write("record", damage)
    with pytest.raises(StoreError, match="damaged"):
        reopened(files)


def test_a_record_of_the_wrong_shape_is_an_error_of_the_store():
    for fields in ([], {}, {"format": 2}, {"format": 1}, {"format": 1, "phase": "x"}):
        text = json.dumps(fields).encode()
        with pytest.raises(StoreError):
            records.from_bytes(text + b"\n" + hashlib.sha256(text).hexdigest().encode())


def test_a_record_survives_its_bytes(store, files):
    bring(store, files, making.model())
    bring(store, files, making.head())
    assert records.from_bytes(records.to_bytes(store.record)) == store.record


def test_there_is_an_end_to_keys(store, files):
    full = {f"{n:064x}:1": 1 for n in range(MAX_COUNTERS)}
    stage(store, files, making.model())
    store.test(NOW, good)
    store.begin_trial(NOW)
    store.record = Record(**{**vars(store.record), "counters": full})
    with pytest.raises(StoreError, match="security counters"):
        store.confirm(NOW)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_an_error_and_nothing_is_lost(store, files, monkeypatch, code):
    first = bring(store, files, making.model())

    def fails(name, data):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "write", fails)
    with pytest.raises(OSError, match=os.strerror(code)):
        stage(store, files, making.model(version="2.0.0"))
    monkeypatch.undo()
    assert store.record.phase is Phase.CONFIRMED
    assert reopened(files).start(NOW).model.id == first.id


def test_real_files_are_really_synced(files, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), real(handle)),
    )
    files.write("record.new", b"x")
    files.sync("record.new")
    files.sync_directory()
    assert synced == [str(files.root / "record.new"), str(files.root)]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "", ".x", "a/b", "x" * 129])
def test_a_name_cannot_leave_the_directory(files, name):
    for operation in (files.open, files.sync, files.remove, files.size):
        with pytest.raises(ValueError, match="file name"):
            operation(name)


# -- uploads ---------------------------------------------------------------------------------


def test_an_upload_goes_on_where_it_stopped_whatever_comes_twice(files):
    data = making.golden()
    digest = hashlib.sha256(data).hexdigest()
    source = io.BytesIO(data)
    while (here := Uploads(files).offset(digest)) < len(data):
        source.seek(here)
        piece = source.read(97)
        Uploads(files).write(digest, here, piece, total=len(data))
        if here:
            assert Uploads(files).write(digest, 0, data[:97], total=len(data)) == here + len(piece)
    assert files.path(Uploads(files).finish(digest)).read_bytes() == data


def test_another_upload_ends_the_one_before(files):
    uploads = Uploads(files)
    uploads.write("0" * 64, 0, b"abc", total=9)
    uploads.write("1" * 64, 0, b"abc", total=9)
    assert files.names() == ["upload-" + "1" * 64]
    uploads.discard()
    assert files.names() == []


def test_a_damaged_upload_is_removed_and_starts_anew(files):
    digest = hashlib.sha256(b"abcdef").hexdigest()
    uploads = Uploads(files)
    uploads.write(digest, 0, b"abcdeX", total=6)
    with pytest.raises(PackError) as caught:
        uploads.finish(digest)
    assert caught.value.reason == "digest"
    assert uploads.offset(digest) == 0


def test_an_upload_has_a_bound(files):
    uploads = Uploads(files)
    for total, offset in ((0, 0), (2**40, 0), (3, 1)):
        with pytest.raises(PackError):
            uploads.write("0" * 64, offset, b"abc", total=total)
    for digest in ("", "x", "../" + "0" * 61):
        with pytest.raises(PackError):
            uploads.offset(digest)
