"""What importing and running costs: fresh interpreters, because modules stay loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import adaptors
from adaptors._cache import readable_caches

ROOT = Path(__file__).parents[2]
LEARN = """
import numpy as np
from adaptors import TargetProjectionClassifier
X = np.repeat(np.eye(3, dtype=np.float32), 8, axis=0)
clf = TargetProjectionClassifier(hidden=(8,), random_state=0).fit(X, np.repeat(range(3), 8))
clf.partial_fit(X[:1], [0])
assert clf.predict(np.eye(3)).tolist() == [0, 1, 2]
"""


def run(code, **environment):
    settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={name: value for name, value in settings.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_importing_the_package_loads_neither_numpy_nor_numba():
    run("import sys, adaptors; assert not {'numba', 'numpy'} & set(sys.modules)")


def test_importing_the_public_names_loads_neither_numba_nor_scikit_learn():
    run(
        "import sys; from adaptors import *; TargetProjectionClassifier(); Dense(3);"
        "assert not {'numba', 'sklearn'} & set(sys.modules)"
    )


def test_learning_works_without_numba_and_without_scikit_learn():
    run(f"import sys; sys.modules['numba'] = sys.modules['sklearn'] = None\n{LEARN}")


def test_learning_works_with_the_compiler_switched_off():
    run(f"{LEARN}\nimport sys; assert 'numba' not in sys.modules", NUMBA_DISABLE_JIT="1")


def test_learning_works_where_numba_may_write_no_cache(tmp_path):
    pytest.importorskip("numba")
    run(LEARN, NUMBA_CACHE_DIR="/proc/nowhere", NUMBA_DISABLE_JIT="0")


WARM = """
import adaptors
from adaptors._cache import readable_caches
adaptors.warm_up()
from adaptors._backend import kernels
from adaptors._kernels import KERNELS
assert kernels().__name__ == "adaptors._kernels"
before = [len(k.signatures) for k in KERNELS]
from numba.core.event import install_recorder
with install_recorder("numba:compile") as compiled:
""" + "".join(f"    {line}\n" for line in LEARN.strip().splitlines())
WARM += "assert not compiled.buffer and before == [len(k.signatures) for k in KERNELS]\n"


@pytest.mark.parametrize("cached", [True, False])
def test_after_warming_up_nothing_is_compiled(cached, tmp_path):
    pytest.importorskip("numba")
    cache = str(tmp_path) if cached else "/proc/nowhere"
    run(WARM, NUMBA_DISABLE_JIT="0", NUMBA_CACHE_DIR=cache, HOME=None)


def test_warming_up_without_numba_does_no_harm():
    run("import sys; sys.modules['numba'] = None; import adaptors; adaptors.warm_up()")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = adaptors.nothing


def test_the_public_names_are_listed():
    assert set(adaptors.__all__) <= set(dir(adaptors))


READ_ONLY = """
import tempfile
import numba
from numba.core.event import install_recorder

def refuse(*args, **kwargs):
    raise PermissionError("read-only")

tempfile.TemporaryFile = tempfile.NamedTemporaryFile = refuse  # by which numba tries the disk
with install_recorder("numba:compile") as compiled:
    import adaptors._kernels
assert not compiled.buffer, "compiled anew"
"""


@pytest.mark.slow
def test_a_cache_that_may_only_be_read_is_used_even_without_a_home(tmp_path):
    pytest.importorskip("numba")
    settings = {"NUMBA_DISABLE_JIT": "0", "NUMBA_CACHE_DIR": str(tmp_path), "HOME": None}
    run("import adaptors; adaptors.warm_up()", **settings)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert before
    run(READ_ONLY, **settings)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_search_for_caches_of_others_stays_as_it_was():
    caching = pytest.importorskip("numba.core.caching")
    usual = caching.CacheImpl._locator_classes
    with readable_caches():
        assert caching.CacheImpl._locator_classes[1:] == usual
    assert caching.CacheImpl._locator_classes is usual
