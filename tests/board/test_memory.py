"""How much memory the agent takes: counted in bytes, in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

MEASURE = """
import json, os, sys
{code}
pages = int(open("/proc/self/statm").read().split()[1])
print(json.dumps([pages * os.sysconf("SC_PAGE_SIZE"), sorted(sys.modules)]))
"""
SERVING = """
import tempfile
from pathlib import Path
from edge_runtime.board import serving
from edge_runtime.board.deployer import DeployerSettings
from edge_runtime.board.selftest import Places
from edge_runtime.board.worker import Order
order = Order(Places("", None, "", ""), shared="")
settings = serving.ServeSettings(("/dev/missing",), Path(tempfile.mkdtemp()),
                                 DeployerSettings(order))
with serving.lock(settings.state):
    agent, lines = serving.build(settings)
    agent.deployer.start(serving.clock())
    loop = serving.Loop(agent, lines, serving.Notifier())
    for _ in range(5):
        loop.turn()
"""
BUDGET_BYTES = 15 * 2**20


def measure(code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(code=code)], env=environment, capture_output=True,
        check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="NO /proc: memory not measured")
def test_the_agent_without_an_encoder_adds_at_most_15_mb_to_numpys_memory():
    numpy_bytes, _ = measure("import numpy")
    agent_bytes, modules = measure(SERVING)
    assert agent_bytes - numpy_bytes < BUDGET_BYTES
    assert not {"numpy", "numba", "onnxruntime", "adaptors", "hdc"} & set(modules)
