"""The zip inside: any unzip reads ours, and we read nothing that a zip can do beyond."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.pack import PackError, Version, read_pack
from edge_runtime.protocol.pack.archive import MAX_MEMBERS, read_archive, write_archive
from edge_runtime.protocol.pack.container import write_image
from tests.protocol.packs.making import KEY, PINNED, golden

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)


def refused(data):
    with pytest.raises(PackError) as caught:
        read_archive(io.BytesIO(data), 0, len(data))
    return caught.value.reason == "archive"


def zipped(*members, **options):
    """What the standard library writes: members are (ZipInfo or name, bytes)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


@given(st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=MAX_MEMBERS))
def test_what_is_written_is_read_by_us_and_by_zipfile(members):
    data = write_archive(members)
    file = io.BytesIO(b"before" + data + b"after")
    found = read_archive(file, 6, len(data))
    for name, member in found.items():
        file.seek(member.offset)
        assert file.read(member.n_bytes) == members[name]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {each: archive.read(each) for each in archive.namelist()} == members
        assert all(each.compress_type == zipfile.ZIP_STORED for each in archive.infolist())


def test_it_is_cut_short_at_every_byte():
    data = write_archive({"a": b"first", "b": b"", "c.txt": b"third"})
    for length in range(len(data)):
        assert refused(data[:length])
    assert refused(data + b"\0")


def test_no_flipped_bit_is_accepted():
    data = write_archive({"a": b"first", "b": b"", "c.txt": b"third"})
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert refused(bytes(damaged))


@pytest.mark.parametrize(
    "name",
    [
        "../up", "/absolute", "a/b", "a\\b", "C:evil", "..", ".", ".hidden", "-option", "",
        "nul\0byte", "new\nline", "sm\u00f6rg\u00e5s", "a" * 65, "a" * 60_000,
    ],
)  # fmt: skip
def test_names_that_could_leave_or_mislead_are_refused(name):
    with pytest.raises(PackError):
        write_archive({name: b""})
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, len(name.encode()), 0)
    assert refused(local + name.encode() + bytes(100))


def test_a_name_of_300_kilobytes_has_no_place_in_the_format():
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 0xFFFF, 0)
    assert refused(local + b"a" * 300_000)


def test_zip_bombs_are_refused_before_anything_is_inflated():
    assert refused(zipped(("bomb", bytes(10**7)), compression=zipfile.ZIP_DEFLATED))
    for method in (8, 9, 12, 14, 93, 99):
        data = bytearray(write_archive({"a": b"x" * 20}))
        struct.pack_into("<H", data, 8, method)
        assert refused(bytes(data))


def test_a_size_that_is_not_there_is_refused_before_it_is_read():
    for size in (21, 2**31, 2**32 - 1):
        data = bytearray(write_archive({"a": b"x" * 20}))
        struct.pack_into("<II", data, 18, size, size)
        assert refused(bytes(data))


def test_links_comments_extras_and_encryption_are_refused():
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert refused(zipped((link, b"/etc/passwd")))
    extra = zipfile.ZipInfo("extra")
    extra.extra = struct.pack("<HHI", 0x7075, 4, 0)
    assert refused(zipped((extra, b"x")))
    commented = io.BytesIO()
    with zipfile.ZipFile(commented, "w") as archive:
        archive.writestr("a", b"x")
        archive.comment = b"two ends"
    assert refused(commented.getvalue())
    data = bytearray(write_archive({"a": b"x"}))
    data[6] |= 1
    assert refused(bytes(data))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates_too_many_and_none_are_refused():
    assert refused(zipped(("a", b"1"), ("a", b"2")))
    with pytest.raises(PackError):
        write_archive({str(i): b"" for i in range(MAX_MEMBERS + 1)})
    assert refused(zipped(*((str(i), b"") for i in range(MAX_MEMBERS + 1))))
    assert refused(zipped())
    with pytest.raises(PackError):
        write_archive({})


def test_a_directory_that_tells_another_story_is_refused():
    one, other = write_archive({"a": b"1"}), write_archive({"b": b"1"})
    split = one.index(b"PK\1\2")
    assert refused(one[:split] + other[split:])
    assert refused(one[:split] + b"gap" + one[split:])


def test_noise_never_does_anything_but_be_refused():
    rng = random.Random(0)
    for _ in range(300):
        noise = b"PK\3\4" + rng.randbytes(rng.randrange(200))
        assert refused(noise)


def test_a_signed_zip_that_is_compressed_is_refused_as_well():
    payload = zipped(("manifest.json", b"{}"), compression=zipfile.ZIP_DEFLATED)
    data = write_image(payload, KEY, version=Version(1, 0, 0), security_counter=1)
    with pytest.raises(PackError) as caught:
        read_pack(io.BytesIO(data), PINNED)
    assert caught.value.reason == "archive"


def test_unzip_programs_find_our_payload_in_the_pack_itself():
    with zipfile.ZipFile(io.BytesIO(golden()[32:-152])) as archive:
        assert archive.namelist() == ["manifest.json", "encoder.onnx", "LICENCES"]
