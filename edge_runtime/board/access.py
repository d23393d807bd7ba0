"""Who may change things: whoever has proved a pinned key over this line, for a while.

A challenge is a number used once; its signature by a pinned key opens the line it came over.
Time and random bytes are arguments. A board without keys is open to everybody, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from edge_runtime.protocol.pack import key_hash
from edge_runtime.protocol.wire.edge_messages import NONCE_BYTES, authorisation_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PERMISSION_S: Final = 600.0
NONCE_S: Final = 60.0


class Access:
    """The permission of one line.

    Parameters
    ----------
    keys
        The pinned ones; None: an unprovisioned board, which lets everybody.
    is_open
        Whoever started the agent trusts the cable, keys or not.
    """

    def __init__(
        self,
        keys: Sequence[Ed25519PublicKey] | None,
        board: str,
        random_bytes: Callable[[int], bytes],
        *,
        is_open: bool = False,
    ) -> None:
        self._keys = None if keys is None else {key_hash(key): key for key in keys}
        self._board, self._random, self._is_open = board, random_bytes, is_open
        self._nonce: tuple[bytes, float] | None = None
        self._until_s = 0.0

    def challenge(self, now_s: float) -> bytes:
        """A number to sign; the one before it is worth nothing any more."""
        nonce = self._random(NONCE_BYTES)
        self._nonce = nonce, now_s + NONCE_S
        return nonce

    def authorise(self, key: bytes, signature: bytes, now_s: float) -> float | None:
        """For how many seconds the line is open now; None if nothing was proved."""
        nonce, self._nonce = self._nonce, None
        public = (self._keys or {}).get(key.hex())
        if nonce is None or now_s >= nonce[1] or public is None:
            return None
        from cryptography.exceptions import InvalidSignature

        try:
            public.verify(signature, authorisation_text(nonce[0], self._board))
        except (InvalidSignature, ValueError):
            return None
        self._until_s = now_s + PERMISSION_S
        return PERMISSION_S

    def allows(self, now_s: float) -> bool:
        """Whether this line may change things now."""
        return self._keys is None or self._is_open or now_s < self._until_s

    def close(self) -> None:
        """The line was cut: whoever comes next proves it anew."""
        self._until_s, self._nonce = 0.0, None
