"""Two places for model packs: an update is staged, tested, run unconfirmed, and kept or undone.

    <id>.pack    a verified pack, never written again          record    what runs, and the log
    learned/     a directory for each deployment               encoders/ unpacked, made anew at need

Order is what makes it safe. A pack is synced, named, and its directory synced, before the record
names it. A step is one new record: written aside, synced, renamed, directory synced; only then is
it done. Files that no record names are removed after the step, never before. So after a power cut
at any point the record is the old or the new one, and every pack that it names is whole.

Not here: the wire, uploads (`uploads`), the child process (`selftest`). No clock: the caller says
what time it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_runtime.board import record as records
from edge_runtime.board.files import Files
from edge_runtime.board.record import Deployment, Installed, Now, Phase, Record, StoreError
from edge_runtime.board.selftest import MEMORY_BYTES, Places, TestRequest, Verdict, run_self_test
from edge_runtime.protocol.pack import (
    BoardFacts,
    ModelPack,
    PackError,
    Version,
    check_board,
    read_pack,
)
from edge_runtime.protocol.pack.verify import counter_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RECORD: Final = "record"
NEW_RECORD: Final = "record.new"
TRIAL_S: Final = 600.0  # a person at a serial line looks, and confirms, within ten minutes
LEARNED, ENCODERS = "learned", "encoders"


@dataclass(frozen=True)
class BoardLimits:
    """What this board is, for the packs that ask, and what a self-test may use."""

    runtime: str
    names: tuple[str, ...] = ()
    memory_bytes: int = MEMORY_BYTES


class ImageStore:
    """The packs of one board. One process at a time; every method leaves a durable state.

    Parameters
    ----------
    files
        Of the store's directory.
    keys
        The pinned ones. None is an unprovisioned board: it takes what is whole, from anybody.

    Raises
    ------
    StoreError
        The record is damaged. Nothing is guessed: the floor of the security counters is in it.
    """

    def __init__(
        self, files: Files, keys: Sequence[Ed25519PublicKey] | None, limits: BoardLimits
    ) -> None:
        self._files, self._keys, self._limits = files, keys, limits
        self.record = self._read()

    # -- steps ------------------------------------------------------------------------------

    def start(self, now: Now, *, trial_s: float = TRIAL_S) -> Deployment | None:
        """Call once when the agent starts; return what to run.

        A tested pack runs from now on, unconfirmed. A test that was cut off is undone, and so is
        an unconfirmed pack: whatever ended it, power, a crash or a watchdog, it has not shown
        that it works.
        """
        if self.record.phase in (Phase.TESTING, Phase.TRIAL):
            self.revert(f"the board went down during its {self.record.phase.value}", now)
        elif self.record.phase is Phase.READY:
            self.begin_trial(now, trial_s=trial_s)
        self._prune()
        return self.record.running

    def stage(self, name: str, now: Now) -> ModelPack:
        """Verify an uploaded file of the store and make it the candidate.

        Raises
        ------
        PackError
            It is refused: the file is removed, the log says why, what runs is untouched.
        StoreError
            An update is being tested, or runs unconfirmed.
        """
        self.record.take("stage")
        brought = Installed("", name, "", "", 0)
        try:
            with self._files.open(name) as file:
                pack = read_pack(file, self._keys)
            brought = _installed(pack)
            check_board(pack, self._facts())
        except PackError as error:
            reason = f"{error.reason}: {error}"
            self._write(self.record.log(now.wall_s, brought, "refused", reason))
            self._files.remove(name)
            raise
        deployment = self._deployment(pack, brought)
        target = f"{pack.id}.pack"
        self._files.sync(name)
        self._files.rename(name, target)
        self._files.sync_directory()
        staged = self.record.close("replaced", "another pack came").take(
            "stage", candidate=deployment
        )
        self._write(staged.log(now.wall_s, deployment.packs[-1], "open"))
        self._prune()
        return pack

    def test(self, now: Now, run: Callable[[TestRequest], Verdict] = run_self_test) -> Verdict:
        """Let the candidate show in a child process that it runs; revert if it does not."""
        verdict = run(self.begin_test())
        self.end_test(verdict, now)
        return verdict

    def begin_test(self) -> TestRequest:
        """What the self-test is to try; `end_test` takes its verdict."""
        self._write(self.record.take("begin_test"))
        candidate, active = self.record.candidate, self.record.active
        assert candidate is not None
        return TestRequest(
            self.places(candidate),
            None if active is None else self.places(active),
            self._limits.memory_bytes,
        )

    def end_test(self, verdict: Verdict, now: Now) -> None:
        """Take the verdict: the candidate may run, or is given up."""
        if verdict.passed:
            note = f"learned state: {verdict.learned}" if verdict.learned else ""
            self._write(self._noted(self.record.take("pass_test"), note))
        else:
            self.revert(verdict.reason, now)

    def begin_trial(self, now: Now, *, trial_s: float = TRIAL_S) -> None:
        """Run the tested candidate from now on, until it is confirmed, or the time is up."""
        self._write(self.record.take("begin_trial", deadline_s=now.monotonic_s + trial_s))

    def confirm(self, now: Now) -> None:
        """Keep the candidate; its security counters are the least that is taken from now on."""
        done = self.record.take(
            "confirm",
            previous=self.record.active,
            active=self.record.candidate,
            candidate=None,
            deadline_s=None,
        )
        assert done.active is not None
        self._write(done.raise_counters(done.active).close("confirmed", self._note()))
        self._prune()

    def revert(self, reason: str, now: Now) -> None:
        """Give the candidate up and run what ran before."""
        step = self.record.take("revert", candidate=None, deadline_s=None)
        self._write(step.close("reverted", reason))
        self._prune()

    def tick(self, now: Now) -> bool:
        """Undo an update that was not confirmed in time; True if so: what is to run has changed."""
        deadline = self.record.deadline_s
        if self.record.phase is not Phase.TRIAL or deadline is None or now.monotonic_s < deadline:
            return False
        self.revert("not confirmed in time", now)
        return True

    def rollback(self, now: Now) -> None:
        """Make what was active before the last update the candidate again.

        Raises
        ------
        StoreError
            There is nothing before, or its security counter is too low by now.
        """
        back = self.record.previous
        if back is None:
            raise StoreError("there is no pack to go back to")
        for pack in back.packs:
            if pack.counter < self.record.counters.get(pack.counter_key, 0):
                raise StoreError(f"{pack.name} {pack.version} is older than the security counter")
        staged = self.record.close("replaced", "rolled back").take("stage", candidate=back)
        self._write(staged.log(now.wall_s, back.packs[-1], "open", "rollback"))

    # -- what is where ----------------------------------------------------------------------

    def places(self, deployment: Deployment) -> Places:
        """Paths of a deployment's parts."""
        head = deployment.head
        return Places(
            str(self._files.path(f"{deployment.model.id}.pack")),
            None if head is None else str(self._files.path(f"{head.id}.pack")),
            str(self._files.root / LEARNED / deployment.id),
            str(self._files.root / ENCODERS),
        )

    def _facts(self) -> BoardFacts:
        active = self.record.active
        numbered = {} if active is None else dict(enumerate(active.packs, start=1))
        return BoardFacts(
            runtime=self._limits.runtime,
            names=self._limits.names,
            memory_bytes=self._limits.memory_bytes,
            encoder=None if active is None else active.fingerprint,
            counters=self.record.counters,
            versions={n: Version.parse(pack.version) for n, pack in numbered.items()},
        )

    def _deployment(self, pack: ModelPack, installed: Installed) -> Deployment:
        if pack.manifest.kind == "model":
            return Deployment(installed, None, pack.manifest.encoder.fingerprint)
        active = self.record.active
        assert active is not None  # `check_board` refuses a head without an encoder
        return Deployment(active.model, installed, active.fingerprint)

    # -- the record -------------------------------------------------------------------------

    def _read(self) -> Record:
        if RECORD not in self._files.names():
            return Record()
        with self._files.open(RECORD) as file:
            return records.from_bytes(file.read(records.MAX_RECORD_BYTES + 1))

    def _write(self, new: Record) -> None:
        """One step: durable when this returns, and not to be seen by half before."""
        self._files.write(NEW_RECORD, records.to_bytes(new))
        self._files.sync(NEW_RECORD)
        self._files.rename(NEW_RECORD, RECORD)
        self._files.sync_directory()
        self.record = new

    def _note(self) -> str:
        return next((each.reason for each in self.record.attempts if each.outcome == "open"), "")

    @staticmethod
    def _noted(step: Record, note: str) -> Record:
        return step.close("open", note) if note else step

    def _prune(self) -> None:
        """Remove packs, learned states and unpacked encoders that nothing names any more."""
        known = [
            each
            for each in (self.record.active, self.record.previous, self.record.candidate)
            if each is not None
        ]
        packs = {f"{pack.id}.pack" for deployment in known for pack in deployment.packs}
        for name in self._files.names():
            if name.endswith(".pack") and name not in packs:
                self._files.remove(name)
        for directory, kept in (
            (self._files.root / LEARNED, {deployment.id for deployment in known}),
            (self._files.root / ENCODERS, {deployment.model.id for deployment in known}),
        ):
            for path in directory.iterdir() if directory.is_dir() else ():
                if path.stem not in kept and path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.stem not in kept:
                    path.unlink(missing_ok=True)


def _installed(pack: ModelPack) -> Installed:
    image = pack.image
    # An unchecked signature must not raise the counter of the key that it names.
    key = counter_key(pack) if image.is_trusted else ""
    name, version = pack.manifest.name, str(image.version)
    return Installed(pack.id, name, version, key, image.security_counter)
