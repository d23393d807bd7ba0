"""``edgectl keygen``, ``pack`` and ``inspect`` from the shell's side."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_runtime.inputs.encoders.accelerators import AcceleratorWarning
from edge_runtime.protocol.pack import read_pack
from edge_runtime.protocol.pack.opening import accelerator_of, open_packed_encoder
from firmware_tools.__main__ import ExitCode, main
from firmware_tools.keys import load_private_key, load_public_key
from tests.protocol.packs import making
from tests.protocol.packs.making import GOLDEN, KEY, PINNED


def run(*arguments):
    return main([str(each) for each in arguments])


@pytest.fixture
def parts(workshop):
    """Arguments of a full pack."""
    workshop.canaries()
    directory = workshop.directory
    (directory / "classes.txt").write_text("dark\nbright\n")
    (directory / "labels.txt").write_text("dark\nbright\n" * 5)
    (directory / "LICENCES").write_text("Apache-2.0\n")
    return (
        "--key", workshop.key, "--name", "demo", "--version", "1.2.0", "--security-counter", 3,
        "--classes", directory / "classes.txt", "--canaries", directory / "canaries.npy",
        "--canary-labels", directory / "labels.txt", "--threshold", "false_alarm_rate=0.02",
        "--board", "raspberrypi,4-model-b", "--licences", directory / "LICENCES",
    )  # fmt: skip


def test_a_key_is_private_and_never_overwritten(tmp_path, capsys):
    path = tmp_path / "fleet.pem"
    mask = os.umask(0)  # the loosest that a user can have
    try:
        assert run("keygen", path) == ExitCode.OK
    finally:
        os.umask(mask)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: keep it secret, mode 0600"
    assert lines[1].startswith(f"{tmp_path / 'fleet.pub.pem'}: for the boards, key ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert run("keygen", path) == ExitCode.FAILED
    assert "never overwritten" in capsys.readouterr().err
    path.unlink()
    assert run("keygen", path) == ExitCode.FAILED  # its public half is still there
    assert not path.exists()
    assert b"PRIVATE KEY" in before
    assert b"PRIVATE" not in (tmp_path / "fleet.pub.pem").read_bytes()


def test_a_key_is_never_written_through_a_link_or_into_nowhere(tmp_path, capsys):
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere")
    assert run("keygen", tmp_path / "link.pem") == ExitCode.FAILED
    assert not (tmp_path / "elsewhere").exists()
    assert run("keygen", tmp_path / "no" / "such" / "k.pem") == ExitCode.FAILED
    assert capsys.readouterr().err.count("\n") == 2


def test_imgtool_takes_our_keys_and_verifies_our_packs(workshop, tmp_path, capsys):
    imgtool = shutil.which("imgtool", path=f"{sys.prefix}/bin") or shutil.which("imgtool")
    if imgtool is None:
        pytest.skip("NO IMGTOOL: the independent judge of our packs did not run")
    assert run("keygen", tmp_path / "k.pem") == ExitCode.OK
    options = ["--key", tmp_path / "k.pem", "--name", "demo", "--version", "1.0.0"]
    out = tmp_path / "demo.pack"
    assert run("pack", "--encoder", workshop.encoder, *options, "-o", out) == ExitCode.OK
    for key in ("k.pem", "k.pub.pem"):
        command = [imgtool, "verify", "--key", str(tmp_path / key), str(out)]
        subprocess.run(command, check=True, capture_output=True)


def test_a_full_pack_is_made_and_shown(workshop, parts, tmp_path, capsys):
    out, learned = tmp_path / "demo.pack", workshop.learn("learned")
    arguments = ("--encoder", workshop.encoder, *parts, "--state", learned, "-o", out)
    assert run("pack", *arguments) == ExitCode.OK
    pack = read_pack(io.BytesIO(out.read_bytes()), PINNED)
    assert capsys.readouterr().out == (
        f"{out}: model, {out.stat().st_size} bytes, id {pack.id[:12]}\n"
    )
    assert run("inspect", out, "--key", workshop.key) == ExitCode.OK
    shown = capsys.readouterr().out
    for text in (
        "name       demo 1.2.0, model (image 1)",
        f"id         {pack.id}",
        f"signed by  key {pack.image.key_hash[:12]}, checked",
        "counter    3",
        "needs      edge-runtime 0.1.0, boards: raspberrypi,4-model-b",
        "takes 3x8x8 float32",
        "taps       tap, embedding",
        "classes    dark, bright",
        "thresholds false_alarm_rate=0.02",
        "member     encoder.onnx, ",
        "member     state.edge, ",
        "member     canaries.npy, ",
        "member     LICENCES, 11 bytes",
    ):
        assert text in shown
    again = tmp_path / "again.pack"
    assert run("pack", *arguments[:-1], again) == ExitCode.OK
    assert again.read_bytes() == out.read_bytes()


def test_a_pack_asks_for_an_accelerator_and_a_board_without_it_serves(workshop, tmp_path, capsys):
    out = tmp_path / "fast.pack"
    options = ("--key", workshop.key, "--name", "fast", "--version", "1.0.0")
    arguments = ("--encoder", workshop.encoder, *options, "-o", out)
    assert run("pack", *arguments, "--accelerator", "coreml") == ExitCode.OK
    assert run("inspect", out) == ExitCode.OK
    assert "runs on    coreml, or the CPU" in capsys.readouterr().out
    with out.open("rb") as file, pytest.warns(AcceleratorWarning, match="the CPU serves"):
        encoder = open_packed_encoder(read_pack(file, PINNED), file, tmp_path / "unpacked")
    assert accelerator_of(encoder) == "cpu"
    # A delegate of the other format can never serve: that is a mistake of whoever packs.
    assert run("pack", *arguments, "--accelerator", "edgetpu") == ExitCode.FAILED
    assert "accelerator 'edgetpu'" in capsys.readouterr().err


def test_a_head_carries_no_encoder(workshop, parts, tmp_path, capsys):
    model, head = tmp_path / "model.pack", tmp_path / "head.pack"
    assert run("pack", "--encoder", workshop.encoder, *parts, "-o", model) == ExitCode.OK
    options = ("--key", workshop.key, "--name", "night", "--version", "1.0.0")
    learned = workshop.learn("learned")
    arguments = ("--head-for", model, *options, "--state", learned, "-o", head)
    assert run("pack", *arguments) == ExitCode.OK
    pack = read_pack(io.BytesIO(head.read_bytes()), PINNED)
    assert list(pack.members) == ["manifest.json", "state.edge"]
    assert pack.manifest.classes == ("dark", "bright")
    assert pack.manifest.image == 2
    assert run("pack", "--head-for", model, *options, "-o", head) == ExitCode.FAILED
    assert "--state" in capsys.readouterr().err


def test_inspect_says_what_it_did_not_check(capsys):
    assert run("inspect", GOLDEN) == ExitCode.OK
    assert "NOT CHECKED" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["cut", "flipped", "foreign key", "missing", "no pack"])
def test_inspect_of_a_bad_pack_is_one_line_and_a_failure(tmp_path, capsys, change):
    data, path, key = bytearray(GOLDEN.read_bytes()), tmp_path / "x.pack", tmp_path / "k.pem"
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key.write_bytes(pem)
    if change == "flipped":
        data[500] ^= 1
    if change == "foreign key":
        data = bytearray(making.model(key=making.OTHER_KEY))
    if change != "missing":
        cut = {"cut": 900, "no pack": 0}.get(change, len(data))
        path.write_bytes(data[:cut])
    assert run("inspect", path, "--key", key) == ExitCode.FAILED
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ("--version", "1.x"),
        ("--name", "../x"),
        ("--threshold", "rate"),
        ("--scale", 1.0),
        ("--security-counter", -1),
        ("--key", "/no/such/key"),
        ("--encoder", "/no/such/encoder.onnx"),
        ("--classes", "/no/such/classes"),
        ("--canaries", "/no/such/canaries"),
        ("--runtime", "next"),
        ("--tap", "no-such-tap"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_nothing(workshop, parts, tmp_path, capsys, options):
    out = tmp_path / "x.pack"
    arguments = ("--encoder", workshop.encoder, *parts, "-o", out, *options)
    assert run("pack", *arguments) == ExitCode.FAILED
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


def test_neither_or_both_kinds_are_wrong_usage(workshop, parts, capsys):
    for kinds in ((), ("--encoder", "a", "--head-for", "b")):
        with pytest.raises(SystemExit) as ending:
            run("pack", *kinds, *parts, "-o", "x")
        assert ending.value.code == ExitCode.USAGE


def test_keys_of_other_kinds_are_refused(tmp_path):
    other = generate_private_key(SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for data in (b"", b"no key", pem, making.golden()):
        (tmp_path / "k.pem").write_bytes(data)
        for load in (load_private_key, load_public_key):
            with pytest.raises(ValueError, match=r"holds"):
                load(tmp_path / "k.pem")
