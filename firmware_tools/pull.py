"""Read a file of the board over group 8: a window of pieces, checked against its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.wire.edge_messages import PullAnswer, PullRequest
from edge_runtime.protocol.wire.messages import (
    FileAnswer,
    FileRequest,
)
from edge_runtime.protocol.wire.smp import Refusal
from firmware_tools.errors import NoLinkError, RefusedError
from firmware_tools.link import Link

# What a host is willing to hold; learned state is a few megabytes.
MAX_FILE_BYTES: Final = 256 * 2**20
MAX_ROUNDS_WITHOUT: Final = 3


class TransferError(EdgeRuntimeError, RuntimeError):
    """A file arrived, and it is not the one that the board has."""


def pull_file(link: Link, what: str, on_progress: Callable[[int, int], None]) -> tuple[str, bytes]:
    """Name and bytes of a file that the board makes of `what`, digest checked.

    "state" is the newest generation of what was learned; see `docs/protocol.md` for the others.
    """
    file = link.ask(PullRequest(what), PullAnswer)
    data = read_file(link, file.name, on_progress)
    if len(data) != file.len or hashlib.sha256(data).digest() != file.sha:
        raise TransferError(f"{file.name} changed on the way, or on the board: pull it again")
    return file.name, data


def read_file(
    link: Link, name: str, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> bytes:
    """A file's bytes; the board says how much it gives at once.

    Raises
    ------
    RefusedError
        There is no such file, or it may not be read.
    """
    first = link.ask(FileRequest(name, 0), FileAnswer)
    total = first.len
    if total is None or not 0 <= total <= MAX_FILE_BYTES or len(first.data) > total:
        raise NoLinkError(f"{name}: the board announces {total} bytes, sends {len(first.data)}")
    data = bytearray(first.data)
    piece = max(1, len(first.data))
    idle = 0
    while len(data) < total:
        before = len(data)
        offsets = range(before, total, piece)[: link.window]
        requests = [FileRequest(name, off) for off in offsets]
        for request, answer in zip(requests, link.ask_many([*requests]), strict=True):
            _take(data, request, answer, total)
        on_progress(len(data), total)
        idle = idle + 1 if len(data) == before else 0
        if idle >= MAX_ROUNDS_WITHOUT:
            raise NoLinkError(f"{name} ends after {len(data)} of {total} bytes")
    return bytes(data)


def _take(data: bytearray, request: FileRequest, answer: object, total: int) -> None:
    if isinstance(answer, Refusal):
        raise RefusedError(request, answer)
    if not isinstance(answer, FileAnswer):
        raise NoLinkError(f"the board answers {answer} to a file request")
    # One after a shorter piece than expected is asked for again.
    if answer.off == len(data) and len(data) + len(answer.data) <= total:
        data += answer.data
