"""Small packs for the tests. Their encoder is a few bytes unless a test needs a real one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_runtime.protocol.pack import Version
from edge_runtime.protocol.pack.manifest import Content, EncoderEntry, Manifest, to_bytes
from edge_runtime.protocol.pack.writing import write_pack

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PINNED = [KEY.public_key()]
GOLDEN = Path(__file__).parent / "data" / "pack-v1.pack"
ENCODER = b"\x08\x07 no real encoder"


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def entry(encoder=ENCODER):
    digest = digest_of(encoder)
    fingerprint = digest_of(encoder + b"taps")
    return EncoderEntry(
        "encoder.onnx", digest, fingerprint, ("tap", "embedding"), (3, 8, 8), "float32"
    )


def model_manifest(encoder=ENCODER, **changes):
    manifest = Manifest("model", "demo", entry(encoder), {}, classes=("cat", "dog"))
    return replace(manifest, **changes)


def members_of(files):
    return {name: Content(len(data), digest_of(data)) for name, data in files.items()}


def model(encoder=ENCODER, *, version="1.0.0", counter=1, key=KEY, extra=None, **changes):
    files = {"encoder.onnx": encoder, **(extra or {})}
    return write_pack(
        model_manifest(encoder, **changes), files, key,
        version=Version.parse(version), security_counter=counter,
    )  # fmt: skip


def head(encoder=ENCODER, *, state=b"learned", version="1.0.0", counter=1, key=KEY, **changes):
    manifest = replace(Manifest("head", "demo-head", entry(encoder), {}), **changes)
    return write_pack(
        manifest, {"state.edge": state}, key,
        version=Version.parse(version), security_counter=counter,
    )  # fmt: skip


def manifest_bytes(**changes):
    files = {"encoder.onnx": ENCODER}
    return to_bytes(model_manifest(members=members_of(files), **changes))


def golden():
    return model(
        version="1.2.3+4",
        counter=7,
        extra={"LICENCES": b"Apache-2.0\n"},
        thresholds={"false_alarm_rate": 0.05},
    )


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_bytes(golden())
