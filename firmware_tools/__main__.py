"""``edgectl``: the table of commands, and the one place where an error becomes an exit code.

Not here: any command. Each group registers its parsers and stores the function to call as ``run``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from edge_runtime.errors import EdgeRuntimeError
from firmware_tools import (
    board_commands,
    encoder_commands,
    monitor_commands,
    pack_commands,
    push_commands,
    simulate,
)
from firmware_tools.errors import ExitCode

__all__ = ["ExitCode", "main"]

GROUPS: Final[tuple[Callable[[Any], None], ...]] = (
    encoder_commands.register,
    pack_commands.register,
    push_commands.register,
    board_commands.register,
    monitor_commands.register,
    simulate.register,
)


def build_parser() -> argparse.ArgumentParser:
    """Parser of every command."""
    parser = argparse.ArgumentParser(prog="edgectl", description="Work with edge-runtime boards.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for register in GROUPS:
        register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an expected error is one line on standard error.

    An error may carry its own ``exit_code`` (no link, refused by the device); others are FAILED.
    """
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (EdgeRuntimeError, OSError) as error:
        print(f"edgectl: {error}", file=sys.stderr)
        return int(getattr(error, "exit_code", ExitCode.FAILED))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
