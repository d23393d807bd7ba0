"""The wire is light and touches nothing: fresh interpreters, because modules stay loaded."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WIRE = ROOT / "edge_runtime" / "protocol" / "wire"
MODULES = sorted(path.stem for path in WIRE.glob("[a-z]*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_importing_the_wire_loads_no_numerics_and_no_port(module):
    code = (
        f"import sys, edge_runtime.protocol.wire.{module}; "
        "heavy = {'numpy', 'numba', 'serial', 'onnxruntime', 'adaptors', 'hdc'};"
        "loaded = heavy & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_the_wire_knows_no_clock_no_chance_and_no_file():
    for path in WIRE.glob("*.py"):
        lines = filter(_is_import, path.read_text().splitlines())
        words = {re.split(r"[.,]", line.split()[1])[0] for line in lines}
        assert not words & {"time", "datetime", "random", "os", "pathlib", "socket", "threading"}


def _is_import(line):
    return line.lstrip().startswith(("import ", "from "))
