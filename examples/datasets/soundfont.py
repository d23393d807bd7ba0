"""Instruments out of SoundFont 2 files: recorded notes, played at any pitch as one second of sound.

A sound font holds recordings of instruments and says which one serves which keys, loudness and
pitch. What is read here: presets of bank 0, their zones, tuning, loops and attenuation; samples of
16 bits, or compressed as Ogg Vorbis (.sf3; needs ``soundfile``). Envelopes, filters and modulators
are left out. A damaged or hostile file is refused: no size or index in it is trusted.

The format: SoundFont Technical Specification 2.04 (2006).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from examples.datasets.archives import ArchiveUnavailableError

Sound = npt.NDArray[np.float32]
Table = npt.NDArray[np.void]

RATE_HZ: Final = 16_000
OVERSAMPLING: Final = 3  # notes are read at 48 kHz and then filtered, or they would alias
MAX_SAMPLE: Final = 48_000 * 30  # values of one recording that are looked at
COMPRESSED: Final = 0x10

KEYS, VELOCITIES, INSTRUMENT, SAMPLE, ROOT = 43, 44, 41, 53, 58
COARSE, FINE, MODE, ATTENUATION, SCALE = 51, 52, 54, 48, 56

LAYOUTS: Final = {
    b"phdr": [("name", "S20"), ("program", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("_", "V12")],
    b"pbag": [("gen", "<u2"), ("_", "V2")],
    b"pgen": [("what", "<u2"), ("amount", "<u2")],
    b"inst": [("name", "S20"), ("bag", "<u2")],
    b"ibag": [("gen", "<u2"), ("_", "V2")],
    b"igen": [("what", "<u2"), ("amount", "<u2")],
    b"shdr": [
        ("name", "S20"), ("start", "<u4"), ("end", "<u4"), ("loop", "<u4"), ("loop_end", "<u4"),
        ("rate", "<u4"), ("pitch", "u1"), ("correction", "i1"), ("link", "<u2"), ("type", "<u2"),
    ],
}  # fmt: skip

Zone = dict[int, int]


@dataclass(frozen=True)
class SoundFont:
    """The tables of one file and the bytes of its recordings."""

    tables: Mapping[bytes, Table]
    recordings: bytes

    def note(self, program: int, key: int, velocity: int, seconds: float = 1.0) -> Sound:
        """One note of the General MIDI program, mono, 16 kHz, from -1 to 1.

        Raises
        ------
        ArchiveUnavailableError
            The font has no such program or no recording for the key, or is damaged.
        """
        n = round(seconds * RATE_HZ) * OVERSAMPLING
        mixed = np.zeros(n, np.float32)
        n_zones = 0
        for zone in self._zones(program, key, velocity):
            mixed += self._play(zone, key, n)
            n_zones += 1
        if n_zones == 0:
            raise ArchiveUnavailableError(f"the sound font has no program {program}, key {key}")
        loud = (velocity / 127) ** 2 / n_zones
        return np.clip(loud * _decimated(mixed), -1, 1).astype(np.float32)

    @cached_property
    def _programs(self) -> dict[int, int]:
        presets = self.tables[b"phdr"][:-1]
        rows = np.flatnonzero(presets["bank"] == 0)
        return {int(presets["program"][row]): int(row) for row in rows[::-1]}

    def _zones(self, program: int, key: int, velocity: int) -> Iterator[Zone]:
        """Generators of every recording that sounds, those of the preset added to them."""
        if program not in self._programs:
            return
        preset = _bags(self.tables, b"phdr", b"pbag", b"pgen", self._programs[program])
        for outer in preset:
            if INSTRUMENT not in outer or not _sounds(outer, key, velocity):
                continue
            for inner in _bags(self.tables, b"inst", b"ibag", b"igen", outer[INSTRUMENT]):
                if SAMPLE in inner and _sounds(inner, key, velocity):
                    added = {
                        name: _signed(inner.get(name, 0)) + _signed(outer.get(name, 0))
                        for name in (COARSE, FINE, ATTENUATION)
                    }
                    yield {**inner, **added}

    def _play(self, zone: Zone, key: int, n: int) -> Sound:
        samples = self.tables[b"shdr"][:-1]
        if not zone[SAMPLE] < len(samples):
            raise ArchiveUnavailableError(
                f"a zone plays recording {zone[SAMPLE]} of {len(samples)}"
            )
        header = samples[zone[SAMPLE]]
        sound, loop, loop_end = self._recording(header)
        root = zone.get(ROOT, 255)
        root = int(header["pitch"]) if root > 127 else root
        cents = zone.get(SCALE, 100) * (key - root) + 100 * zone[COARSE] + zone[FINE]
        step = header["rate"] / (RATE_HZ * OVERSAMPLING)
        step *= 2 ** ((cents + int(header["correction"])) / 1200)
        at = np.arange(n) * np.clip(step, 1e-3, 1e2)
        if zone.get(MODE, 0) & 1 and 0 <= loop < loop_end <= len(sound) and loop_end - loop > 1:
            at = np.where(at < loop_end, at, loop + (at - loop) % (loop_end - loop))
        found = np.interp(at, np.arange(len(sound)), sound, right=0.0)
        return np.asarray(found * 10 ** (-max(zone[ATTENUATION], 0) / 200), np.float32)

    def _recording(self, header: np.void) -> tuple[Sound, int, int]:
        """Values of a recording, and its loop counted from its beginning."""
        start, end, loop, loop_end = (int(header[k]) for k in ("start", "end", "loop", "loop_end"))
        if int(header["type"]) & COMPRESSED:
            return _vorbis(self.recordings[start:end]), loop, loop_end
        if not start < end <= len(self.recordings) // 2:
            raise ArchiveUnavailableError(f"a recording from {start} to {end} is not in the file")
        values = np.frombuffer(self.recordings, "<i2", min(end - start, MAX_SAMPLE), 2 * start)
        return (values / 32768).astype(np.float32), loop - start, loop_end - start


def read(data: bytes) -> SoundFont:
    """Read the bytes of an .sf2 or .sf3 file.

    Raises
    ------
    ArchiveUnavailableError
        It is no sound font, is cut short, or its tables do not fit together.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise ArchiveUnavailableError(f"no sound font: it begins with {data[:12]!r}")
    chunks: dict[bytes, bytes] = {}
    for name, content in _chunks(data[12:]):
        chunks |= dict(_chunks(content[4:])) if name == b"LIST" else {}
    missing = sorted(set(LAYOUTS) - set(chunks)) + ([] if b"smpl" in chunks else [b"smpl"])
    if missing:
        raise ArchiveUnavailableError(f"a sound font without {missing[0].decode()}: is it cut off?")
    tables = {}
    for name, layout in LAYOUTS.items():
        dtype = np.dtype(layout)
        if len(chunks[name]) % dtype.itemsize or not chunks[name]:
            raise ArchiveUnavailableError(
                f"{name.decode()} has {len(chunks[name])} bytes, expected rows of {dtype.itemsize}"
            )
        tables[name] = np.frombuffer(chunks[name], dtype)
    return SoundFont(tables, chunks[b"smpl"])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            raise ArchiveUnavailableError("a chunk is longer than the sound font: is it cut off?")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size
        if size % 2 and data[at : at + 1] == b"\0":  # some writers leave the padding out
            at += 1


