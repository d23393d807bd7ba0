"""Messages as bytes: golden, compared with another implementation, limited, refused."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.wire import cbor, edge_messages, messages
from edge_runtime.protocol.wire.smp import (
    HEADER,
    Group,
    Header,
    Op,
    Rc,
    Refusal,
    WireError,
    answer_bytes,
    message_classes,
    parse_answer,
    parse_request,
    request_bytes,
)

GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "golden" / "wire.jsonl").read_text().splitlines()
]
golden = pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["message"])


def plain(value):
    """A message as the golden file has it."""
    if dataclasses.is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: plain(item) for name, item in pairs if item is not None}
    if isinstance(value, bytes):
        return "hex:" + value.hex()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return {key: plain(v) for key, v in value.items()} if isinstance(value, dict) else value


def parsed(data):
    header = Header.from_bytes(data)
    return (parse_answer if header.is_answer else parse_request)(data)


@golden
def test_the_bytes_of_a_message_never_change(row):
    data = bytes.fromhex(row["hex"])
    header, message = parsed(data)
    assert header.sequence == row["sequence"]
    assert type(message).__name__ == row["message"]
    assert plain(message) == row["fields"]
    if header.is_answer:
        asked = Header(Op(header.op - 1), header.group, header.command, header.sequence)
        assert answer_bytes(asked, message) == data
    else:
        assert request_bytes(message, header.sequence) == data


def test_every_message_has_golden_bytes():
    assert {cls.__name__ for cls in message_classes()} == {row["message"] for row in GOLDEN}


def test_smp_reads_and_writes_the_same_bytes():
    """The Python package `smp` is an implementation that shares nothing with this one but cbor2."""
    pytest.importorskip(
        "smp", reason="NOT COMPARED with an independent implementation: smp is not installed"
    )
    rows = [row for row in GOLDEN if "smp" in row]
    for row in rows:
        module, name = row["smp"].split(".")
        theirs = getattr(importlib.import_module(f"smp.{module}"), name)
        data = bytes.fromhex(row["hex"])
        assert theirs.loads(data).sequence == row["sequence"]
        made = theirs(sequence=row["sequence"], **cbor2.loads(data[HEADER.size :])).BYTES
        if name == "ImageStatesWriteResponse":  # there, this is an answer to a read
            assert made[0] ^ data[0] == Op.READ_ANSWER ^ Op.WRITE_ANSWER
            made = data[:1] + made[1:]
        assert made == data, row["message"]
    assert len(rows) == 41


def test_a_field_that_is_none_is_not_sent():
    assert request_bytes(messages.ImageUploadRequest(1), 0)[8:] == bytes.fromhex(
        "a2636f666601646461746140"
    )


def test_unknown_keys_are_ignored_and_missing_ones_have_their_default():
    data = HEADER.pack(0x0A, 0, 6, 0, 7, 0) + cbor2.dumps({"new": 1})
    assert parse_request(data)[1] == messages.EchoRequest("")


def test_maps_of_indefinite_length_are_read():
    data = bytes.fromhex("bf6164626869ff")
    assert parse_request(HEADER.pack(0x0A, 0, len(data), 0, 0, 0) + data)[1].d == "hi"


def test_an_empty_body_is_an_empty_map():
    assert parse_request(HEADER.pack(8, 0, 0, 0, 0, 6))[1] == messages.ParametersRequest()


def test_version_1_is_answered_in_version_1():
    asked = parse_request(request_bytes(messages.EchoRequest("x"), 9, version=0))[0]
    for answer, body in [
        (messages.EchoAnswer("x"), {"r": "x"}),
        (Refusal(Rc.BUSY, rsn="later"), {"rc": 10, "rsn": "later"}),
        (Refusal(2, Group.STAT), {"rc": 1}),
    ]:
        data = answer_bytes(asked, answer)
        assert data[0] == Op.WRITE_ANSWER
        assert cbor2.loads(data[8:]) == body


def test_version_2_names_the_group_of_a_code():
    asked = Header(Op.READ, Group.STAT, 0, 3)
    data = answer_bytes(asked, Refusal(2, Group.STAT))
    assert cbor2.loads(data[8:]) == {"err": {"group": 2, "rc": 2}}
    assert parse_answer(data)[1] == Refusal(2, Group.STAT)
    assert parse_answer(answer_bytes(asked, Refusal(3, rsn="no")))[1] == Refusal(3, None, "no")


def test_rc_0_is_no_refusal():
    data = cbor2.dumps({"rc": 0})
    assert parse_answer(HEADER.pack(11, 0, len(data), 0, 0, 5) + data)[1] == messages.ResetAnswer()


def request(body, *, op=Op.WRITE, group=0, command=0, length=None):
    data = body if isinstance(body, bytes) else cbor2.dumps(body)
    length = len(data) if length is None else length
    return HEADER.pack(8 | op, 0, length, group, 1, command) + data


@pytest.mark.parametrize(
    ("data", "rc", "match"),
    [
        (request({"d": 1}), Rc.INVALID, "'d' is of type int, expected str"),
        (request({"off": True}, group=1, command=1), Rc.INVALID, "'off' is of type bool"),
        (request({"data": b""}, group=1, command=1), Rc.INVALID, "'off' is missing"),
        (request({"labels": [1]}, group=64, command=4), Rc.INVALID, "expected LabelEntry"),
        (request({}, group=99), Rc.NOT_SUPPORTED, "no command 0 in group 99"),
        (request({}, command=99), Rc.NOT_SUPPORTED, "no command 99"),
        (request({}, length=2), Rc.CORRUPT, "announces 2 bytes, 1 follow"),
        (request({}, op=Op.WRITE_ANSWER), Rc.NOT_SUPPORTED, "expected a request"),
        (request([1]), Rc.INVALID, "expected a map"),
        (request({1: 2}), Rc.INVALID, "expected a map"),
        (request(b"\xa1"), Rc.INVALID, "ends inside|announced"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_code_of_zephyr(data, rc, match):
    with pytest.raises(WireError, match=match) as caught:
        parse_request(data)
    assert caught.value.rc is rc
    assert caught.value.header is not None


@pytest.mark.parametrize("data", [b"", b"\x0a" * 7, b"\x0c" + bytes(7), b"\x12" + bytes(7)])
def test_without_a_header_there_is_nobody_to_answer(data):
    with pytest.raises(WireError) as caught:
        parse_request(data)
    assert caught.value.header is None


def test_a_refusal_that_comes_back_is_not_refused_again():
    """Else two ends that echo would talk for ever."""
    echoed = answer_bytes(Header(Op.WRITE, 0, 0, 0), Refusal(Rc.BUSY))
    with pytest.raises(WireError) as caught:
        parse_request(echoed)
    assert caught.value.header is None


@pytest.mark.parametrize("body", [{"err": 1}, {"err": {"rc": 1}}, {"rc": "x"}])
def test_a_refusal_without_numbers_is_an_error(body):
    with pytest.raises(WireError, match="refusal"):
        parse_answer(request(body, op=Op.WRITE_ANSWER))


def test_a_request_is_no_answer():
    with pytest.raises(WireError, match="does the line echo"):
        parse_answer(request({}))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("", "ends inside"),
        ("a1", "announced"),
        ("a16161", "ends inside|announced"),
        ("a0a0", "1 bytes after the end"),
        ("c0", "tags"),
        ("1c", "reserved"),
        ("5f", "indefinite"),
        ("1bffff", "inside a length"),
        ("9bffffffffffffffff", "announced"),
        ("5bffffffffffffffff", "string of"),
        ("81" * 9 + "00", "nested deeper"),
        ("9f" * 9 + "ff" * 9, "nested deeper"),
        ("9f" + "00" * 8200 + "ff", "more than 8192 items"),
        ("a161ff00", "not CBOR"),
        ("00", "expected a map"),
        ("a1" + "a0" + "00", "CBOR|map"),
    ],
)
def test_cbor_beyond_the_limits_is_refused(data, match):
    with pytest.raises(cbor.CborError, match=match):
        cbor.decode(bytes.fromhex(data))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_cbor_round_trip(value):
    assert cbor.decode(cbor.encode(value)) == value


@given(
    st.integers(0, 2**32),
    st.binary(max_size=300),
    st.none() | st.binary(min_size=32, max_size=32),
    st.integers(0, 255),
    st.integers(0, 1),
)
def test_requests_round_trip(off, data, sha, sequence, version):
    message = messages.ImageUploadRequest(off, data, sha=sha)
    header, again = parse_request(request_bytes(message, sequence, version))
    assert again == message
    assert (header.sequence, header.version) == (sequence, version)


def test_what_is_signed_names_nonce_and_board():
    text = edge_messages.authorisation_text(bytes(32), "board-1")
    assert text == b"edge-runtime authorise 1\0" + bytes(32) + b"board-1"
    with pytest.raises(ValueError, match="nonce of 3 bytes"):
        edge_messages.authorisation_text(b"abc", "board-1")
