"""Feature set of sounds: twelve instruments played by four sound fonts, each a domain."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.features import FeatureSet, Matrix, save
from benchmarks.streams.pictures import joined
from examples.datasets import instruments
from examples.datasets.archives import cache_dir
from examples.encoders.speech import open_speech_encoder


@cache
def sound_fonts() -> FeatureSet:
    """All 600 notes of each font, by the speech encoder."""
    encoder = open_speech_encoder()
    parts = []
    for font in instruments.FONTS:
        sounds, y = instruments.load(font)
        path = cache_dir() / "features" / f"{font}-sounds-{encoder.fingerprint[:16]}.npz"
        if not path.exists():
            save(path, X=np.concatenate(list(encoder(sounds).values()), axis=1))
        with np.load(path, allow_pickle=False) as saved:
            X: Matrix = saved["X"]
        parts.append((X, y))
    return joined(parts, instruments.FONTS, tuple(instruments.INSTRUMENTS), encoder.dims)
