"""Prove a key to a board: its challenge, signed. Not here: key files (`keys`)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_runtime.protocol.pack import key_hash
from edge_runtime.protocol.wire.edge_messages import (
    AuthoriseAnswer,
    AuthoriseRequest,
    ChallengeAnswer,
    ChallengeRequest,
    authorisation_text,
)
from firmware_tools.errors import NoLinkError
from firmware_tools.link import Link


def authorise(link: Link, key: Ed25519PrivateKey) -> int:
    """For how many seconds the board lets this host change things.

    Raises
    ------
    RefusedError
        The key is not pinned there.
    """
    challenge = link.ask(ChallengeRequest(), ChallengeAnswer)
    try:
        text = authorisation_text(challenge.nonce, challenge.board)
    except ValueError as error:
        raise NoLinkError(f"the board's challenge is none: {error}") from error
    name = bytes.fromhex(key_hash(key.public_key()))
    return link.ask(AuthoriseRequest(name, key.sign(text)), AuthoriseAnswer).seconds
