"""What importing and running costs: fresh interpreters, because modules stay loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import adaptors

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
    path = {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **path, **environment},
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


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = adaptors.nothing


def test_the_public_names_are_listed():
    assert set(adaptors.__all__) <= set(dir(adaptors))
