"""Removal of a class: out of every slot, buffer and adaptor, and said in an event."""

from __future__ import annotations

from edge_runtime.errors import LabelError
from edge_runtime.persistence import Persistence
from edge_runtime.records import Event, Label
from edge_runtime.state import generations


class Forgetting(Persistence):
    """What a runtime does when it is told to forget."""

    def forget_class(self, label: Label, *, purge: bool = False) -> list[Event]:
        """Remove a class, and return what came of it; the others answer as before.

        Means, prototypes, labels, canaries, copies and adaptors that knew it are gone. What is
        left of it in a slot that no longer keeps its labels: the scatter that all classes share,
        and scores without a class. Its samples will be strange again, and its label, should it
        come once more, is a new class.

        Parameters
        ----------
        purge : delete all generations that know the class, the state as delivered among them.
            Without it they stay, so that the removal, which is saved at once, can be undone.

        Raises
        ------
        LabelError
            There is no such class, or it is the last one; nothing has changed.
        """
        if label not in self.classes or type(label) not in (int, str):
            raise LabelError(f"there is no class {label!r} to forget: known are {self.classes}")
        if len(self.classes) == 1:
            raise LabelError(f"{label!r} is the last class: undo(to='factory') forgets everything")
        k = self.classes.index(label)
        self.classes = [each for each in self.classes if each != label]
        n_labels = sum(
            int(slot.domain.counts[k]) for slot in self.slots if k < len(slot.domain.counts)
        )
        for part in (self._pending, self._growth, self._policy.requests):
            part.remove_class(k)
        gone = self._remove_from_slots(k)
        evidence = {"label": label, "labels": n_labels, "slots_gone": len(gone), "purged": purge}
        self._has_unsaved = True
        if self._directory is not None:
            self._before_growth = None if purge else self._before_growth
            newest = self.save(self._directory)
            if purge:
                generations.remove_before(self._directory, newest)
        where = f", and with it slots {gone} that knew nothing else" if gone else ""
        message = f"class {label!r} of {n_labels} labels is forgotten{where}"
        return [Event("forgotten", self._pending.next_id, message, None, evidence)]

    def _remove_from_slots(self, k: int) -> list[int]:
        """Numbers of slots that knew no other class, and are gone."""
        if not self.slots:
            return []
        bank, gone = self.bank, []
        bank.guard.remove_class(k)
        canaries = bank.guard.canaries
        for slot in self.slots:
            rows = canaries.slots == slot.number
            slot.remove_class(k, canaries.X[rows], canaries.y[rows])
        for slot in self.slots:
            if not slot.domain.counts.any():
                bank.remove(slot)
                gone.append(slot.number)
        if not bank.slots:
            self._pending.forget_slots()
        return gone
