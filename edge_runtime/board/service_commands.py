"""``edge-agent install``, ``uninstall``, ``doctor``, ``warm-up``, ``run``: a board by hand."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from edge_runtime.board.serve_commands import add_profile, add_state, add_stream
from edge_runtime.errors import EdgeRuntimeError


class UnwellError(EdgeRuntimeError, RuntimeError):
    """The doctor found something that does not work."""


def register(commands: Any) -> None:
    """Add the commands to edge-agent's parser."""
    install = commands.add_parser("install", help="install the agent as a systemd service")
    install.add_argument("--port", action="append", required=True, metavar="DEVICE", dest="ports")
    install.add_argument("--key", action="append", type=Path, default=[], metavar="KEY.pub.pem")
    install.add_argument("--memory-max", default="60%", help="512M, or a share of all")
    install.add_argument("--cpu-quota", default="200%", help="of one core; 200%% are two")
    install.add_argument("--print", action="store_true", help="only show the unit")
    install.add_argument("--no-start", action="store_true", help="neither enable nor start it")
    _add_root(install)
    install.add_argument(
        "arguments", nargs="*", metavar="-- ARGUMENT", help="for `serve`, after a --"
    )
    install.set_defaults(run=install_service)

    uninstall = commands.add_parser("uninstall", help="remove the service and all that it made")
    uninstall.add_argument("--keep-state", action="store_true", help="keep packs, keys, learning")
    uninstall.add_argument("--no-stop", action="store_true", help="do not talk to systemd")
    _add_root(uninstall)
    uninstall.set_defaults(run=uninstall_service)

    doctor = commands.add_parser("doctor", help="what works on this board, and what it costs")
    doctor.add_argument("--port", action="append", default=[], metavar="DEVICE", dest="ports")
    doctor.add_argument("--json", action="store_true")
    add_state(doctor)
    doctor.set_defaults(run=show_findings)

    warm_up = commands.add_parser("warm-up", help="compile the kernels into their cache")
    warm_up.set_defaults(run=warm_kernels)

    run = commands.add_parser("run", help="run a pack on a stream, without a line; JSON comes out")
    run.add_argument("pack", type=Path, metavar="PACK")
    run.add_argument("--learned", type=Path, metavar="DIR", help="learned state, in and out")
    run.add_argument(
        "--labels", metavar="FILE",
        help='lines {"sample": 17, "label": "dog"} of a file or a named pipe; - for stdin',
    )  # fmt: skip
    run.add_argument("--limit", type=int, metavar="N", help="at most so many samples")
    add_profile(run)
    add_stream(run)
    run.set_defaults(run=run_on_stream)


def _add_root(parser: Any) -> None:
    parser.add_argument("--root", type=Path, default=Path("/"), help="of an image to install into")


def install_service(arguments: argparse.Namespace) -> None:
    """Write the unit, pin the keys, start."""
    from edge_runtime.board import unit
    from edge_runtime.board.serving import load_keys

    program = shutil.which("edge-agent") or sys.argv[0]
    service = unit.Service(
        str(Path(program).absolute()),
        tuple(arguments.ports),
        tuple(arguments.arguments),
        arguments.memory_max,
        arguments.cpu_quota,
    )
    if arguments.print:
        print(unit.unit_text(service), end="")
        return
    for key in arguments.key:
        load_keys(key.parent, [key])  # a wrong file is found now, and not when the board is away
    path = unit.install(arguments.root, service, arguments.key, start=not arguments.no_start)
    print(f"{path}: written{'' if arguments.no_start else ', enabled and started'}")
    if not arguments.key:
        print("unprovisioned: whoever holds the cable may change everything; --key pins a key")


def uninstall_service(arguments: argparse.Namespace) -> None:
    """Remove it and say what is gone."""
    from edge_runtime.board import unit

    removed = unit.uninstall(
        arguments.root, keep_state=arguments.keep_state, stop=not arguments.no_stop
    )
    for path in removed:
        print(f"{path}: removed")
    if not removed:
        print("nothing was installed")


def show_findings(arguments: argparse.Namespace) -> None:
    """Print what was found; what does not work makes the exit code 1."""
    from dataclasses import asdict

    from edge_runtime.board.doctor import examine

    findings = []
    for finding in examine(arguments.state, tuple(arguments.ports)):
        findings.append(finding)
        if not arguments.json:
            print(f"{finding.verdict:4}  {finding.what:22} {finding.found}", flush=True)
    if arguments.json:
        print(json.dumps([asdict(each) for each in findings], indent=1))
    failed = [each.what for each in findings if each.verdict == "fail"]
    if failed:
        raise UnwellError(f"does not work here: {', '.join(failed)}")


def warm_kernels(arguments: argparse.Namespace) -> None:
    """Compile, and say how long it took; the next start finds them."""
    from edge_runtime.board.profiles import PROFILES

    started_s = time.perf_counter()
    trouble = PROFILES["fast"].apply()
    print(trouble or f"kernels ready after {time.perf_counter() - started_s:.1f} s")


def run_on_stream(arguments: argparse.Namespace) -> None:
    """One line of JSON for each sample, and one for each event."""
    from edge_runtime.board.standalone import run_pack

    run_pack(arguments)
