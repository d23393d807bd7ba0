"""One named file out of an archive, read where it lies: nothing is ever extracted.

So a member's path cannot lead anywhere, and links are refused. The size that an archive claims is
compared with a limit before anything is read.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path

from examples.datasets.archives import ArchiveUnavailableError

MAX_BYTES = 256 * 2**20  # the largest member in use has 100 MB, unpacked

_BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


def from_tar(path: Path, name: str) -> bytes:
    """The bytes of the regular file `name` in a tar archive of any compression."""
    return _from_tar(path, None, name)


def _from_tar(path: Path, content: io.BytesIO | None, name: str) -> bytes:
    try:
        with tarfile.open(path, fileobj=content) as archive:
            member = archive.getmember(name)
            if not member.isreg():
                raise ArchiveUnavailableError(f"{path.name}: {name} is not a regular file: refused")
            _check_size(path, name, member.size)
            file = archive.extractfile(member)
            assert file is not None, "a regular file has content"
            return file.read()
    except KeyError as error:
        raise _absent(path, name) from error
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def from_zip(path: Path, name: str) -> bytes:
    """The bytes of the file `name` in a zip archive, such as a wheel."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_size(path, name, archive.getinfo(name).file_size)
            return archive.read(name)
    except KeyError as error:
        raise _absent(path, name) from error
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def from_deb(path: Path, name: str) -> bytes:
    """The bytes of the regular file `name` in a Debian package; needs dpkg-deb."""
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    try:
        listing = subprocess.run(command, check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        raise ArchiveUnavailableError("opening a .deb needs dpkg-deb") from error
    except subprocess.CalledProcessError as error:
        raise _unreadable(path, error) from error
    return _from_tar(path, io.BytesIO(listing), name)


def gunzip(path: Path, compressed: bytes) -> bytes:
    """Unpacked bytes of a gzip member of the archive at `path`, which only names it in errors."""
    try:
        with gzip.open(io.BytesIO(compressed)) as file:
            data = file.read(MAX_BYTES + 1)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    _check_size(path, "gzip member", len(data))
    return data


def _check_size(path: Path, name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise ArchiveUnavailableError(
            f"{path.name}: {name} has {size} bytes or more, expected at most {MAX_BYTES}: refused"
        )


def _absent(path: Path, name: str) -> ArchiveUnavailableError:
    return ArchiveUnavailableError(f"{path.name} has no {name}: is it another version?")


def _unreadable(path: Path, error: Exception) -> ArchiveUnavailableError:
    return ArchiveUnavailableError(f"{path.name} cannot be read ({error}): was it cut short?")
