"""An update from the first request to its end: tested beside what runs, run, kept or undone.

    mark     -> what runs saves what it has learned; a child tries the candidate: ready, or undone
    reset    -> the candidate runs, unconfirmed, in a worker of its own
    confirm  -> it stays; else, by itself: crash, hang, time is up -> what ran before runs again

The record (`images`) says where an update is; this file does what follows from it, and keeps the
worker alive. Time is an argument. Not here: the wire, and who may ask (`agent`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from edge_runtime.board.images import TRIAL_S, ImageStore
from edge_runtime.board.journal import Journal
from edge_runtime.board.record import Deployment, Now, Phase, StoreError
from edge_runtime.board.runner import Runner
from edge_runtime.board.selftest import Job, Places, TestRequest, begin_self_test
from edge_runtime.board.worker import Order

TEST_S: Final = 25.0
SAVE_WAIT_S: Final = 5.0
MIN_JUDGED: Final = 20  # samples, before a pack on trial is judged by those that it rejects
HEALTHY_S: Final = 5.0  # a permanent candidate that has run so long is confirmed
RETRY_S: Final = 5.0
BACKOFF_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


class Launch(Protocol):
    """Starts a worker."""

    def __call__(self, order: Order, now_s: float, /) -> Runner:
        """The worker, started."""


@dataclass(frozen=True)
class DeployerSettings:
    """How long an update may take, and what every worker is ordered.

    ``order`` has no places: they are filled in.
    """

    order: Order
    trial_s: float = TRIAL_S
    test_s: float = TEST_S


class Deployer:
    """Keeps the worker of the right deployment running, and takes updates through their steps."""

    def __init__(
        self,
        store: ImageStore,
        journal: Journal,
        settings: DeployerSettings,
        *,
        launch: Launch = Runner,
        begin_test: Callable[[TestRequest, float], Job] = begin_self_test,
    ) -> None:
        self.store, self._journal, self._settings = store, journal, settings
        self._launch, self._begin_test = launch, begin_test
        self.runner: Runner | None = None
        self.is_permanent = False
        self.trouble = ""
        self._test: TestRequest | None = None
        self._job: Job | None = None
        self._saving: int | None = None
        self._test_at_s = 0.0
        self._wants_reset = False
        self._n_faults = 0
        self._rejected_before = 0.0
        self._restart_at_s: float | None = None
        self._revert_at_s: float | None = None
        self._revert_reason = "the board went down during the update"
        self._ready_s: float | None = None

    # -- what hosts ask ---------------------------------------------------------------------

    @property
    def is_testing(self) -> bool:
        """Whether a self-test is going on, or about to."""
        return self._test is not None

    @property
    def is_up(self) -> bool:
        """Whether the worker has opened what is to run."""
        return self.runner is not None and self.runner.is_ready

    def start(self, now: Now) -> None:
        """Call once: undo what was cut off, run what is to run."""
        before = self.store.record.phase
        is_written = self._step(lambda: self.store.start(now, trial_s=self._settings.trial_s))
        if not is_written and before in (Phase.TESTING, Phase.TRIAL):
            self._revert_at_s = now.monotonic_s + RETRY_S  # what ran before runs all the same
        after = self.store.record.phase
        if before is not after:
            self._say(f"started: the update was {before.value} and is {after.value}")
        self._run(now, first=after is Phase.TRIAL and is_written)

    def mark(self, now: Now, *, permanent: bool) -> None:
        """Let the staged candidate show that it runs; a reset then puts it on trial.

        Raises
        ------
        StoreError, OSError
            Nothing is staged; the step cannot be written.
        """
        if self.store.record.phase is Phase.READY or self.is_testing:
            self.is_permanent |= permanent
            return
        self._test = self.store.begin_test()
        self.is_permanent = permanent
        self._saving = self.runner.ask({"do": "save"}) if self.runner else None
        self._test_at_s = now.monotonic_s + (SAVE_WAIT_S if self._saving else 0.0)
        self._say("self-test begins")

    def confirm(self, now: Now) -> None:
        """Keep what runs unconfirmed; nothing to do if it is confirmed already.

        Raises
        ------
        StoreError
            It has not come up yet: what never ran cannot be kept.
        """
        if self.store.record.phase is Phase.TRIAL and self._revert_at_s is None:
            if not self.is_up:
                raise StoreError("the new pack is still starting: confirm it once it is active")
            self.store.confirm(now)
            self.is_permanent = False
            self._say(f"confirmed {_name(self.store.record.active)}")

    def reset(self) -> None:
        """Start again, after the self-test if one is going on: a tested candidate runs then."""
        self._wants_reset = True

    def answered(self, ticket: int) -> None:
        """The worker has carried out a command; perhaps the one before a self-test."""
        if ticket == self._saving:
            self._test_at_s, self._saving = 0.0, None

    # -- what happens -----------------------------------------------------------------------

    def tick(self, now: Now) -> None:
        """Do whatever is due; call often."""
        self._tick_test(now)
        if self._wants_reset and not self.is_testing:
            self._wants_reset = False
            self._reset(now)
        self._tick_trial(now)
        self._tick_runner(now)

    def _tick_test(self, now: Now) -> None:
        if self._test is None or now.monotonic_s < self._test_at_s:
            return
        if self._job is None:
            self._job = self._begin_test(self._test, self._settings.test_s)
        verdict = self._job()
        if verdict is None:
            return
        if not self._step(lambda: self.store.end_test(verdict, now)):
            self._test_at_s = now.monotonic_s + RETRY_S
            return
        self._test = self._job = self._saving = None
        what = "passed" if verdict.passed else f"failed: {verdict.reason}"
        self._say(f"self-test {what}", accuracy=verdict.accuracy, before=verdict.active_accuracy)

    def _reset(self, now: Now) -> None:
        phase = self.store.record.phase
        self._rejected_before = self._share_rejected() if phase is Phase.READY else 0.0
        self._end_runner()
        if phase is Phase.TRIAL:
            self._revert("reset before it was confirmed", now)
        elif phase is Phase.READY:
            self._step(lambda: self.store.begin_trial(now, trial_s=self._settings.trial_s))
        self._run(now, first=self.store.record.phase is Phase.TRIAL)

    def _tick_trial(self, now: Now) -> None:
        record = self.store.record
        if self._revert_at_s is not None:
            if now.monotonic_s >= self._revert_at_s:
                self._revert(self._revert_reason, now)
            return
        if record.phase is not Phase.TRIAL:
            return
        deadline = record.deadline_s
        if deadline is not None and now.monotonic_s >= deadline:
            self._end_runner()
            self._revert("not confirmed in time", now)
            self._run(now)
        elif (
            self.is_permanent
            and self._ready_s is not None
            and now.monotonic_s - self._ready_s >= HEALTHY_S
        ):
            self._step(lambda: self.confirm(now))

    def _revert(self, reason: str, now: Now) -> None:
        """Give the candidate up; where that cannot be written, what ran before runs all the same.

        The record then still says *trial*, which the next start undoes.
        """
        self.is_permanent = False
        name = _name(self.store.record.candidate)
        if self._step(lambda: self.store.revert(reason, now)):
            self._revert_at_s = None
            self._say(f"reverted {name}: {reason}")
        else:
            self._revert_at_s, self._revert_reason = now.monotonic_s + RETRY_S, reason

    def _tick_runner(self, now: Now) -> None:
        if self.runner is None:
            if self._restart_at_s is not None and now.monotonic_s >= self._restart_at_s:
                self._run(now)
            return
        if self.runner.is_ready and self._ready_s is None:
            self._ready_s = now.monotonic_s
        fault = self.runner.fault(now.monotonic_s) or self._rejects()
        if not fault:
            if self._ready_s is not None and now.monotonic_s - self._ready_s > BACKOFF_S[-1]:
                self._n_faults = 0
            return
        self.trouble = fault
        self._journal.note("fault", fault)
        self.runner.kill()
        self.runner = None
        if self.store.record.phase is Phase.TRIAL and self._revert_at_s is None:
            self._revert(fault, now)
            self._run(now)
            return
        wait_s = BACKOFF_S[min(self._n_faults, len(BACKOFF_S) - 1)]
        self._n_faults += 1
        self._restart_at_s = now.monotonic_s + wait_s

    def _rejects(self) -> str:
        """Why a pack on trial is no good: it rejects most samples, and the one before did not."""
        share = self._share_rejected()
        if self.store.record.phase is not Phase.TRIAL or share <= max(0.5, self._rejected_before):
            return ""
        return f"the runtime rejects {share:.0%} of the samples, {self._rejected_before:.0%} before"

    def _share_rejected(self) -> float:
        """Of the samples that the worker has seen; 0 while they are too few."""
        answered, rejected = self.runner.samples if self.runner is not None else (0, 0)
        n_seen = answered + rejected
        return rejected / n_seen if n_seen >= MIN_JUDGED else 0.0

    # -- the worker -------------------------------------------------------------------------

    @property
    def running(self) -> Deployment | None:
        """What is to run now."""
        record = self.store.record
        return record.active if self._revert_at_s is not None else record.running

    def _run(self, now: Now, *, first: bool = False) -> None:
        """Start the worker of what is to run; on its first start it takes over what was learned."""
        self._restart_at_s = self._ready_s = None
        deployment, active = self.running, self.store.record.active
        if deployment is None:
            return
        carry = self._places(active).learned if first and active is not None else None
        order = replace(
            self._settings.order,
            places=self._places(deployment),
            carry_from=carry,
            # What runs must go on running; what is on trial must show that it fits.
            set_aside=deployment == active,
        )
        try:
            self.runner = self._launch(order, now.monotonic_s)
        except OSError as error:
            self.trouble = f"the runtime cannot be started: {error}"
            self._restart_at_s = now.monotonic_s + RETRY_S

    def _places(self, deployment: Deployment) -> Places:
        return self.store.places(deployment)

    def _end_runner(self) -> None:
        if self.runner is not None:
            self.runner.stop()
            self.runner = None

    def close(self) -> None:
        """Let the worker save, and end it."""
        self._end_runner()

    def _step(self, step: Callable[[], Any]) -> bool:
        """Take one step of the record; a disk that refuses it is reported."""
        try:
            step()
        except (OSError, StoreError) as error:
            self.trouble = f"an update's step cannot be written: {error}"
            self._journal.note("fault", self.trouble)
            return False
        return True

    def _say(self, message: str, **evidence: Any) -> None:
        known = {name: value for name, value in evidence.items() if value is not None}
        self._journal.note("deployment", message, evidence=known)


def _name(deployment: Deployment | None) -> str:
    return (
        "nothing"
        if deployment is None
        else " + ".join(f"{pack.name} {pack.version}" for pack in deployment.packs)
    )
