"""What ends a command: exit codes, and the errors of the link that carry one."""

from __future__ import annotations

from enum import IntEnum

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.wire.smp import Group, Message, Rc, Refusal


class ExitCode(IntEnum):
    """What the shell sees. Argparse itself ends with USAGE; Ctrl-C gives INTERRUPTED."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_LINK = 3
    REFUSED = 4
    INTERRUPTED = 130


class UsageError(EdgeRuntimeError, ValueError):
    """Options that do not go together."""

    exit_code = ExitCode.USAGE


class NoLinkError(EdgeRuntimeError, OSError):
    """No port, or nobody at its other end."""

    exit_code = ExitCode.NO_LINK


class RefusedError(EdgeRuntimeError, RuntimeError):
    """The board understood, and said no; ``refusal`` is its answer."""

    exit_code = ExitCode.REFUSED

    def __init__(self, request: Message, refusal: Refusal) -> None:
        super().__init__(f"the board refuses {_name(request)}: {describe(refusal)}")
        self.refusal = refusal


def describe(refusal: Refusal) -> str:
    """A refusal in words.

    >>> describe(Refusal(11))
    'no permission: prove a key that is pinned there (--key)'
    >>> describe(Refusal(3, rsn="no such generation"))
    'no such generation'
    """
    if refusal.group is not None:
        name = next((g.name.lower() for g in Group if g == refusal.group), str(refusal.group))
        return refusal.rsn or f"code {refusal.rc} of group {name}"
    if refusal.rc == Rc.ACCESS_DENIED:
        return f"{refusal.rsn or 'no permission: prove a key that is pinned there'} (--key)"
    if refusal.rsn:
        return refusal.rsn
    name = next((rc.name.lower().replace("_", " ") for rc in Rc if rc == refusal.rc), "unknown")
    return f"{name} (code {refusal.rc})"


def _name(request: Message) -> str:
    """The request's class as words: ``ImageStateRequest`` is "image state"."""
    words = type(request).__name__.removesuffix("Request")
    return "".join(f" {c.lower()}" if c.isupper() else c for c in words).strip()
