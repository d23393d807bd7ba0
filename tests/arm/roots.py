"""ARM boards as folders: Debian's Python and packages, real ARM wheels, and the CPU they see.

Run under qemu-user with an explicit prefix: no binfmt, chroot or root rights. What a board made so
cannot show is written where it is used (`left_out.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.arm.debian import PROJECT, Apt, cache, host_program, run, unpack

# Versions are pinned: counts of instructions are compared with earlier ones.
PURE = (
    "pyserial==3.5", "pytest==9.0.2", "pytest-timeout==2.4.0", "hypothesis==6.148.7",
    "sortedcontainers==2.4.0", "iniconfig==2.3.0", "pluggy==1.6.0", "packaging==25.0",
    "pygments==2.19.2", "typing-extensions==4.15.0", "attrs==25.4.0",
)  # fmt: skip


@dataclass(frozen=True)
class Board:
    """What is on a board, and what its CPU is called."""

    name: str
    architecture: str  # Debian's
    qemu: str
    wheel_tag: str
    cpu: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    suite: str = "bookworm"
    python: str = "3.11"
    glibc: int = 36


AARCH64 = Board(
    "aarch64", "arm64", "aarch64", "aarch64", "cortex-a72",
    ("python3", "libgomp1", "libstdc++6"),
    (
        "numpy==2.4.6", "numba==0.68.1", "onnxruntime==1.32.0", "ai-edge-litert==2.3.0",
        "onnx==1.23.2", "scikit-learn==1.9.1", "cbor2==6.3.0", "cryptography==50.0.2", *PURE,
    ),
)  # fmt: skip
# No numba, onnxruntime or LiteRT for 32 bits: Debian's NumPy, the old interpreter, and the twins.
ARMHF = Board(
    "armhf", "armhf", "arm", "armv7l", "cortex-a7",
    (
        "python3", "python3-numpy", "python3-sklearn", "python3-onnx", "python3-cffi-backend",
        "libgomp1", "libstdc++6",
    ),
    ("tflite-runtime==2.14.0", "cbor2==5.9.0", "cryptography==50.0.2", *PURE),
)  # fmt: skip
BOARDS = {board.name: board for board in (AARCH64, ARMHF)}

A32 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
A64 = "fp asimd evtstrm crc32 cpuid"
CPUS = {  # part, variant, revision, architecture, model, features
    "cortex-a7": (0xC07, 0, 5, 7, "Raspberry Pi 2 Model B Rev 1.1", A32),
    "cortex-a53": (0xD03, 0, 4, 8, "Raspberry Pi 3 Model B Rev 1.2", A64),
    "cortex-a72": (0xD08, 0, 3, 8, "Raspberry Pi 4 Model B Rev 1.4", A64),
}


@dataclass(frozen=True)
class Root:
    """A board that is ready to run."""

    board: Board
    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "root"

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def command(self, *arguments, cpu: str = "", qemu: list[str] | None = None) -> list[str]:
        """Run the board's Python with these arguments on the CPU named."""
        cpu = cpu or self.board.cpu
        show_cpu(self.tree, cpu)
        program = qemu or host_program(f"qemu-{self.board.qemu}-static", "qemu-user-static")
        python = self.tree / "usr/bin" / f"python{self.board.python}"
        return [*program, "-cpu", cpu, "-L", str(self.tree), str(python), *map(str, arguments)]

    def launcher(self, cpu: str = "") -> Path:
        """A program of the host that is the board's Python: children of a test start it."""
        script = self.folder / "python"
        words = " ".join(shlex.quote(word) for word in self.command(cpu=cpu))
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(0o755)
        return script

    def environment(self, **more: str) -> dict[str, str]:
        """What the board's Python needs to know, and nothing of the host's own Python."""
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        return {
            **kept,
            "PYTHONPATH": f"{self.site}:{PROJECT}",
            "PYTHONHASHSEED": "0",
            "BOARD_PYTHON": str(self.launcher()),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "NUMBA_CACHE_DIR": str(self.folder / "kernels"),
            **more,
        }


