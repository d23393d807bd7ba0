"""``edgectl keygen``, ``pack`` and ``inspect``: make keys and model packs, look inside one.

A command prints its result and returns nothing; what goes wrong is raised and becomes one line in
`__main__`. NumPy and the inference libraries load inside the command that needs them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_runtime.protocol.accelerators import CPU, NAMES

if TYPE_CHECKING:
    from edge_runtime.protocol.pack import ModelPack
    from firmware_tools.packing import Ingredients


def register(commands: Any) -> None:
    """Add the three commands to edgectl's parser."""
    keygen = commands.add_parser("keygen", help="make a key that signs model packs")
    keygen.add_argument("path", type=Path, metavar="KEY.pem", help="never overwritten")
    keygen.set_defaults(run=make_key)

    inspect = commands.add_parser("inspect", help="check a model pack and show what is in it")
    inspect.add_argument("pack", type=Path, metavar="PACK")
    inspect.add_argument("--key", type=Path, metavar="KEY.pem", help="check the signature too")
    inspect.set_defaults(run=show_pack)

    pack = commands.add_parser("pack", help="make a signed model pack, or a head for one")
    kind = pack.add_mutually_exclusive_group(required=True)
    kind.add_argument("--encoder", type=Path, metavar="MODEL", help="a model: .onnx or .tflite")
    kind.add_argument("--head-for", type=Path, metavar="PACK", help="a head: no encoder inside")
    pack.add_argument("--key", type=Path, required=True, metavar="KEY.pem")
    pack.add_argument("--name", required=True)
    pack.add_argument("--version", required=True, metavar="X.Y.Z[+BUILD]")
    pack.add_argument("--security-counter", type=int, default=0, metavar="N")
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    _add_parts(pack.add_argument_group("what goes in"))
    _add_requirements(pack.add_argument_group("what it needs"))
    pack.set_defaults(run=make_pack)


def _add_parts(group: Any) -> None:
    group.add_argument("--tap", nargs="+", metavar="NAME", dest="taps", help="embedding last")
    group.add_argument("--classes", type=Path, metavar="TXT", help="one label on each line")
    group.add_argument("--state", type=Path, metavar="FILE|DIR", help="learned state")
    group.add_argument("--canaries", type=Path, metavar="X.npy", help="samples for the self-test")
    group.add_argument("--canary-labels", type=Path, metavar="TXT", help="one on each line")
    group.add_argument("--scale", type=float, nargs="+", default=(), help="of x * scale + offset")
    group.add_argument("--offset", type=float, nargs="+", default=())
    group.add_argument("--threshold", nargs="+", default=(), metavar="NAME=NUMBER")
    group.add_argument("--licences", type=Path, metavar="TXT")


def _add_requirements(group: Any) -> None:
    group.add_argument("--runtime", default="0.1.0", metavar="X.Y.Z", help="least edge-runtime")
    group.add_argument("--board", nargs="+", default=(), metavar="NAME", dest="boards")
    group.add_argument(
        "--accelerator", choices=NAMES, default=CPU, help="else the CPU serves, and says why"
    )
    group.add_argument("--memory-mb", type=int, default=0, metavar="N", help="address space")


def make_key(arguments: argparse.Namespace) -> None:
    """Write the two halves and print the name that boards know the key by."""
    from edge_runtime.protocol.pack import key_hash
    from firmware_tools.keys import generate_key, load_public_key

    private, public = generate_key(arguments.path)
    print(f"{private}: keep it secret, mode 0600")
    print(f"{public}: for the boards, key {key_hash(load_public_key(public))[:12]}")


