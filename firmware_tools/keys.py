"""Ed25519 keys in PEM files: made, read, never overwritten. Loads no NumPy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edge_runtime.errors import EdgeRuntimeError

MAX_KEY_BYTES: Final = 16 * 1024
PRIVATE_MODE: Final = 0o600


class KeyFileError(EdgeRuntimeError, ValueError):
    """A key file is missing, no Ed25519 key, or would be overwritten."""


def generate_key(path: Path) -> tuple[Path, Path]:
    """Write a new Ed25519 key to ``path`` (mode 0600) and its public half beside it.

    Returns
    -------
    The two paths; the public one ends in ``.pub.pem``.

    Raises
    ------
    KeyFileError
        One of them exists: a key is never overwritten.
    """
    public_path = path.with_name(f"{path.name.removesuffix('.pem')}.pub.pem")
    for existing in (path, public_path):
        if existing.exists():
            raise KeyFileError(
                f"{existing} exists: a key is never overwritten, choose another name"
            )
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write_new(path, private, PRIVATE_MODE)
    _write_new(public_path, public, 0o644)
    return path, public_path


def _write_new(path: Path, data: bytes, mode: int) -> None:
    # Never readable by others, not even between creation and a chmod; never through a link.
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error}") from error


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 private key from a PEM file; one of `imgtool keygen` as well."""
    try:
        key = load_pem_private_key(_read_key(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no private key without a password: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key of another kind, expected Ed25519")
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """An Ed25519 public key from a PEM file; that of a private key will do too."""
    data = _read_key(path)
    if b"PRIVATE KEY" in data:
        return load_private_key(path).public_key()
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no public key: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} holds a key of another kind, expected Ed25519")
    return key


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error}") from error
