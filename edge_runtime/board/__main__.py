"""``edge-agent``: the table of commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final

from edge_runtime.board import serve_commands, service_commands
from edge_runtime.errors import EdgeRuntimeError


class ExitCode(IntEnum):
    """What the shell, or systemd, sees. Argparse itself ends with USAGE."""

    OK = 0
    FAILED = 1
    USAGE = 2


GROUPS: Final[tuple[Callable[[Any], None], ...]] = (
    serve_commands.register,
    service_commands.register,
)


def build_parser() -> argparse.ArgumentParser:
    """Parser of every command."""
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="The board's end of the serial line."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for register in GROUPS:
        register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an expected error is one line on standard error."""
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (EdgeRuntimeError, OSError) as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.FAILED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
