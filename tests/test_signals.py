"""Encoders and data of signals: fonts are read with distrust, encoders answer as designed."""

from __future__ import annotations

import contextlib
import importlib.util
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptors import TargetProjectionNetwork
from edge_runtime import open_encoder
from edge_runtime.errors import BackendError, SampleError
from examples.datasets import soundfont
from examples.datasets.archives import SPEECH, ArchiveUnavailableError, fetch
from examples.encoders import imu, speech

# -- sound fonts --------------------------------------------------------------------------------


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def font(wave=None, zones=(), loop=(0, 0), rate=48_000, root=60, presets=1):
    """A font of one instrument that plays one recording, with extra generators in its zone."""
    wave = np.zeros(0) if wave is None else wave
    samples = np.rint(np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()
    generators = [*zones, (53, 0)]
    header = struct.pack("<5I", 0, len(wave), *loop, rate) + struct.pack("<BbHH", root, 0, 0, 1)
    shdr = b"wave".ljust(20, b"\0") + header + b"\0" * 46
    tables = {
        b"phdr": struct.pack("<20s3H12x", b"p", 0, 0, 0) * presets
        + struct.pack("<20s3H12x", b"EOP", 0, 0, 1),
        b"pbag": struct.pack("<2H", 0, 0) + struct.pack("<2H", 1, 0),
        b"pgen": struct.pack("<2H", 41, 0) + struct.pack("<2H", 0, 0),
        b"inst": struct.pack("<20sH", b"i", 0) + struct.pack("<20sH", b"EOI", 1),
        b"ibag": struct.pack("<2H", 0, 0) + struct.pack("<2H", len(generators), 0),
        b"igen": b"".join(struct.pack("<HH", *each) for each in generators) + b"\0" * 4,
        b"shdr": shdr,
    }
    sdta = chunk(b"LIST", b"sdta" + chunk(b"smpl", samples))
    pdta = chunk(b"LIST", b"pdta" + b"".join(chunk(*each) for each in tables.items()))
    return b"RIFF" + struct.pack("<I", 4 + len(sdta) + len(pdta)) + b"sfbk" + sdta + pdta


def tone(hertz, rate=48_000, seconds=2):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(rate * seconds) / rate)


def pitch(sound):
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return np.argmax(spectrum) * soundfont.RATE_HZ / len(sound)


def test_a_note_has_the_pitch_of_its_key():
    read = soundfont.read(font(tone(440), root=69))
    assert pitch(read.note(0, 69, 127)) == pytest.approx(440, abs=1)
    assert pitch(read.note(0, 81, 127)) == pytest.approx(880, abs=1)
    assert read.note(0, 69, 127).shape == (16_000,)


def test_a_softer_key_is_softer_and_what_would_alias_is_gone():
    read = soundfont.read(font(tone(440), root=69))
    loud, soft = (np.abs(read.note(0, 69, velocity)).max() for velocity in (127, 60))
    assert soft == pytest.approx(loud * (60 / 127) ** 2, rel=0.05)
    high = soundfont.read(font(tone(12_000), root=69))
    assert np.abs(high.note(0, 69, 127)[100:-100]).max() < 0.02


def test_a_loop_goes_on_and_a_recording_without_one_ends():
    short = tone(480, seconds=1)[:4800]
    looped = soundfont.read(font(short, zones=[(54, 1)], loop=(0, 4800), root=69))
    assert np.abs(looped.note(0, 69, 127)[-1000:]).max() > 0.4
    ended = soundfont.read(font(short, root=69))
    assert np.abs(ended.note(0, 69, 127)[-1000:]).max() == 0


