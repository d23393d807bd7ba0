"""Where compiled kernels are found again: also in a place that may be read and not written.

numba looks for its cache only where it could write one, and compiles anew on a read-only disk, or
for a service that owns nothing, though a cache made at install lies there. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def readable_caches() -> Iterator[None]:
    """While this lasts, let numba load kernels from a cache that it may not write.

    A numba that is built in another way is left as it is: kernels are then cached as it likes.
    """
    try:
        from numba.core import caching, config

        implementation = caching.CacheImpl
        usual = implementation._locator_classes
        by_name = {locator.__name__.lstrip("_"): locator for locator in usual}
        # Where the user has named a folder no other one counts.
        name = "UserProvidedCacheLocator" if config.CACHE_DIR else "InTreeCacheLocator"
        existing = _existing(by_name[name])
    except (ImportError, AttributeError, KeyError):
        yield
        return
    implementation._locator_classes = [existing, *usual]
    try:
        yield
    finally:
        implementation._locator_classes = usual


def _existing(locator: Any) -> Any:
    """Return the locator, serving wherever it finds an index of the function, writable or not."""

    class Existing(locator):  # type: ignore[misc]
        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Any:
            found = cls(py_func, py_file)
            indices = f"{Path(py_file).stem}.{py_func.__qualname__}-*.nbi"
            return found if any(Path(found.get_cache_path()).glob(indices)) else None

    return Existing
