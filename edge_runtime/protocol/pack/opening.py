"""From verified packs to a runtime: unpack the encoder, prepare samples, load or start to learn.

`open_encoder` reads a path, so the encoder is unpacked once beside the packs; its digest decides
each time whether what lies there may be used. Not here: whether a pack may be used at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edge_runtime.errors import EncoderMismatchError
from edge_runtime.inputs.encoders import Encoder, InputSpec, open_encoder
from edge_runtime.inputs.encoders.base import Floats, check_batch
from edge_runtime.protocol.accelerators import CPU
from edge_runtime.protocol.pack.errors import PackError
from edge_runtime.protocol.pack.manifest import EncoderEntry, Preprocessing
from edge_runtime.protocol.pack.verify import ModelPack
from edge_runtime.protocol.pack.windows import chunks, sha256, size_of

RAW = np.dtype(np.float32)


class PreparedEncoder:
    """An encoder behind ``x * scale + offset``; see `edge_runtime.inputs.encoders.Encoder`.

    Its fingerprint covers the preprocessing: features change with it as with the encoder.
    """

    def __init__(self, encoder: Encoder, preprocessing: Preprocessing) -> None:
        spec = encoder.input_spec
        if spec is None:
            raise PackError("manifest", "preprocessing needs an encoder that takes arrays")
        self._encoder = encoder
        self.taps, self.embedding, self.dims = encoder.taps, encoder.embedding, encoder.dims
        self.n_bytes, self.backend = encoder.n_bytes, encoder.backend
        self.accelerator = accelerator_of(encoder)
        self.input_spec: InputSpec | None = InputSpec(spec.shape, RAW, spec.layout)
        self._scale = _along_channels(preprocessing.scale, spec)
        self._offset = _along_channels(preprocessing.offset, spec)
        recipe = [encoder.fingerprint, preprocessing.scale, preprocessing.offset]
        self.fingerprint = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()

    def __call__(self, batch: Any, /) -> dict[str, Floats]:
        """Prepare and encode every sample.

        Raises
        ------
        SampleError
            As of the encoder within.
        """
        spec = self._encoder.input_spec
        assert spec is not None
        return self._encoder(check_batch(batch, spec.shape) * self._scale + self._offset)


def _along_channels(values: Sequence[float], spec: InputSpec) -> Floats:
    """One number as it is; several along the axis that the format keeps its channels in."""
    floats = np.asarray(values, np.float32)
    if len(values) == 1:
        return floats.reshape(())
    first = spec.layout == "channels_first"
    axis = 0 if first else len(spec.shape) - 1
    if not spec.shape or spec.shape[axis] != len(values):
        raise PackError(
            "manifest", f"{len(values)} channels to prepare, the encoder takes {spec.shape}"
        )
    shape = [1] * len(spec.shape)
    shape[axis] = len(values)
    return floats.reshape(shape)


def accelerator_of(encoder: Encoder) -> str:
    """Name of what computes; encoders made elsewhere need not say it."""
    return str(getattr(encoder, "accelerator", CPU))


def prepare(encoder: Encoder, preprocessing: Preprocessing) -> Encoder:
    """The encoder itself where there is nothing to prepare."""
    return PreparedEncoder(encoder, preprocessing) if preprocessing.scale else encoder


def describe_encoder(path: Path, encoder: Encoder) -> EncoderEntry:
    """What a manifest says of an opened, prepared encoder whose model file is at ``path``."""
    spec = encoder.input_spec
    return EncoderEntry(
        file=f"encoder{path.suffix}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        fingerprint=encoder.fingerprint,
        taps=encoder.taps,
        input_shape=spec.shape if spec else (),
        input_dtype=str(spec.dtype) if spec else "float32",
    )


def unpack_encoder(pack: ModelPack, file: BinaryIO, directory: Path) -> Path:
    """Path of the encoder's file in ``directory``, written there unless it already is.

    Nothing is synced: what a power cut damages is written anew.
    """
    entry = pack.manifest.encoder
    target = directory / f"{pack.id}{Path(entry.file).suffix}"
    if not _is_whole(target, entry.sha256):
        directory.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".part")
        member = pack.members[entry.file]
        with temporary.open("wb") as out:
            for chunk in chunks(file, member.offset, member.n_bytes, "archive"):
                out.write(chunk)
        os.replace(temporary, target)
        if not _is_whole(target, entry.sha256):
            raise PackError("digest", f"{entry.file} changed after it was verified")
    return target


def _is_whole(path: Path, expected: str) -> bool:
    try:
        with path.open("rb") as file:
            return sha256(file, 0, size_of(file), "digest").hex() == expected
    except (OSError, PackError):  # not there, or cut short meanwhile
        return False


def open_packed_encoder(
    pack: ModelPack, file: BinaryIO, directory: Path, *, lean: bool = False
) -> Encoder:
    """The encoder of a model, with its taps and preprocessing; ``lean`` as in `open_encoder`.

    Raises
    ------
    EncoderError, BackendError
        As `open_encoder`.
    EncoderMismatchError
        It opens, but is not what the manifest says.
    """
    entry = pack.manifest.encoder
    path = unpack_encoder(pack, file, directory)
    manifest = pack.manifest
    opened = open_encoder(path, list(entry.taps), accelerator=manifest.accelerator, lean=lean)
    encoder = prepare(opened, manifest.preprocessing)
    if encoder.fingerprint != entry.fingerprint:
        raise EncoderMismatchError(
            f"the encoder's fingerprint is {encoder.fingerprint[:12]}, the manifest says "
            f"{entry.fingerprint[:12]}: was the pack made by another release?"
        )
    return encoder
