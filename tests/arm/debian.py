"""Debian packages of any architecture, fetched by apt in a world of its own and unpacked.

No root rights, no maintainer scripts, and the host's own list of architectures and packages is not
touched. Everything lands in one folder, which may be deleted at any time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Unavailable(Exception):
    """Something that emulation needs is not here: the text says what, and is printed as a skip."""


def cache() -> Path:
    """The folder of roots, kernels and disks: none of them belongs to the source tree."""
    return Path(os.environ.get("EDGE_RUNTIME_CACHE", PROJECT / ".cache")) / "arm"


def run(*command, **options):
    """The standard output of a program; Unavailable with its last line if it fails."""
    try:
        done = subprocess.run(
            [str(each) for each in command], capture_output=True, text=True, **options
        )
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "without a word").splitlines()[-1]
        raise Unavailable(f"{command[0]} failed ({done.returncode}): {said}")
    return done.stdout


def mirror() -> str:
    """The mirror that the host's apt uses."""
    for line in run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
        "Origin: Debian",
    ).splitlines():  # fmt: skip
        if re.search(r"/debian/?$", line):
            return line
    raise Unavailable("the host's apt knows no Debian mirror")


class Apt:
    """Packages of one architecture and suite; `installed` names a dpkg status to build upon."""

    def __init__(self, folder: Path, architecture: str, suite: str, installed: Path | None = None):
        self.folder = folder
        for name in ("lists/partial", "archives/partial", "dl"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(
            f"deb [arch={architecture} signed-by={KEYRING}] {mirror()} {suite} main\n"
        )
        settings = {
            "Dir::Etc::SourceList": folder / "sources.list",
            "Dir::Etc::SourceParts": "/nowhere",
            "Dir::State": folder,
            "Dir::State::status": installed or folder / "status",
            "Dir::Cache": folder,
            "APT::Architecture": architecture,
            "APT::Architectures::": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": 3,
            "Debug::NoLocking": 1,
        }
        self.options = [
            word for key, value in settings.items() for word in ("-o", f"{key}={value}")
        ]
        if not list((folder / "lists").glob("*Packages*")):
            self.get("update")

    def get(self, *words):
        return run("apt-get", *self.options, "-qq", "-y", *words)

    def closure(self, *packages) -> list[Path]:
        """The packages and all they depend on, as files, without what is installed."""
        self.get("--download-only", "install", *packages)
        plan = self.get("-s", "install", *packages)
        found = []
        for name, version in re.findall(r"^Inst (\S+) \((\S+)", plan, re.MULTILINE):
            stem = f"{name}_{version.replace(':', '%3a')}_*.deb"
            found += (self.folder / "archives").glob(stem)
        return found

    def one(self, package: str) -> Path:
        """The package alone."""
        for old in (self.folder / "dl").glob(f"{package}_*.deb"):
            old.unlink()
        run("apt-get", *self.options, "-qq", "download", package, cwd=self.folder / "dl")
        return next((self.folder / "dl").glob(f"{package}_*.deb"))

    def newest(self, meta: str, dependency: str) -> str:
        """The package that a meta package now stands for."""
        said = run("apt-cache", *self.options, "depends", meta)
        for name in re.findall(r"Depends: (\S+)", said):
            if name.startswith(dependency):
                return name
        raise Unavailable(f"{meta} depends on no {dependency}*")


def unpack(packages: list[Path], root: Path) -> None:
    """Lay the packages' files into a root of merged /usr, as dpkg would."""
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    (root / "etc").mkdir(exist_ok=True)
    for package in packages:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE
        ) as archive:
            run(
                "tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", root,
                stdin=archive.stdout,
            )  # fmt: skip


def host_program(name: str, package: str) -> list[str]:
    """The command of a host's program: as it is installed, or unpacked into the cache."""
    if found := shutil.which(name):
        return [found]
    architecture = run("dpkg", "--print-architecture").strip()
    root = cache() / "host" / package
    if not (root / "complete").exists():
        apt = Apt(cache() / "host" / "apt", architecture, "bookworm", Path("/var/lib/dpkg/status"))
        unpack(apt.closure(package), root)
        (root / "complete").touch()
    libraries = ":".join(str(each) for each in sorted(root.glob("usr/lib/*-linux-gnu")))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/bin" / name)]
