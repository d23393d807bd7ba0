"""A disk in memory that records what is done to it, and every disk a power cut could leave.

A file is an inode with content; a name points at one. What was not synced may be lost, kept, cut
in half, or filled with zeros; names that were not synced may be kept or lost each by itself, in
any combination. A model of a file system, kinder than none and crueller than ext4.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path

from edge_runtime.board.files import Files

MAX_NAME_CHANGES = 4  # pending at once: 16 combinations


class MemoryFiles(Files):
    """The real interface over a dict; `operations` is what happened, for `disks_after`."""

    def __init__(self, content=None, skip_sync=None):
        super().__init__(Path("/nowhere/at/all"))
        self.content = dict(content or {})
        self.operations = []
        self._skip_sync = skip_sync

    def names(self):
        return sorted(self.content)

    def size(self, name):
        return len(self.content.get(name, b""))

    def open(self, name):
        if name not in self.content:
            raise FileNotFoundError(name)
        return io.BytesIO(self.content[name])

    def write(self, name, data):
        self.content[name] = bytes(data)
        self.operations.append(("write", name, bytes(data)))

    def write_at(self, name, offset, data):
        self.write(name, self.content.get(name, b"").ljust(offset, b"\0")[:offset] + data)

    def sync(self, name):
        self._sync_unless_skipped("sync", name)

    def sync_directory(self):
        last = next((op for op in reversed(self.operations) if op[0] == "rename"), ("", "", ""))
        self._sync_unless_skipped("sync_directory", last[2])

    def _sync_unless_skipped(self, kind, name):
        if self._skip_sync is None or not self._skip_sync(kind, name):
            self.operations.append((kind, name))

    def rename(self, old, new):
        self.content[new] = self.content.pop(old)
        self.operations.append(("rename", old, new))

    def remove(self, name):
        if self.content.pop(name, None) is not None:
            self.operations.append(("remove", name))

    def note(self, value):
        """A mark between the operations."""
        self.operations.append(("note", value))


class _Disk:
    """Inodes and names, as the page cache has them and as the disk has them."""

    def __init__(self):
        self.cached, self.durable = [], []  # content by inode
        self.names, self.synced_names = {}, {}
        self.pending = []  # changes of names since the last sync: {name: inode or None}

    def do(self, operation):
        kind, *rest = operation
        if kind == "write":
            name, data = rest
            if name not in self.names:
                self._rename({name: len(self.cached)})
                self.cached.append(b"")
                self.durable.append(b"")
            self.cached[self.names[name]] = data
        elif kind == "sync":
            inode = self.names[rest[0]]
            self.durable[inode] = self.cached[inode]
        elif kind == "rename":
            self._rename({rest[1]: self.names[rest[0]], rest[0]: None})
        elif kind == "remove":
            self._rename({rest[0]: None})
        elif kind == "sync_directory":
            self.synced_names, self.pending = dict(self.names), []

    def _rename(self, change):
        self.pending.append(change)
        _apply(self.names, change)

    def after_power_cut(self):
        """Every content of the directory that may be found."""
        for names in self._possible_names():
            for spoil in (_keep, _lose, _tear, _zero):
                yield {
                    name: spoil(self.cached[inode], self.durable[inode])
                    for name, inode in names.items()
                }

    def _possible_names(self):
        oldest = self.pending[:-MAX_NAME_CHANGES]
        newest = self.pending[-MAX_NAME_CHANGES:]
        for chosen in itertools.product((True, False), repeat=len(newest)):
            names = dict(self.synced_names)
            for change in oldest + [c for c, kept in zip(newest, chosen, strict=True) if kept]:
                _apply(names, change)
            yield names


def _apply(names, change):
    for name, inode in change.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def _keep(cached, durable):
    return cached


def _lose(cached, durable):
    return durable


def _tear(cached, durable):
    return cached if cached == durable else cached[: len(cached) // 2]


def _zero(cached, durable):
    return cached if cached == durable else bytes(len(cached))


def disks_after(operations):
    """(notes so far, contents) of every disk that a cut after each operation may leave."""
    disk, notes = _Disk(), []
    for operation in operations:
        if operation[0] == "note":
            notes = [*notes, operation[1]]
            continue
        disk.do(operation)
        for content in disk.after_power_cut():
            yield notes, content
