"""Twelve instruments played by four sound fonts: each font is another studio, another device.

12 programs of General MIDI, 25 keys, two velocities: 600 seconds of sound at 16 kHz in each font.
Fonts come by Debian's packages: TimGM6mb (GPL-2), csound's (LGPL-2.1+), FluidR3 mono (MIT),
MuseScore General small (MIT). The last two are compressed and need ``soundfile``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from examples.datasets import soundfont
from examples.datasets.archives import SOUND_FONTS, cache_dir, fetch
from examples.datasets.members import from_deb

INSTRUMENTS = {
    "piano": 0, "marimba": 12, "organ": 19, "guitar": 24, "bass": 32, "violin": 40,
    "harp": 46, "trumpet": 56, "saxophone": 65, "oboe": 68, "clarinet": 71, "flute": 73,
}  # fmt: skip
FONTS = ("TimGM6mb", "csound", "FluidR3", "MuseScore")
FILES = (
    "./usr/share/sounds/sf2/TimGM6mb.sf2",
    "./usr/share/sounds/sf2/sf_GMbank.sf2",
    "./usr/share/fluidr3mono-gm-soundfont/FluidR3Mono_GM.sf3",
    "./usr/share/sounds/sf3/MuseScore_General_Lite.sf3",
)
KEYS, VELOCITIES = range(48, 73), (60, 110)


def load(font: str, keys: range = KEYS) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Sounds (n, 16000) of one font and their instruments; 600 of each, kept as 16 bits.

    Raises
    ------
    ArchiveUnavailableError
        The font cannot be fetched or read.
    """
    at = FONTS.index(font)
    path = cache_dir() / "features" / f"instruments-{font}-{keys.start}-{keys.stop}.npy"
    notes = [(k, key, v) for k in range(len(INSTRUMENTS)) for key in keys for v in VELOCITIES]
    if not path.exists():
        read = soundfont.read(from_deb(fetch(SOUND_FONTS[at]), FILES[at]))
        programs = list(INSTRUMENTS.values())
        sounds = np.stack([read.note(programs[k], key, v) for k, key, v in notes])
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, np.rint(sounds * 32767).astype(np.int16))
        part.replace(path)
    stored = np.load(path, allow_pickle=False)
    return stored.astype(np.float32) / 32767, np.array([k for k, _, _ in notes], np.int64)
