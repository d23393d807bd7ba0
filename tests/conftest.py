"""Settings for every test: seeded, undisturbed by the speed of the machine."""

from __future__ import annotations

import os

# One BLAS thread: small matrices gain nothing from more, and threads of parallel tests would fight.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from hypothesis import HealthCheck, settings

settings.register_profile(
    "project",
    deadline=None,  # a slow machine is no failure
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
# An emulated processor is ten to a hundred times slower: `make test-arm` chooses this one.
settings.register_profile("emulated", settings.get_profile("project"), max_examples=3)
settings.load_profile("project")
