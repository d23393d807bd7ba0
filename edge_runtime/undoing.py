"""Learning under guard: a label is learned or held back, and what made things worse is undone.

`guard` says what should go back and why; here it is done, and told as events.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.bank import SlotBank
from edge_runtime.guard import Guard
from edge_runtime.pending import PendingSample
from edge_runtime.records import Event
from edge_runtime.slots import Slot
from edge_runtime.watch import Finding

WHY = {
    "labels": "{n} later labels: {before:.0%} would have been right, {after:.0%} were",
    "growth": "{n} later labels: {before:.0%} would have been right without it, {after:.0%} were",
    "contradictions": "labels contradict what is certain; of {n} confirmed samples it answered "
    "{before:.0%} rightly, and {after:.0%} after them",
}


def learn_guarded(
    bank: SlotBank,
    slot: Slot,
    sample: PendingSample,
    k: int,
    sample_id: int,
    *,
    is_moving: bool = False,
) -> list[Event]:
    """Let a slot learn a label unless it is doubtful; return what was held back or undone.

    Where its domain is moving, what it has learned counts for little beside it.
    """
    guard = bank.guard
    judged = guard.judged(bank, sample, slot.number)
    if guard.is_doubtful(judged, k, slot):
        guard.hold(judged, k, slot.number)
        events = [_doubtful_event(judged, slot.number, sample_id)]
    else:
        events = []
        is_first = k >= len(slot.domain.counts) or slot.domain.counts[k] == 0
        guard.before_change(slot, bank.budget_bytes - bank.n_bytes)
        released = guard.watch(slot.number).release(k, judged.predicted)
        if is_moving:
            slot.loosen()
        for x, label in [(sample.features, k), *released]:
            slot.learn(x, label)
        if is_moving:
            slot.settle()
        guard.on_learned(sample, judged, k, is_first, slot.number)
    finding = guard.check(bank, slot.number)
    if finding is not None:
        events.append(undo_change(bank, guard, finding, sample_id))
    return events


def undo_change(bank: SlotBank, guard: Guard, finding: Finding, sample_id: int) -> Event:
    """Put the copy of a slot back, or take a grown slot out; return the event that says why."""
    now = bank.get(finding.slot)
    before = guard.take_copy(finding.slot)
    if before is None:
        bank.remove(now)
    else:
        bank.replace(now, before)
    n_kept = 0
    if before is not None and finding.reason == "contradictions":
        n_kept = _learn_again(guard, before, now)
    evidence = {
        "reason": finding.reason,
        "before": finding.before,
        "after": finding.after,
        "samples": finding.n_samples,
        "evidence": finding.evidence,
        "labels": now.n_labels - (0 if before is None else before.n_labels),
        "kept": n_kept,
    }
    what = f"slot {finding.slot} is " + ("gone" if before is None else "as it was")
    if n_kept:
        what += f", but for {n_kept} labels that nothing contradicts"
    why = WHY[finding.reason].format(
        n=finding.n_samples, before=finding.before, after=finding.after
    )
    return Event("undone", sample_id, f"{what}: {why}", finding.slot, evidence)


def _learn_again(guard: Guard, before: Slot, now: Slot) -> int:
    """Have a slot that was put back learn the labels since that it does not contradict.

    Most of them are right; they are there while the slot is young. Returns how many they were.
    """
    if now.young is None or before.young is None or before.follower.has_moved:
        return 0
    n_before = len(before.young)
    X, y = now.young.X[n_before:], now.young.y[n_before:]
    if len(y) == 0:
        return 0
    scores = before.score(X, max(int(y.max()) + 1, len(before.domain.counts)))
    best = scores.told.argmax(axis=1)
    certainty = np.exp(scores.told.max(axis=1))
    # Of classes that the copy hardly knows, it contradicts nothing: as for labels that come singly.
    known = np.flatnonzero(before.domain.counts >= guard.settings.confirmed_labels)
    kept = (best == y) | ~np.isin(y, known) | ~guard.is_surer(certainty, before.number)
    if kept.any():
        before.learn_batch(X[kept], y[kept])
    return int(kept.sum())


def _doubtful_event(sample: PendingSample, slot: int, sample_id: int) -> Event:
    evidence = {"certainty": sample.certainty}
    message = f"the label contradicts an answer that is {sample.certainty:.1%} certain: held back"
    return Event("doubtful", sample_id, message, slot, evidence)
