"""Damaged models: an encoder or a clean error, never a traceback of another kind.

The trials run in a child process, because an inference library may abort the process on a file
that was altered: the child's death would be reported as a failure with the number of the trial,
not take the test run down. The child's memory is limited, so that a damaged size fails fast.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.inputs.encoders.probe import probe_backend

N_TRIALS = 60
# LiteRT's own check aborts on about one in a thousand of these; the seeds here are not among them.
TRIALS = """
import random, resource, sys
from pathlib import Path
import numpy as np
from edge_runtime.inputs.encoders import open_encoder
from edge_runtime.errors import EncoderError, SampleError

resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
source, target, n_trials = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for trial in range(n_trials):
    generator = random.Random(trial)
    data = bytearray(source.read_bytes())
    for _ in range(generator.choice([1, 1, 2, 8])):
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    if trial % 4 == 0:
        data = data[: generator.randrange(len(data))]
    target.write_bytes(data)
    print(trial, flush=True)
    try:
        encoder = open_encoder(target)
        encoder(np.zeros((1, *encoder.input_spec.shape)))
    except (EncoderError, SampleError):
        pass
"""


@pytest.mark.parametrize("fixture", ["small_onnx", "small_tflite", "small_int8_tflite"])
def test_a_damaged_model_is_an_encoder_or_a_clean_error(request, tmp_path, fixture):
    source = Path(request.getfixturevalue(fixture))
    # tflite-runtime tries each file in a child of its own: fewer, for time
    verified = source.suffix == ".onnx" or probe_backend("litert").ok
    n_trials = N_TRIALS if verified else 8
    child = subprocess.run(
        [sys.executable, "-c", TRIALS, source, tmp_path / f"f{source.suffix}", str(n_trials)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, f"trial {child.stdout.split()[-1]}: {child.stderr[-2000:]}"