def test_a_zone_serves_its_keys_only_and_may_change_tuning_and_root():
    read = soundfont.read(font(tone(440), zones=[(43, 60 | 72 << 8), (58, 57), (51, 0x10000 - 12)]))
    assert pitch(read.note(0, 69, 127)) == pytest.approx(440, abs=1)
    for key, program in ((59, 0), (73, 0), (69, 5)):
        with pytest.raises(ArchiveUnavailableError, match=f"program {program}, key {key}"):
            read.note(program, key, 127)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no sound font"),
        (b"RIFF\0\0\0\0WAVE", "no sound font"),
        (font()[:-60], "cut off"),
        (font().replace(b"igen", b"nope"), "without igen"),
        (font().replace(b"smpl", b"nope"), "without smpl"),
        (font().replace(b"shdr" + struct.pack("<I", 92), b"shdr" + struct.pack("<I", 91)), "bytes"),
    ],
)
def test_what_is_no_whole_font_is_refused(data, match):
    with pytest.raises(ArchiveUnavailableError, match=match):
        soundfont.read(data)


def test_a_recording_beyond_the_file_is_refused():
    read = soundfont.read(font(tone(440)).replace(struct.pack("<I", 96_000), b"\xff" * 4))
    with pytest.raises(ArchiveUnavailableError, match="not in the file"):
        read.note(0, 60, 100)


WHOLE = font(tone(440)[:500], zones=[(54, 1), (43, 0 | 127 << 8)], loop=(100, 400))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=6))
def test_a_damaged_font_plays_or_is_refused_and_nothing_else(changes):
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    with contextlib.suppress(ArchiveUnavailableError):
        sound = soundfont.read(bytes(data)).note(0, 60, 100, seconds=0.05)
        assert np.isfinite(sound).all()
        assert np.abs(sound).max() <= 1


@given(st.binary(max_size=300))
def test_bytes_are_a_font_or_refused(data):
    with contextlib.suppress(ArchiveUnavailableError):
        soundfont.read(b"RIFF\0\0\0\0sfbk" + data)


# -- encoders -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 90)
    signals = rng.normal(size=(90, 128, 6)).astype(np.float32)
    signals[..., 0] += y[:, None]
    return imu.train(signals, y, epochs=2), signals


def test_the_imu_encoder_in_a_file_answers_as_its_layers_do(trained, tmp_path):
    pytest.importorskip("onnx")
    (network, mean, scale), signals = trained
    assert isinstance(network, TargetProjectionNetwork)
    path = tmp_path / "imu.onnx"
    path.write_bytes(imu.onnx_bytes(network, mean, scale))
    try:
        encoder = open_encoder(path)
    except BackendError as error:
        pytest.skip(f"NO BACKEND: {error}")
    assert encoder.dims == {"tap1": 32, "tap2": 64, "embedding": 384}
    found = encoder(signals[:7])
    Z = np.clip((signals[:7] - mean) * scale, -imu.LIMIT, imu.LIMIT).astype(np.float32)
    for name, expected in imu.taps_of(network, Z).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-4)


def test_the_same_seed_makes_the_same_imu_encoder(trained):
    (network, _, _), signals = trained
    y = np.random.default_rng(0).integers(0, 6, 90)
    again, *_ = imu.train(signals, y, epochs=2)
    for one, other in zip(network.layers, again.layers, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None, reason="NO BACKEND: ai-edge-litert"
)
def test_the_speech_encoder_hears_a_second_of_sound():
    try:
        fetch(SPEECH)
    except ArchiveUnavailableError as error:
        pytest.skip(f"NO DATA: {error}")
    encoder = speech.open_speech_encoder()
    sounds = np.stack([tone(hertz, 16_000, 1) for hertz in (220, 1760)]).astype(np.float32)
    found = encoder(sounds)
    assert {name: each.shape for name, each in found.items()} == {
        name: (2, width) for name, width in encoder.dims.items()
    }
    assert list(encoder.dims.values()) == [24, 48, 72, 96, 96, 96]
    assert encoder.mel(sounds[0]).shape == (97, 32)
    low, high = (np.argmax(encoder.mel(each).mean(axis=0)) for each in sounds)
    assert low < high
    alone = encoder(sounds[1:])
    np.testing.assert_allclose(alone["embedding"], found["embedding"][1:], atol=1e-5)
    with pytest.raises(SampleError, match="expected"):
        encoder(sounds[:, :100])
