"""Group 1, images: packs arrive, are marked for test, confirmed, erased. See `docs/protocol.md`.

MCUboot's words for our steps: *pending* is tested or being tested and runs after a reset, *active*
runs, *confirmed* stays. Slot 0 is what runs; slot 1 what waits, or what ran before and may again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from edge_runtime.board.deployer import Deployer
from edge_runtime.board.files import Files
from edge_runtime.board.record import AT_REST, Deployment, Now, Phase, StoreError
from edge_runtime.board.uploads import Uploads
from edge_runtime.protocol.pack import PackError, Version
from edge_runtime.protocol.pack.container import MAX_PACK_BYTES
from edge_runtime.protocol.wire.messages import (
    ImageEntry,
    ImageEraseAnswer,
    ImageEraseRequest,
    ImageStateAnswer,
    ImageUploadAnswer,
    ImageUploadRequest,
    SetImageStateAnswer,
    SetImageStateRequest,
)
from edge_runtime.protocol.wire.smp import Answer, Group, Rc, Refusal
from edge_runtime.protocol.wire.upload import NO_UPLOAD

# Zephyr's ``img_mgmt_err_code_t``.
HASH_NOT_FOUND: Final = Refusal(8, Group.IMAGE)
CURRENT_IS_NEWER: Final = Refusal(27, Group.IMAGE)
ACTIVE_CANNOT_BE_TESTED: Final = Refusal(31, Group.IMAGE)
DIGEST_BYTES: Final = 32
# Another file, or another line, waits until an upload has been silent for so long.
BUSY_S: Final = 3.0
MAX_REFUSED: Final = 16
_MAGIC: Final = bytes.fromhex("3db8f396")


@dataclass
class _Session:
    digest: str
    total: int
    line: str
    heard_s: float


class ImageGroup:
    """Answers the requests of group 1."""

    def __init__(self, deployer: Deployer, uploads: Uploads, files: Files) -> None:
        self._deployer, self._uploads, self._files = deployer, uploads, files
        self._store = deployer.store
        self._session: _Session | None = None
        self._refused: OrderedDict[str, Refusal] = OrderedDict()
        self._digests: dict[str, str] = {}  # pack id to the SHA-256 of its file

    # -- state ------------------------------------------------------------------------------

    def state(self) -> ImageStateAnswer:
        """Every image that the board has."""
        return ImageStateAnswer(image_entries(self._deployer), splitStatus=0)

    def set_state(self, request: SetImageStateRequest, now: Now) -> Answer:
        """Test or confirm an image; without hash, confirm what runs."""
        try:
            refusal = self._mark(request, now)
        except StoreError as error:
            return Refusal(Rc.BAD_STATE, rsn=str(error)[:200])
        return refusal or SetImageStateAnswer(image_entries(self._deployer), splitStatus=0)

    def _mark(self, request: SetImageStateRequest, now: Now) -> Refusal | None:
        record, confirm = self._store.record, bool(request.confirm)
        if request.hash is None:
            if not confirm:
                return Refusal(Rc.INVALID, rsn="test needs a hash")
            self._deployer.confirm(now)
            return None
        digest = request.hash.hex()
        if record.candidate is not None and digest in _ids(record.candidate):
            if record.phase is Phase.TRIAL:
                if confirm:
                    self._deployer.confirm(now)
                return None
            if digest == record.candidate.packs[-1].id:
                self._deployer.mark(now, permanent=confirm)
                return None
        if record.active is not None and digest in _ids(record.active):
            return None if confirm else ACTIVE_CANNOT_BE_TESTED
        if record.previous is not None and digest in _ids(record.previous):
            self._store.rollback(now)
            self._deployer.mark(now, permanent=confirm)
            return None
        return HASH_NOT_FOUND

    def erase(self, request: ImageEraseRequest, now: Now) -> Answer:
        """Throw away what waits, and any upload; not what runs."""
        phase = self._store.record.phase
        if phase in (Phase.TRIAL, Phase.TESTING):
            return Refusal(Rc.BAD_STATE, rsn=f"an update is in its {phase.value}: reset ends it")
        if phase not in AT_REST:
            self._store.revert("erased by the host", now)
        self._uploads.discard()
        self._session = None
        return ImageEraseAnswer()

    # -- uploads ----------------------------------------------------------------------------

    @property
    def upload(self) -> tuple[int, int] | None:
        """Bytes that are here, and bytes in all, of the upload that is going on."""
        if self._session is None:
            return None
        return self._uploads.offset(self._session.digest), self._session.total

    def take(self, request: ImageUploadRequest, line: str, now: Now) -> Answer:
        """Take a piece; the answer says where to go on."""
        try:
            if request.off == 0 and request.sha is not None:
                refusal = self._open(request, line, now)
                if refusal is not None:
                    return refusal
            session = self._session
            if session is None:
                return NO_UPLOAD
            if session.line != line:
                return Refusal(Rc.BUSY, rsn=f"an upload over {session.line} is going on")
            session.heard_s = now.monotonic_s
            off = self._uploads.write(
                session.digest, request.off, request.data, total=session.total
            )
            if off < session.total:
                return ImageUploadAnswer(off=off)
            return self._finish(session, now)
        except PackError as error:
            return Refusal(Rc.INVALID, rsn=_reason(error))

    def _open(self, request: ImageUploadRequest, line: str, now: Now) -> Answer | None:
        """Begin or resume; an answer if there is nothing to upload."""
        sha, total = request.sha, request.len
        if sha is None or len(sha) != DIGEST_BYTES or total is None:
            return Refusal(Rc.INVALID, rsn="the first piece needs sha (32 bytes) and len")
        digest, session = sha.hex(), self._session
        if session is not None and (session.digest, session.line) != (digest, line):
            if now.monotonic_s - session.heard_s < BUSY_S:
                return Refusal(Rc.BUSY, rsn="another upload is going on: wait a few seconds")
            self._session = None
        if digest in self._refused:
            return self._refused[digest]
        if self._is_here(digest, total):
            return ImageUploadAnswer(off=total, match=True)
        refusal = self._unfit(request, total)
        if refusal is None:
            self._session = _Session(digest, total, line, now.monotonic_s)
            if self._uploads.offset(digest) > total:
                self._uploads.discard()
        return refusal

    def _unfit(self, request: ImageUploadRequest, total: int) -> Refusal | None:
        phase = self._store.record.phase
        if not 0 < total <= MAX_PACK_BYTES:
            return Refusal(Rc.INVALID, rsn=f"{total} bytes, expected 1 to {MAX_PACK_BYTES}")
        if phase in (Phase.TRIAL, Phase.TESTING):
            what = f"an update is in its {phase.value}: confirm it or reset first"
            return Refusal(Rc.BAD_STATE, rsn=what)
        head, active = request.data, self._store.record.active
        if request.upgrade and active is not None and head[:4] == _MAGIC and len(head) >= 28:
            revision, build = head[22:24], head[24:28]
            brought = Version(
                head[20], head[21], int.from_bytes(revision, "little"),
                int.from_bytes(build, "little"),
            )  # fmt: skip
            if brought < Version.parse(active.model.version):
                return CURRENT_IS_NEWER
        return None

    def _finish(self, session: _Session, now: Now) -> Answer:
        self._session = None
        try:
            name = self._uploads.finish(session.digest)
        except PackError:
            return ImageUploadAnswer(off=session.total, match=False)
        try:
            pack = self._store.stage(name, now)
        except PackError as error:
            refusal = Refusal(Rc.INVALID, rsn=_reason(error))
            self._refused[session.digest] = refusal
            if len(self._refused) > MAX_REFUSED:
                self._refused.popitem(last=False)
            return refusal
        except StoreError as error:
            return Refusal(Rc.BAD_STATE, rsn=str(error)[:200])
        self._digests[pack.id] = session.digest
        return ImageUploadAnswer(off=session.total, match=True)

    def _is_here(self, digest: str, total: int) -> bool:
        """Whether this very file is active or waits already: pushed twice, it is sent once."""
        for deployment in (self._store.record.active, self._store.record.candidate):
            for pack in deployment.packs if deployment is not None else ():
                if self._files.size(f"{pack.id}.pack") == total:
                    if pack.id not in self._digests:
                        with self._files.open(f"{pack.id}.pack") as file:
                            self._digests[pack.id] = _digest(file.read)
                    if self._digests[pack.id] == digest:
                        return True
        return False


def image_entries(deployer: Deployer) -> tuple[ImageEntry, ...]:
    """The images as a client of MCUboot expects them."""
    record = deployer.store.record
    # What has been switched to and is still starting is shown as what comes next.
    is_trial = record.phase is Phase.TRIAL and deployer.is_up
    is_pending = record.phase in (Phase.TESTING, Phase.READY, Phase.TRIAL)
    running = record.candidate if is_trial else record.active
    other = record.active if is_trial else record.candidate or record.previous
    entries = []
    for number, pack in enumerate(running.packs if running is not None else ()):
        entries.append(
            ImageEntry(
                0, _version(pack.version), number, bytes.fromhex(pack.id), bootable=True,
                pending=False, confirmed=not is_trial, active=True, permanent=False,
            )
        )  # fmt: skip
    shown = {pack.id for pack in running.packs} if running is not None else set()
    for number, pack in enumerate(other.packs if other is not None else ()):
        if pack.id in shown:
            continue
        is_next = is_pending and other is record.candidate
        entries.append(
            ImageEntry(
                1, _version(pack.version), number, bytes.fromhex(pack.id), bootable=True,
                pending=is_next, confirmed=is_trial, active=False,
                permanent=is_next and deployer.is_permanent,
            )
        )  # fmt: skip
    return tuple(entries)


def _ids(deployment: Deployment) -> tuple[str, ...]:
    return tuple(pack.id for pack in deployment.packs)


def _version(text: str) -> str:
    """MCUboot's way: a build number follows a dot."""
    return text.replace("+", ".")


def _reason(error: PackError) -> str:
    return f"{error.reason}: {error}"[:300]


def _digest(read: object) -> str:
    digest = hashlib.sha256()
    while chunk := read(2**16):  # type: ignore[operator]
        digest.update(chunk)
    return digest.hexdigest()
