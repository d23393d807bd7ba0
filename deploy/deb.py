"""Build Debian packages, without root or a build system: `python -m deploy.deb --out dist`.

``edge-runtime`` is pure Python for every architecture; Debian's own packages bring NumPy, pyserial,
cbor2 and cryptography. ``--backend litert`` (or onnx) builds a second package for one architecture
and one Python, which holds what Debian has no package of: the inference library, from its wheel. A
board far from any network is given both files. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("adaptors", "edge_runtime", "firmware_tools", "hdc")
LIBRARY: Final = "usr/lib/edge-runtime"
BACKENDS: Final = f"{LIBRARY}/backends"
PROGRAMS: Final = {
    "edge-agent": "edge_runtime.board.__main__",
    "edgectl": "firmware_tools.__main__",
}
# Wheels and Debian call a processor by different names.
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l"}
WHEELS: Final = {"litert": "ai-edge-litert>=2.1", "onnx": "onnxruntime>=1.17,!=1.21.0"}
# Without these the library loads: they are for tools of its own.
NEEDLESS: Final = ("ai_edge_litert/tools/", "onnxruntime/transformers/", "onnxruntime/tools/")
SOURCE_DATE: Final = 1_767_225_600  # of every file, for the same bytes from the same sources
MAINTAINER: Final = "The edge-runtime authors <edge-runtime@localhost>"


@dataclass(frozen=True)
class Control:
    """The fields of a binary package that differ."""

    package: str
    version: str
    architecture: str
    depends: str
    suggests: str
    description: str

    def text(self, installed_kilobytes: int) -> str:
        """The control file."""
        fields = {
            "Package": self.package,
            "Version": self.version,
            "Architecture": self.architecture,
            "Maintainer": MAINTAINER,
            "Installed-Size": str(installed_kilobytes),
            "Depends": self.depends,
            "Suggests": self.suggests,
            "Section": "science",
            "Priority": "optional",
            "Description": self.description,
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


PROGRAM: Final = """\
#!/usr/bin/python3
import sys

sys.path[:0] = ["/{library}", "/{backends}"]
from {module} import main

sys.exit(main())
"""
POSTINST: Final = """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    command -v py3compile >/dev/null && py3compile -p {package} /{where} || true
    # After an upgrade; nothing happens where it does not run.
    if [ -d /run/systemd/system ]; then systemctl try-restart edge-agent.service || true; fi
fi
"""
PRERM: Final = """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ {package} = edge-runtime ]; then
    stop=--no-stop
    if [ -d /run/systemd/system ]; then stop=; fi
    # What was learned stays until the package is purged.
    edge-agent uninstall --keep-state $stop || true
fi
find /{where} -name __pycache__ -prune -exec rm -rf {{}} + 2>/dev/null || true
"""
POSTRM: Final = """\
#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf /var/lib/edge-agent /var/lib/private/edge-agent
    rm -rf /var/cache/edge-agent /var/cache/private/edge-agent
fi
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Build what was asked for, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--backend", choices=sorted(WHEELS), help="build this instead")
    parser.add_argument("--arch", choices=sorted(MACHINES), default="arm64", help="of a backend")
    parser.add_argument("--python", default="3.11", help="of a backend: 3.11 is Debian 12's")
    arguments = parser.parse_args(argv)
    if shutil.which("dpkg-deb") is None:
        print("deploy.deb: dpkg-deb is not installed: apt install dpkg", file=sys.stderr)
        return 1
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.backend is None:
            built = build_runtime(arguments.out)
        else:
            built = build_backend(
                arguments.out, arguments.backend, arguments.arch, arguments.python
            )
    except subprocess.CalledProcessError as error:
        print(f"deploy.deb: {error.cmd[0]}: {error.stderr.strip()[-300:]}", file=sys.stderr)
        return 1
    print(built)
    return 0


def release() -> str:
    """The project's version."""
    lines = (PROJECT / "edge_runtime/__init__.py").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("__version__"))


def build_runtime(out: Path, version: str | None = None) -> Path:
    """The package of this project; its path."""
    control = Control(
        "edge-runtime", version or release(), "all",
        "python3 (>= 3.10), python3-numpy (>= 1:1.24), python3-serial (>= 3.5),"
        " python3-cbor2 (>= 5.4.6), python3-cryptography (>= 38)",
        "edge-runtime-litert, edge-runtime-onnx, python3-numba, python3-onnxruntime",
        "on-device learning for Linux ARM boards\n"
        " A frozen encoder, adaptors that learn without backpropagation, and hyperdimensional\n"
        " computing that knows what it does not know; served over a serial line.",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for package in PACKAGES:
            _copy_sources(PROJECT / package, root / LIBRARY / package)
        for name, module in PROGRAMS.items():
            text = PROGRAM.format(library=LIBRARY, backends=BACKENDS, module=module)
            _write(root / "usr/bin" / name, text, 0o755)
        licence = (PROJECT / "LICENSE").read_text()
        _write(root / "usr/share/doc/edge-runtime/copyright", licence)
        return _build(root, control, LIBRARY, out)


def build_backend(out: Path, backend: str, arch: str, python: str) -> Path:
    """The package of an inference library, from its wheel; its path."""
    major, minor = map(int, python.split("."))
    with tempfile.TemporaryDirectory() as folder:
        root, wheels = Path(folder) / "root", Path(folder) / "wheels"
        wheel = _download(WHEELS[backend], MACHINES[arch], f"{major}.{minor}", wheels)
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if not member.filename.startswith(NEEDLESS):
                    archive.extract(member, root / BACKENDS)  # never outside of it
        control = Control(
            f"edge-runtime-{backend}", wheel.name.split("-")[1], arch,
            f"edge-runtime, libstdc++6, python3 (>= {major}.{minor}),"
            f" python3 (<< {major}.{minor + 1})",
            "", f"inference library of edge-runtime: {backend}\n As its wheel brings it.",
        )  # fmt: skip
        return _build(root, control, BACKENDS, out)


def _download(requirement: str, machine: str, python: str, folder: Path) -> Path:
    """Its wheel alone; pip tells apart which C libraries Debian's is new enough for."""
    tag = python.replace(".", "")
    platforms = [f"--platform=manylinux_2_{n}_{machine}" for n in range(36, 16, -1)]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder),
            "--only-binary=:all:", "--implementation=cp", f"--python-version={python}",
            f"--abi=cp{tag}", "--abi=abi3", "--abi=none", *platforms,
            f"--platform=manylinux2014_{machine}", requirement,
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def _copy_sources(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.suffix == ".py" or path.name == "py.typed":
            _write(target / path.relative_to(source), path.read_text())


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _build(root: Path, control: Control, where: str, out: Path) -> Path:
    size = sum(path.stat().st_size for path in _files(root)) // 1024
    names = {"package": control.package, "where": where}
    _write(root / "DEBIAN/control", control.text(size))
    _write(root / "DEBIAN/postinst", POSTINST.format(**names), 0o755)
    _write(root / "DEBIAN/prerm", PRERM.format(**names), 0o755)
    if control.package == "edge-runtime":
        _write(root / "DEBIAN/postrm", POSTRM, 0o755)
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (SOURCE_DATE, SOURCE_DATE))
    target = out / f"{control.package}_{control.version}_{control.architecture}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(target)],
        check=True, capture_output=True, text=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(SOURCE_DATE)},
    )  # fmt: skip
    return target


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
