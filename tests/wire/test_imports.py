"""The wire is light and touches nothing: fresh interpreters, because modules stay loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path.stem for path in (ROOT / "edge_runtime" / "wire").glob("[a-z]*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_importing_the_wire_loads_no_numerics_and_no_port(module):
    code = (
        f"import sys, edge_runtime.wire.{module}; "
        "heavy = {'numpy', 'numba', 'serial', 'onnxruntime', 'adaptors', 'hdc'};"
        "loaded = heavy & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_the_wire_knows_no_clock_no_chance_and_no_file():
    for path in (ROOT / "edge_runtime" / "wire").glob("*.py"):
        words = {line.split()[1] for line in path.read_text().splitlines() if _is_import(line)}
        assert not words & {"time", "datetime", "random", "os", "pathlib", "socket", "threading"}


def _is_import(line):
    return line.startswith(("import ", "from "))
