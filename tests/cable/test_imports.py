"""The host tool is light: fresh interpreters, because modules stay loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", ["push_commands", "board_commands", "link", "relay", "__main__"])
def test_the_host_tool_loads_no_learner_and_no_numerics(module):
    code = (
        f"import sys, firmware_tools.{module}; "
        "heavy = {'numpy', 'numba', 'adaptors', 'hdc', 'onnxruntime', 'matplotlib', 'rich'};"
        "loaded = heavy & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("module", ["monitor", "log_report", "packing"])
def test_no_part_of_the_host_tool_loads_numba(module):
    code = (
        f"import sys, firmware_tools.{module}; "
        "loaded = {'numba', 'adaptors', 'hdc'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
