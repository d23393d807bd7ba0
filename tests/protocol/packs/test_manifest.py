"""The manifest: a closed schema; every wrong field is named."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.protocol.pack import BoardFacts, PackError, Version, check_board, read_pack
from edge_runtime.protocol.pack.archive import write_archive
from edge_runtime.protocol.pack.container import write_image
from edge_runtime.protocol.pack.manifest import (
    MAX_MANIFEST_BYTES,
    Requirements,
    from_bytes,
    to_bytes,
)
from edge_runtime.protocol.pack.verify import counter_key
from tests.protocol.packs import making
from tests.protocol.packs.making import ENCODER, KEY, PINNED, manifest_bytes


def changed(*path, to):
    """The manifest with one value replaced, or removed if `to` is `...`."""
    fields = json.loads(manifest_bytes())
    place = fields
    for step in path[:-1]:
        place = place[step]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(fields).encode()


def refusal(data):
    with pytest.raises(PackError) as caught:
        from_bytes(data)
    assert caught.value.reason == "manifest"
    return str(caught.value)


def test_it_survives_its_bytes():
    manifest = from_bytes(manifest_bytes())
    assert to_bytes(manifest) == manifest_bytes()
    assert manifest.image == 1
    assert manifest.classes == ("cat", "dog")


def test_a_manifest_of_the_future_says_so():
    assert "update edge-runtime" in refusal(changed("schema", to=3))
    for schema in (0, -1, "1", 1.0, True, None, ...):
        assert "schema" in refusal(changed("schema", to=schema))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "adapter"),
        (("name",), "../x"),
        (("name",), ""),
        (("name",), 5),
        (("name",), ...),
        (("unknown",), 1),
        (("encoder", "file"), "encoder.pt"),
        (("encoder", "sha256"), "0" * 64),
        (("encoder", "sha256"), "ABC"),
        (("encoder", "taps"), []),
        (("encoder", "taps"), ["a", "a"]),
        (("encoder", "taps"), ["\x1b[2J"]),
        (("encoder", "taps"), "tap"),
        (("encoder", "input_shape"), [0]),
        (("encoder", "input_shape"), [2**40]),
        (("encoder", "input_shape"), [True]),
        (("encoder", "input_dtype"), "object"),
        (("encoder", "more"), 1),
        (("members",), {}),
        (("members",), []),
        (("members", "encoder.onnx", "bytes"), -1),
        (("members", "encoder.onnx", "bytes"), 1.0),
        (("members", "evil.py"), {"bytes": 1, "sha256": "0" * 64}),
        (("preprocessing", "scale"), [1.0]),
        (("preprocessing", "scale"), ["1"]),
        (("classes",), ["a", "a"]),
        (("classes",), ["a", 1]),
        (("classes",), [1.5]),
        (("classes",), [None]),
        (("classes",), [2**70]),
        (("classes",), list(range(257))),
        (("thresholds",), {"x": "y"}),
        (("thresholds",), {"x": 1e40}),
        (("thresholds",), {"x": 10**400}),
        (("thresholds",), {"x y": 1}),
        (("canary_labels",), ["cat"]),
        (("requires", "runtime"), ">=1"),
        (("requires", "runtime"), "1.0"),
        (("requires", "boards"), [""]),
        (("requires", "memory_bytes"), -5),
    ],
)
def test_a_wrong_field_is_refused(path, value):
    message = refusal(changed(*path, to=value))
    assert len(message) < 1000


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}", b'{"schema": 1, "schema": 1}',
        b'{"schema": NaN}', b"[" * 100_000, b" " * (MAX_MANIFEST_BYTES + 1), b"9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(data):
    refusal(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=8), each, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(json.loads(manifest_bytes()))), json_values)
def test_any_json_in_any_field_is_read_or_refused(name, value):
    with contextlib.suppress(PackError):
        from_bytes(changed(name, to=value))


def test_preprocessing_has_one_number_or_one_for_each_channel():
    for n, good in ((1, True), (3, True), (2, False)):
        data = changed("preprocessing", to={"scale": [0.5] * n, "offset": [0.0] * n})
        if good:
            assert len(from_bytes(data).preprocessing.scale) == n
        else:
            refusal(data)


# -- manifest against members, pack against board ---------------------------------------------


def signed(members):
    data = write_image(write_archive(members), KEY, version=Version(1, 0, 0), security_counter=1)
    return io.BytesIO(data)


def reason_of(members):
    with pytest.raises(PackError) as caught:
        read_pack(signed(members), PINNED)
    return caught.value.reason


def test_members_that_are_not_the_manifests_are_refused_even_if_signed():
    text = manifest_bytes()
    assert reason_of({"manifest.json": text}) == "manifest"
    assert reason_of({"encoder.onnx": ENCODER, "manifest.json": text}) == "manifest"
    assert reason_of({"manifest.json": text, "encoder.onnx": ENCODER, "x": b""}) == "manifest"
    assert reason_of({"manifest.json": text, "encoder.onnx": ENCODER + b"x"}) == "manifest"
    assert reason_of({"manifest.json": text, "encoder.onnx": ENCODER[::-1]}) == "digest"
    assert reason_of({"manifest.json": bytes(MAX_MANIFEST_BYTES + 1)}) == "manifest"


def test_a_file_that_changes_after_it_was_verified_is_noticed():
    data = making.golden()
    pack = read_pack(io.BytesIO(data), PINNED)
    at = data.index(ENCODER)
    with pytest.raises(PackError) as caught:
        pack.read(io.BytesIO(data[:at] + b"?" + data[at + 1 :]), "encoder.onnx")
    assert caught.value.reason == "digest"


def board_refusal(data, **facts):
    pack = read_pack(io.BytesIO(data), PINNED)
    board = BoardFacts(**{"runtime": "0.1.0", **facts})
    with pytest.raises(PackError) as caught:
        check_board(pack, board)
    return caught.value.reason


def test_a_pack_for_another_board_release_counter_or_encoder_is_refused():
    needs = Requirements("0.2.0")
    assert board_refusal(making.model(requires=needs), runtime="0.1.9") == "runtime"
    check_board(read_pack(io.BytesIO(making.model(requires=needs)), PINNED), BoardFacts("0.10.0"))
    check_board(
        read_pack(io.BytesIO(making.model(requires=needs)), PINNED), BoardFacts("0.2.0.dev1")
    )
    boards = making.model(requires=Requirements(boards=("nvidia,jetson-nano",)))
    assert board_refusal(boards) == "board"
    assert board_refusal(boards, names=("raspberrypi,4-model-b",)) == "board"
    check_board(
        read_pack(io.BytesIO(boards), PINNED), BoardFacts("0.1.0", ("x", "nvidia,jetson-nano"))
    )
    large = making.model(requires=Requirements(memory_bytes=2**31))
    assert board_refusal(large, memory_bytes=2**30) == "board"
    old = read_pack(io.BytesIO(making.model(counter=6)), PINNED)
    assert board_refusal(making.model(counter=6), counters={counter_key(old): 7}) == "counter"
    check_board(old, BoardFacts("0.1.0", counters={counter_key(old): 6}))


def test_a_head_needs_the_encoder_it_was_learned_on():
    assert board_refusal(making.head()) == "encoder"
    swapped = making.entry(b"another encoder").fingerprint
    assert board_refusal(making.head(), encoder=swapped) == "encoder"
    right = making.entry().fingerprint
    check_board(read_pack(io.BytesIO(making.head()), PINNED), BoardFacts("0.1.0", encoder=right))


# -- schema 2: an accelerator by name ---------------------------------------------------------


def with_accelerator(name, schema=2):
    fields = json.loads(manifest_bytes())
    return json.dumps({**fields, "schema": schema, "accelerator": name}).encode()


def test_a_pack_without_an_accelerator_is_read_by_older_boards():
    fields = json.loads(manifest_bytes())
    assert fields["schema"] == 1
    assert "accelerator" not in fields
    assert from_bytes(manifest_bytes()).accelerator == "cpu"


def test_an_accelerator_comes_back_and_needs_schema_2():
    manifest = from_bytes(with_accelerator("tensorrt"))
    assert manifest.accelerator == "tensorrt"
    assert json.loads(to_bytes(manifest))["schema"] == 2
    assert from_bytes(to_bytes(manifest)) == manifest
    assert "accelerator" in refusal(with_accelerator("cuda", schema=1))
    assert "accelerator" in refusal(changed("schema", to=2))


@pytest.mark.parametrize("name", ["abacus", "", None, 7, ["cuda"], "x" * 10_000, "edgetpu"])
def test_an_accelerator_that_nobody_knows_or_that_runs_another_format_is_refused(name):
    assert "accelerator" in refusal(with_accelerator(name))


def test_a_head_names_no_accelerator():
    head = making.head()
    with io.BytesIO(head) as file:
        manifest = read_pack(file, None).manifest
    fields = json.loads(to_bytes(manifest))
    data = json.dumps({**fields, "schema": 2, "accelerator": "cuda"}).encode()
    assert "a head" in refusal(data)