def make(board: Board) -> Root:
    """The board's root, made now or found as it was made before; Unavailable says what lacks."""
    stamp = hashlib.sha256(json.dumps(asdict(board), sort_keys=True).encode()).hexdigest()[:12]
    folder = cache() / f"{board.name}-{stamp}"
    if not (folder / "complete").exists():
        print(f"Making {board.name} in {folder} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _packages(board, folder)
        _wheels(board, folder / "site")
        _bytecode(board, folder)
        (folder / "complete").touch()
    return Root(board, folder)


def _packages(board: Board, folder: Path) -> None:
    apt = Apt(cache() / f"apt-{board.architecture}-{board.suite}", board.architecture, board.suite)
    unpack(apt.closure(*board.packages), folder / "root")
    for libraries in folder.glob("root/usr/lib/*-linux-gnu*"):
        for name in ("blas/libblas.so.3", "lapack/liblapack.so.3"):  # by update-alternatives, else
            if (libraries / name).exists():
                (libraries / Path(name).name).symlink_to(name)


def _wheels(board: Board, site: Path) -> None:
    """The host's pip chooses for the board; it expands no manylinux tags, so all are listed."""
    minors = range(board.glibc, 16, -1)
    tags = [f"manylinux_2_{minor}_{board.wheel_tag}" for minor in minors]
    tags += [f"manylinux2014_{board.wheel_tag}", f"linux_{board.wheel_tag}"]
    options = [word for tag in tags for word in ("--platform", tag)]
    abi = "cp" + board.python.replace(".", "")
    if board.architecture == "armhf":
        options.append("--no-deps")  # NumPy is Debian's: pip would look for a wheel of it
    run(
        sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", site,
        "--only-binary=:all:", "--implementation", "cp", "--python-version", board.python,
        "--abi", abi, "--abi", "abi3", "--abi", "none", *options, *board.wheels,
    )  # fmt: skip


def _bytecode(board: Board, folder: Path) -> None:
    """Compiled here: the board would take minutes. Needs a Python of the board's version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = sys.executable if version == board.python else shutil.which(f"python{board.python}")
    if python is None:
        print(f"No Python {board.python} on the host: the board compiles its modules (slow).")
        return
    libraries = folder / "root/usr/lib"
    for tree in (folder / "site", libraries / f"python{board.python}", libraries / "python3"):
        run(
            python, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash",
            "-x", "/(tests?|idlelib|lib2to3)/[^/]+$", tree,
        )  # fmt: skip


def show_cpu(tree: Path, cpu: str, cores: int = 4) -> None:
    """Lay /proc/cpuinfo and /sys of the CPU over the host's, which older qemus would show."""
    if cpu not in CPUS:
        raise ValueError(f"no CPU {cpu!r} is known; there are {', '.join(CPUS)}")
    part, variant, revision, level, model, features = CPUS[cpu]
    block = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: {level}\nCPU variant\t: {variant:#x}\nCPU part\t: {part:#x}\n"
        f"CPU revision\t: {revision}\n\n"
    )
    blocks = [f"processor\t: {core}\n{block}" for core in range(cores)]
    everyone = f"0-{cores - 1}"
    files = {"proc/cpuinfo": "".join(blocks) + f"Model\t\t: {model}"}
    folder = "sys/devices/system/cpu"
    files |= {f"{folder}/{name}": everyone for name in ("possible", "present", "online")}
    files[f"{folder}/kernel_max"] = str(cores - 1)
    midr = 0x410F0000 | variant << 20 | part << 4 | revision
    for core in range(cores):
        here = f"{folder}/cpu{core}"
        files[f"{here}/topology/physical_package_id"] = "0"
        files[f"{here}/topology/core_id"] = str(core)
        for name in ("core_siblings_list", "package_cpus_list", "cluster_cpus_list"):
            files[f"{here}/topology/{name}"] = everyone
        for name in ("thread_siblings_list", "core_cpus_list"):
            files[f"{here}/topology/{name}"] = str(core)
        files[f"{here}/cpufreq/cpuinfo_max_freq"] = "1800000"
        files[f"{here}/cpufreq/cpuinfo_min_freq"] = "600000"
        files[f"{here}/regs/identification/midr_el1"] = f"{midr:#018x}"
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def named(name: str) -> Board:
    """The board of that name."""
    if name not in BOARDS:
        raise ValueError(f"no board {name!r}; there are {', '.join(BOARDS)}")
    return BOARDS[name]
