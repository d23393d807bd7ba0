"""Google's speech embedding with its mel front end, from the weights that a package carries.

One second of sound at 16 kHz becomes 97 rows of 32 log-mel energies, three overlapping windows of
76 rows, and the mean over the three of five pooled layers and of the embedding. It was trained on
spoken words, and tells other sounds apart as well. The package's wake-word models are not used.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime import open_encoder
from edge_runtime.inputs.encoders.base import Encoder, Floats, InputSpec, check_batch
from edge_runtime.inputs.encoders.probe import MODULES, first_working
from examples.datasets.archives import SPEECH, cache_dir, fetch
from examples.datasets.members import from_zip
from firmware_tools.encoder_tools.taps import expose_taps
from firmware_tools.files import write_atomically

RATE_HZ = 16_000
MEL_BANDS, WINDOW_ROWS, HOP_ROWS = 32, 76, 8
INT16 = 32_767.0  # the front end was made for samples at that scale
LAYERS = tuple(f"model/max_pooling2d{suffix}/MaxPool" for suffix in ("", "_1", "_2", "_3", "_4"))
EMBEDDING = "StatefulPartitionedCall:0"


class SpeechEncoder:
    """One second of sound, (16000,) from -1 to 1, to six vectors; see `Encoder`."""

    embedding = "embedding"

    def __init__(self, mel: bytes, network: Encoder) -> None:
        self.backend = first_working("litert", "tflite-runtime")
        module = importlib.import_module(MODULES[self.backend])
        self._mel = module.Interpreter(model_content=mel, num_threads=1)
        self._input = self._mel.get_input_details()[0]["index"]
        self._mel.resize_tensor_input(self._input, [1, RATE_HZ], strict=True)
        self._mel.allocate_tensors()
        self._output = self._mel.get_output_details()[0]["index"]
        self._network = network
        self._names = {layer: f"tap{i}" for i, layer in enumerate(LAYERS, start=1)}
        self._names[network.embedding] = self.embedding
        self.dims = {self._names[name]: width for name, width in network.dims.items()}
        self.taps = tuple(self.dims)
        self.input_spec = InputSpec((RATE_HZ,), np.dtype(np.float32))
        self.fingerprint = hashlib.sha256(mel + network.fingerprint.encode()).hexdigest()
        self.n_bytes = len(mel) + network.n_bytes

    def __call__(self, batch: Any, /) -> dict[str, Floats]:
        """Encode every second of sound.

        Raises
        ------
        SampleError
            A sample is not 16,000 finite numbers.
        """
        answers = [self._encode(sound) for sound in check_batch(batch, (RATE_HZ,))]
        return {name: np.stack([each[name] for each in answers]) for name in self.taps}

    def _encode(self, sound: Floats) -> dict[str, Floats]:
        rows = self.mel(sound)
        starts = range(0, len(rows) - WINDOW_ROWS + 1, HOP_ROWS)
        windows = np.stack([rows[start : start + WINDOW_ROWS, :, None] for start in starts])
        found = self._network(windows)
        return {self._names[name]: vectors.mean(axis=0) for name, vectors in found.items()}

    def mel(self, sound: Floats) -> Floats:
        """Log-mel energies (97, 32) of one second, as the network was trained on them."""
        self._mel.set_tensor(self._input, (sound * np.float32(INT16))[None])
        self._mel.invoke()
        energies: Floats = self._mel.get_tensor(self._output).reshape(-1, MEL_BANDS)
        return energies / 10 + 2


def open_speech_encoder() -> SpeechEncoder:
    """Fetch the package the first time, make the inner layers outputs, and open both models.

    Raises
    ------
    ArchiveUnavailableError
        The package cannot be fetched.
    BackendError
        No TFLite library works here: ``pip install 'edge-runtime[litert]'``.
    """
    package = fetch(SPEECH)
    whole, exposed = cache_dir() / "speech_embedding.tflite", cache_dir() / "speech_taps.tflite"
    if not exposed.exists():
        write_atomically(whole, _model(package, "embedding_model"))
        expose_taps(whole, exposed, LAYERS)
    network = open_encoder(exposed, taps=LAYERS, embedding=EMBEDDING, threads=1)
    return SpeechEncoder(_model(package, "melspectrogram"), network)


def _model(package: Path, name: str) -> bytes:
    return from_zip(package, f"pyopen_wakeword/models/{name}.tflite")
