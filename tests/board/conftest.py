"""A workshop that makes packs, shared with the tests of packs; kernels are chosen by each test."""

from __future__ import annotations

import pytest

from adaptors import _backend
from tests.protocol.packs.conftest import workshop

__all__ = ["workshop"]


@pytest.fixture(autouse=True)
def kernels_as_before():
    """A command that ran in this process has chosen its kernels: the next test chooses anew."""
    yield
    _backend._NUMPY_ALONE.clear()
    _backend.kernels.cache_clear()
