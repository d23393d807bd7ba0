"""Which labels have come since the last generation: what a killed process has lost, by name.

    magic (8 bytes) | generation (8, little-endian) | records of 24 bytes, a ring of `MAX_RECORDS`

A record is its number (8), the id of the sample (8; all ones for a batch), how many labels (4), and
the CRC-32 of all that and of the generation (4). A label is noted before it is learned, and synced;
a record that was torn is not counted. No label is in here and no sample: it says what was lost, and
cannot bring it back. A generation that is saved starts the file anew. What it is: `generations`.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"EDGEJRN1"
FILE_NAME = "labels.journal"
HEAD_BYTES, RECORD_BYTES = 16, 24
MAX_RECORDS = 4096
BATCH = 2**64 - 1
# What a count in a forged file is cut to: a number that every reader of events can hold.
MOST_COUNTED = 2**53
# Ids that a message names; `LostLabels.sample_ids` has all that are known.
NAMED = 20


@dataclass(frozen=True)
class LostLabels:
    """Labels that came after a generation was saved, and were never saved themselves."""

    generation: int
    count: int
    sample_ids: tuple[int, ...] = ()  # without those of batches, and the last `MAX_RECORDS` at most

    @property
    def message(self) -> str:
        """What is lost, in a sentence."""
        named = ", ".join(str(each) for each in self.sample_ids[-NAMED:])
        samples = f"of samples {named}" if named else "of batches"
        more = " and others" if self.count > min(len(self.sample_ids), NAMED) and named else ""
        return f"{self.count} labels since generation {self.generation} are lost: {samples}{more}"


class Journal:
    """The labels since one generation, in a directory of generations."""

    def __init__(self, directory: Path, generation: int) -> None:
        self.path, self.generation = directory / FILE_NAME, generation
        self._n = 0

    def note(self, sample_id: int | None, n_labels: int = 1) -> None:
        """Write down that a label is about to be learned; None for a batch of `n_labels`.

        Raises
        ------
        OSError
            The disk is full or gone.
        """
        record = record_of(self.generation, self._n, sample_id, n_labels)
        flags = os.O_RDWR | os.O_CREAT | (os.O_TRUNC if self._n == 0 else 0)
        handle = os.open(self.path, flags, 0o644)
        try:
            if self._n == 0:
                _write(handle, MAGIC + self.generation.to_bytes(8, "little"), 0)
            _write(handle, record, HEAD_BYTES + self._n % MAX_RECORDS * RECORD_BYTES)
            os.fsync(handle)
        finally:
            os.close(handle)
        self._n += 1


def record_of(generation: int, number: int, sample_id: int | None, n_labels: int) -> bytes:
    """The bytes of one record."""
    at = BATCH if sample_id is None else sample_id
    body = number.to_bytes(8, "little") + at.to_bytes(8, "little") + n_labels.to_bytes(4, "little")
    return body + _crc(generation, body)


def _crc(generation: int, body: bytes) -> bytes:
    return zlib.crc32(body, generation & 0xFFFFFFFF).to_bytes(4, "little")


def _write(handle: int, data: bytes, offset: int) -> None:
    if os.pwrite(handle, data, offset) != len(data):
        raise OSError(f"only a part of {len(data)} bytes was written: is the disk full?")


def read(directory: Path, generation: int) -> LostLabels | None:
    """What was lost after `generation`, the one that was loaded; None if nothing was.

    A journal of an older generation tells of labels that are in this one. One of a newer one, which
    must have been damaged, tells of some that are lost.
    """
    try:
        with (directory / FILE_NAME).open("rb") as file:
            data = file.read(HEAD_BYTES + MAX_RECORDS * RECORD_BYTES)
    except OSError:
        return None
    return lost_in(data, generation)


def lost_in(data: bytes, generation: int) -> LostLabels | None:
    """`read` of the bytes of a journal; whatever they are, it raises nothing."""
    since = int.from_bytes(data[8:HEAD_BYTES], "little")
    if not data.startswith(MAGIC) or len(data) < HEAD_BYTES or since < generation:
        return None
    records = {}
    for start in range(HEAD_BYTES, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
        body, crc = data[start : start + 20], data[start + 20 : start + RECORD_BYTES]
        if crc == _crc(since, body):
            number = int.from_bytes(body[:8], "little")
            n_labels = int.from_bytes(body[16:], "little")
            records[number] = int.from_bytes(body[8:16], "little"), n_labels
    if not records:
        return None
    ordered = [records[number] for number in sorted(records)]
    overwritten = min(records)
    count = min(overwritten + sum(n for _, n in ordered), MOST_COUNTED)
    ids = tuple(at for at, _ in ordered if at != BATCH)
    return LostLabels(generation, count, ids)