def make_pack(arguments: argparse.Namespace) -> None:
    """Write the pack and print its size and id."""
    from edge_runtime.protocol.pack import Version
    from edge_runtime.protocol.pack.container import write_image
    from firmware_tools import packing
    from firmware_tools.files import write_atomically
    from firmware_tools.keys import load_private_key

    key = load_private_key(arguments.key)
    version = Version.parse(arguments.version)
    parts = _ingredients(arguments)
    if arguments.encoder is not None:
        payload = packing.model_payload(arguments.name, arguments.encoder, arguments.taps, parts)
    else:
        model = packing.open_pack(arguments.head_for, [key.public_key()])
        payload = packing.head_payload(arguments.name, model, parts)
    counter = arguments.security_counter
    data = write_image(payload, key, version=version, security_counter=counter)
    path = write_atomically(arguments.output, data)
    pack = packing.open_pack(path, [key.public_key()])
    print(f"{path}: {pack.manifest.kind}, {len(data)} bytes, id {pack.id[:12]}")


def _ingredients(arguments: argparse.Namespace) -> Ingredients:
    from edge_runtime.protocol.pack.manifest import Preprocessing, Requirements
    from firmware_tools.packing import Ingredients

    return Ingredients(
        classes=_labels(arguments.classes),
        preprocessing=Preprocessing(tuple(arguments.scale), tuple(arguments.offset)),
        thresholds=dict(_threshold(each) for each in arguments.threshold),
        requires=Requirements(
            arguments.runtime, tuple(arguments.boards), arguments.memory_mb * 2**20
        ),
        state=arguments.state,
        canaries=arguments.canaries,
        canary_labels=_labels(arguments.canary_labels),
        licences=arguments.licences,
        accelerator=arguments.accelerator,
    )


def _labels(path: Path | None) -> list[int | str]:
    """One on each line; whole numbers if all of them are."""
    from edge_runtime.protocol.pack import PackError

    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise PackError("manifest", f"{path} is no text: {error}") from error
    try:
        return [int(line) for line in lines]
    except ValueError:
        return list(lines)


def _threshold(text: str) -> tuple[str, float]:
    from edge_runtime.protocol.pack import PackError

    name, _, number = text.partition("=")
    try:
        return name, int(number) if number.isdecimal() else float(number)
    except ValueError as error:
        raise PackError("manifest", f"threshold {text!r}, expected NAME=NUMBER") from error


def show_pack(arguments: argparse.Namespace) -> None:
    """Print what a pack says of itself; one that is not whole is an error."""
    from firmware_tools.keys import load_public_key
    from firmware_tools.packing import open_pack

    keys = None if arguments.key is None else [load_public_key(arguments.key)]
    for name, value in _describe(open_pack(arguments.pack, keys)):
        print(f"{name:10} {value}")


def _describe(pack: ModelPack) -> list[tuple[str, str]]:
    manifest, image = pack.manifest, pack.image
    signer = image.key_hash[:12] or "nobody"
    checked = "checked" if image.is_trusted else "NOT CHECKED: name the key with --key"
    shape = "x".join(map(str, manifest.encoder.input_shape))
    needs = manifest.requires
    rows = [
        ("name", f"{manifest.name} {image.version}, {manifest.kind} (image {manifest.image})"),
        ("id", pack.id),
        ("signed by", f"key {signer}, {checked}"),
        ("counter", str(image.security_counter)),
        ("needs", f"edge-runtime {needs.runtime}, boards: {', '.join(needs.boards) or 'any'}"),
        (
            "encoder",
            f"{manifest.encoder.fingerprint[:12]}, takes {shape} {manifest.encoder.input_dtype}",
        ),
        ("taps", ", ".join(manifest.encoder.taps)),
        ("classes", ", ".join(map(str, manifest.classes)) or "none yet"),
    ]
    if manifest.accelerator != CPU:
        rows.append(("runs on", f"{manifest.accelerator}, or the CPU"))
    if manifest.thresholds:
        pairs = (f"{name}={value:g}" for name, value in manifest.thresholds.items())
        rows.append(("thresholds", ", ".join(pairs)))
    rows += [("member", f"{name}, {member.n_bytes} bytes") for name, member in pack.members.items()]
    return rows
