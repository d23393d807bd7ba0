"""What a package imports when it is loaded is what an install without extras brings."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
OWN = {"adaptors", "edge_runtime", "firmware_tools", "hdc"}
DECLARED = {"numpy", "serial", "cbor2", "cryptography"}  # by the names they are imported by
# Loaded late, where an extra was chosen: kernels, and the live table of `edgectl monitor`.
CHOSEN = {"adaptors/_kernels.py": {"numba"}, "firmware_tools/monitor.py": {"rich"}}


def imported(tree: ast.Module) -> set[str]:
    """Top-level names that a module imports when it is loaded: not under TYPE_CHECKING or try."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("package", sorted(OWN))
def test_nothing_undeclared_is_imported_when_a_package_is_loaded(package):
    known = OWN | DECLARED | set(sys.stdlib_module_names)
    found = {}
    for path in sorted((PROJECT / package).rglob("*.py")):
        name = str(path.relative_to(PROJECT))
        unknown = imported(ast.parse(path.read_text())) - known - CHOSEN.get(name, set())
        if unknown:
            found[name] = unknown
    assert found == {}
