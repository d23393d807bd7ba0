"""``edge-agent serve``: its arguments. What they do is in `serving`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from edge_runtime.board.profiles import DEFAULT, PROFILES
from edge_runtime.board.wear import BYTES_PER_HOUR, SAVE_S

DEFAULT_STATE: Final = Path("/var/lib/edge-agent")


def register(commands: Any) -> None:
    """Add the command to edge-agent's parser."""
    serve = commands.add_parser("serve", help="run the model, and serve hosts over serial lines")
    serve.add_argument(
        "--port", action="append", required=True, metavar="DEVICE", dest="ports",
        help="/dev/ttyAMA0, /dev/ttyGS0, ...; several times for several lines",
    )  # fmt: skip
    serve.add_argument("--baud", type=int, default=115_200)
    serve.add_argument("--buf-size", type=int, metavar="BYTES", help="by default, by the rate")
    serve.add_argument("--name", default="", help="what the board calls itself; its host name")
    serve.add_argument(
        "--open", action="store_true", help="let every host on the cable change things, keys or not"
    )
    serve.add_argument(
        "--telemetry", action="store_true", help="print each step as a line of JSON on the line"
    )
    add_state(serve)
    add_stream(serve).add_argument(
        "--live", action="store_true", help="drop what waits too long, as serial: does always"
    )
    limits = serve.add_argument_group("limits")
    add_profile(limits)
    limits.add_argument("--trial-s", type=float, default=600.0, help="time to confirm an update")
    limits.add_argument("--test-s", type=float, default=25.0, help="of a self-test, and of a start")
    limits.add_argument("--save-s", type=float, default=SAVE_S, help="labels are saved so soon")
    limits.add_argument(
        "--write-mb", type=_megabytes, default=BYTES_PER_HOUR // 10**6, metavar="MB",
        help="of learned state in an hour, for the SD card's sake",
    )  # fmt: skip
    limits.add_argument("--memory-mb", type=int, default=3072, help="address space of the model")
    limits.add_argument("--capture-mb", type=int, default=0, help="raw samples kept; 0: none ever")
    serve.set_defaults(run=serve_lines)


def _megabytes(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}, expected at least 1")
    return value


def add_state(parser: Any) -> None:
    """The directory of everything that the agent keeps."""
    parser.add_argument(
        "--state", type=Path, default=DEFAULT_STATE, metavar="DIR",
        help=f"packs, learned state, pinned keys (keys/*.pem); {DEFAULT_STATE}",
    )  # fmt: skip


def add_profile(parser: Any) -> None:
    """Memory or speed."""
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default=DEFAULT,
        help="small: least memory; fast: compiled kernels, 115 MB more",
    )  # fmt: skip


def add_stream(parser: Any) -> Any:
    """Where samples come from: the group of arguments."""
    group = parser.add_argument_group("samples")
    group.add_argument(
        "--stream", default="none", metavar="SPEC",
        help="files:DIR, table:FILE, serial:PORT[@BAUD], stdin, python:MODULE:FUNCTION, none",
    )  # fmt: skip
    group.add_argument("--interval", type=float, default=0.0, metavar="S", help="between samples")
    group.add_argument("--repeat", action="store_true", help="begin anew at the stream's end")
    return group


def serve_lines(arguments: argparse.Namespace) -> None:
    """Serve until told to stop."""
    from edge_runtime.board.deployer import DeployerSettings
    from edge_runtime.board.selftest import Places
    from edge_runtime.board.serving import SHARED, ServeSettings, serve
    from edge_runtime.board.worker import Order

    state = arguments.state.absolute()
    order = Order(
        Places("", None, "", ""),
        shared=str(state / SHARED),
        stream=arguments.stream,
        interval_s=arguments.interval,
        repeat=arguments.repeat,
        live=arguments.live,
        memory_bytes=arguments.memory_mb * 2**20,
        capture_bytes=arguments.capture_mb * 2**20,
        save_s=arguments.save_s,
        write_bytes=arguments.write_mb * 10**6,
        profile=arguments.profile,
        start_s=arguments.test_s,
    )
    serve(
        ServeSettings(
            tuple(arguments.ports),
            state,
            DeployerSettings(order, arguments.trial_s, arguments.test_s),
            baud=arguments.baud,
            buf_size=arguments.buf_size,
            name=arguments.name,
            is_open=arguments.open,
            telemetry=arguments.telemetry,
            memory_bytes=arguments.memory_mb * 2**20,
        )
    )
