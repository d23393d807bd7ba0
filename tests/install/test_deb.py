"""The Debian package: the same bytes from the same sources, and nothing that does not belong."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from deploy.deb import PACKAGES, build_runtime, main, release
from edge_runtime import __version__

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="NO DPKG-DEB: no Debian package is built"
)


def output_of(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def test_the_same_sources_give_the_same_bytes(tmp_path):
    (tmp_path / "again").mkdir()
    once = build_runtime(tmp_path)
    assert once.read_bytes() == build_runtime(tmp_path / "again").read_bytes()
    assert once.name == f"edge-runtime_{__version__}_all.deb"


def test_it_holds_the_packages_two_programs_and_the_licence(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 0
    package = capsys.readouterr().out.strip()
    lines = output_of("dpkg-deb", "--contents", package).splitlines()
    names = [line.split()[-1] for line in lines if not line.endswith("/")]
    assert all(line.split()[1] == "root/root" for line in lines)
    library = "./usr/lib/edge-runtime/"
    others = [name for name in names if not name.startswith(library)]
    assert others == [
        "./usr/bin/edge-agent", "./usr/bin/edgectl", "./usr/share/doc/edge-runtime/copyright"
    ]  # fmt: skip
    assert {name.removeprefix(library).split("/")[0] for name in names} >= set(PACKAGES)
    assert all(name.endswith((".py", "py.typed")) for name in names if name.startswith(library))
    assert release() == __version__


def test_what_pip_cannot_find_is_one_line(tmp_path, capsys):
    no_such_python = ["--backend", "onnx", "--arch", "armhf", "--python", "3.4"]
    assert main(["--out", str(tmp_path), *no_such_python]) == 1
    assert capsys.readouterr().err.startswith("deploy.deb: ")
    assert list(tmp_path.glob("*.deb")) == []
