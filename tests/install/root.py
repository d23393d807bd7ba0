"""A clean Debian in a folder: made once by debootstrap, kept in the cache, unpacked for each test.

Commands run in it by chroot, in a mount namespace of their own, so that nothing stays mounted. It
has no network: what is installed is brought. One of another architecture is emulated: the kernel is
told for as long as the test takes that qemu starts its programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.deb import MACHINES
from examples.datasets.archives import cache_dir
from tests.arm.debian import Unavailable, host_program
from tests.arm.roots import show_cpu

PROJECT = Path(__file__).parents[2]
SUITE = "bookworm"
# debootstrap knows no virtual packages: what provides one is named, python3-cffi-backend here.
INCLUDED = (
    "python3,python3-venv,python3-numpy,python3-serial,python3-cbor2,python3-cryptography,"
    "python3-cffi-backend"
)
# What dpkg writes whatever is installed, and what belongs to nobody.
IGNORED = ("dev/", "proc/", "sys/", "tmp/", "var/lib/dpkg/", "var/log/", "var/cache/", "root/.")
SEE_CPU = 'if [ -e "$0/tmp/cpuinfo" ]; then mount --bind "$0/tmp/cpuinfo" "$0/proc/cpuinfo"; fi'
MOUNT = 'mount --bind /dev "$0/dev" && mount -t proc proc "$0/proc"'
ENTER = f'{MOUNT} && {SEE_CPU} && exec chroot "$0" "$@"'
# How the kernel knows programs of 64-bit ARM: the head of an ELF file, and which bits of it count.
BINFMT = Path("/proc/sys/fs/binfmt_misc")
ELF = rb"\x7fELF\x02\x01\x01" + rb"\x00" * 9 + rb"\x02\x00\xb7\x00"
MASK = rb"\xff" * 7 + rb"\x00" + rb"\xff" * 8 + rb"\xfe" + rb"\xff" * 3
EMULATED_CPU = "cortex-a72"


def run(*words, **options):
    return subprocess.run(
        [str(word) for word in words], check=True, capture_output=True, text=True, **options
    )


def skip_without_tools(architecture):
    if architecture not in os.environ.get("EDGE_RUNTIME_INSTALL", "").split():
        pytest.skip(
            f"NOT ASKED FOR: `make test-install` installs into a clean Debian {architecture}"
        )
    if os.geteuid() != 0:
        pytest.skip("NO ROOT RIGHTS: nothing is installed into a clean Debian")
    for tool in ("debootstrap", "dpkg-deb", "unshare", "chroot", "tar"):
        if shutil.which(tool) is None:
            pytest.skip(f"NO {tool.upper()}: nothing is installed into a clean Debian")
    trial = ["unshare", "--mount", "mount", "--bind", "/dev", "/mnt"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("NO MOUNT NAMESPACES HERE: nothing is installed into a clean Debian")


@contextmanager
def runnable(architecture):
    """Have the kernel start this architecture's programs; what it knew before is left alone."""
    machine = MACHINES[architecture]
    if machine == os.uname().machine or (BINFMT / f"qemu-{machine}").exists():
        yield
        return
    if machine != "aarch64":
        pytest.skip(f"NO EMULATION of {architecture} is known here")
    is_mounted = (BINFMT / "register").exists()
    entry = BINFMT / "edge-runtime-test"
    try:
        qemu = host_program("qemu-aarch64-static", "qemu-user-static")[-1]
        if not is_mounted:
            run("mount", "-t", "binfmt_misc", "none", BINFMT)
        line = b":%s:M::%s:%s:%s:F" % (entry.name.encode(), ELF, MASK, qemu.encode())
        (BINFMT / "register").write_bytes(line)
    except (Unavailable, OSError, subprocess.CalledProcessError) as why:
        pytest.skip(f"NO BINFMT_MISC HERE: no {architecture} is emulated: {why}")
    try:
        yield
    finally:
        entry.write_bytes(b"-1")
        if not is_mounted:
            run("umount", BINFMT)


def mirror():
    """Where this machine's apt finds the suite."""
    wanted = f"|{SUITE}|main"
    listed = run(
        "apt-get", "indextargets", "--format", "$(REPO_URI)|$(CODENAME)|$(COMPONENT)",
        "Created-By: Packages",
    ).stdout.splitlines()  # fmt: skip
    found = [line.removesuffix(wanted) for line in listed if line.endswith(wanted)]
    return found[0] if found else None


def root_archive(architecture):
    """The clean root as a tar; a minute and a half the first time, many where it is emulated."""
    archive = cache_dir().resolve() / "roots" / f"{SUITE}-{architecture}.tar"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    folder = archive.with_suffix(".new")
    shutil.rmtree(folder, ignore_errors=True)
    uri = mirror()
    words = (
        f"--arch={architecture}", "--variant=minbase", f"--include={INCLUDED}", SUITE, folder,
        *([uri] if uri else []),
    )  # fmt: skip
    done = subprocess.run(
        ["debootstrap", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"NO CLEAN DEBIAN: debootstrap: {done.stdout.strip()[-200:]}")
    run("tar", "--create", "--file", archive.with_suffix(".part"), "--directory", folder, ".")
    shutil.rmtree(folder)
    archive.with_suffix(".part").rename(archive)
    return archive


class Root:
    """One clean Debian, to be spoiled."""

    def __init__(self, path, architecture):
        self.path, self.architecture = path, architecture
        path.mkdir()
        run("tar", "--extract", "--file", root_archive(architecture), "--directory", path)
        if MACHINES[architecture] != os.uname().machine:  # libraries ask what the processor can
            show_cpu(path, EMULATED_CPU)
            shutil.move(path / "proc/cpuinfo", path / "tmp/cpuinfo")

    def __call__(self, *words):
        """What a command in it printed; its complaint is the failure."""
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", ENTER, str(self.path), *map(str, words)],
            capture_output=True, text=True, check=False, timeout=1200, cwd="/",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
                "QEMU_CPU": EMULATED_CPU, "OPENBLAS_NUM_THREADS": "1",
            },
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        return done.stdout

    def bring(self, source, target):
        place = self.path / target
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)

    def files(self):
        """Everything in it by name, without what is dpkg's own."""
        names = (str(path.relative_to(self.path)) for path in self.path.rglob("*"))
        return sorted(name for name in names if not f"{name}/".startswith(IGNORED))


def wheel_of(version, folder):
    """The project as a wheel of this version."""
    copy = folder / f"source-{version}"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs")
    shutil.copytree(PROJECT, copy, ignore=ignored)
    text = (copy / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(
        text.replace('version = "0.1.0"', f'version = "{version}"')
    )
    wheels = folder / "wheels"
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", wheels, copy)
    return next(wheels.glob(f"edge_runtime-{version}-*.whl"))


def fetch_wheels(requirement, folder, architecture):
    """Wheels of everything that the project needs, for the clean root's Python."""
    machine = MACHINES[architecture]
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", folder,
        "--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3", "--abi=none",
        *[f"--platform=manylinux_2_{n}_{machine}" for n in range(36, 16, -1)],
        f"--platform=manylinux2014_{machine}", requirement,
    )  # fmt: skip
