"""Members and a manifest become the bytes of a signed pack. Not here: files, keys on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_runtime.protocol.pack import manifest as manifests
from edge_runtime.protocol.pack.archive import write_archive
from edge_runtime.protocol.pack.container import Version, write_image
from edge_runtime.protocol.pack.manifest import Content, Manifest


def write_pack(
    manifest: Manifest,
    members: Mapping[str, bytes],
    key: Ed25519PrivateKey,
    *,
    version: Version,
    security_counter: int,
) -> bytes:
    """A pack of these members; the manifest's own list of them is filled in.

    Raises
    ------
    PackError
        The result would be refused by `read_pack`.
    """
    payload = write_payload(manifest, members)
    return write_image(payload, key, version=version, security_counter=security_counter)


def write_payload(manifest: Manifest, members: Mapping[str, bytes]) -> bytes:
    """The unsigned part: a zip with the manifest first."""
    contents = {
        name: Content(len(data), hashlib.sha256(data).hexdigest()) for name, data in members.items()
    }
    text = manifests.to_bytes(replace(manifest, members=contents))
    manifests.from_bytes(text)
    return write_archive({manifests.MANIFEST: text, **members})
