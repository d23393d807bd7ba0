"""What processes hold in memory, as the kernel counts it: `/proc/PID`. Linux alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

PAGE = os.sysconf("SC_PAGE_SIZE")
_PRESENT = np.uint64(1 << 63)
_FRAME = np.uint64((1 << 55) - 1)


def kilobytes(pid: int, name: str) -> int:
    """A line of `/proc/PID/status`: VmRSS, VmHWM (its peak)."""
    text = Path(f"/proc/{pid}/status").read_text()
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(lines[name].split()[0])


def together(pids: Iterable[int]) -> int:
    """Bytes that these processes hold, a page that several share counted once, whoever else has it.

    0 where the kernel does not say which pages they are: it tells root alone. PSS is less than that
    as soon as another process, such as a benchmark, has the same libraries.
    """
    frames = [_frames(pid) for pid in pids]
    pages = np.unique(np.concatenate(frames))
    return int(np.count_nonzero(pages)) * PAGE


def _frames(pid: int) -> np.ndarray:
    """Numbers of the pages of memory behind a process's addresses."""
    found = []
    with Path(f"/proc/{pid}/pagemap").open("rb") as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            first, last = (int(text, 16) // PAGE for text in line.split()[0].split("-"))
            if first >= 2**51:  # vsyscall, which is no memory
                continue
            pagemap.seek(first * 8)
            entries = np.frombuffer(pagemap.read((last - first) * 8), np.uint64)
            found.append(entries[entries & _PRESENT != 0] & _FRAME)
    return np.concatenate(found)


def descendants(pid: int) -> list[int]:
    """Processes that this one has started, and those that they have."""
    children = [
        int(word)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for word in (task / "children").read_text().split()
    ]
    return [*children, *(each for child in children for each in descendants(child))]