def _bags(
    tables: Mapping[bytes, Table], owner: bytes, bag: bytes, gen: bytes, row: int
) -> list[Zone]:
    """Zones of a preset or an instrument; the first may hold what is true of all others."""
    if not row + 1 < len(tables[owner]):
        raise ArchiveUnavailableError(f"{owner.decode()} has no row {row}")
    first, last = (int(tables[owner]["bag"][row + i]) for i in (0, 1))
    bounds = tables[bag]["gen"][first : last + 1].astype(int)
    if not first <= last < len(tables[bag]) or (np.diff(bounds) < 0).any():
        raise ArchiveUnavailableError(f"zones of {owner.decode()} {row} are out of order")
    zones, shared = [], {}
    for i, (begin, end) in enumerate(pairwise(bounds)):
        rows = tables[gen][begin:end]
        zone = dict(zip(rows["what"].tolist(), rows["amount"].tolist(), strict=True))
        if i == 0 and not {INSTRUMENT, SAMPLE} & set(zone):
            shared = zone
        else:
            zones.append({**shared, **zone})
    return zones


def _sounds(zone: Zone, key: int, velocity: int) -> bool:
    ranges = ((KEYS, key), (VELOCITIES, velocity))
    return all(
        zone.get(name, 0x7F00) & 0xFF <= value <= zone.get(name, 0x7F00) >> 8
        for name, value in ranges
    )


def _signed(amount: int) -> int:
    return amount - 0x10000 if amount >= 0x8000 else amount


def _vorbis(data: bytes) -> Sound:
    try:
        import soundfile
    except ImportError as error:
        raise ArchiveUnavailableError(
            "this font's recordings are compressed: pip install soundfile"
        ) from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            found: Sound = file.read(MAX_SAMPLE, dtype="float32", always_2d=True).mean(axis=1)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ArchiveUnavailableError(f"a compressed recording is damaged: {error}") from error
    if len(found) == 0:
        raise ArchiveUnavailableError("a compressed recording is empty")
    return found


def _decimated(sound: Sound) -> Sound:
    """Every third value of the sound, after a low-pass filter: a windowed sinc of 63 taps."""
    taps = np.arange(-31, 32)
    kernel = np.sinc(taps / OVERSAMPLING) * np.hamming(len(taps))
    found: Sound = np.convolve(sound, kernel / kernel.sum(), "same")[::OVERSAMPLING]
    return found
