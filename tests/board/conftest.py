"""A workshop that makes packs, shared with the tests of packs."""

from __future__ import annotations

from tests.packs.conftest import workshop

__all__ = ["workshop"]
