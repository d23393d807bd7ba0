"""A runtime on disk: save, load, undo. Files: `state.generations`; what is in them: `snapshot`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from edge_runtime import snapshot
from edge_runtime.errors import StateError
from edge_runtime.inputs.features import FeatureReader
from edge_runtime.parts import RuntimeParts
from edge_runtime.records import Event
from edge_runtime.state import generations, journal
from edge_runtime.state.journal import Journal

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge_runtime.inputs.encoders.base import Encoder


# No sample has an id above this: ids in a damaged journal are not believed.
MAX_ID = 2**62

UndoTo = Literal["growth", "factory"]


class Persistence(RuntimeParts):
    """What a runtime does with a directory of generations."""

    def save(self, directory: str | Path) -> int:
        """Write everything learned as the next generation in `directory`; return its number.

        After a power cut there is either this generation or the one before, never half of one.
        """
        self._directory = Path(directory)
        header, arrays = snapshot.take(self)
        kept_for = () if self._before_growth is None else (self._before_growth,)
        self.generation = generations.save(self._directory, header, arrays, kept_for=kept_for)
        self._has_unsaved = False
        self._journal = Journal(self._directory, self.generation)
        return self.generation

    @classmethod
    def load(cls, directory: str | Path, encoder: Encoder | None = None) -> Self:
        """The newest whole generation in `directory`, ready to go on learning.

        Damaged generations are named in `damaged` and in a warning, and so are labels that came
        after it was saved: in `lost_labels`, in a warning, and in a `lost` event of the next step.

        Raises
        ------
        StateError
            There is no generation that can be read.
        EncoderMismatchError
            It was learned on another encoder, or on other taps.
        """
        saved = generations.load(Path(directory))
        runtime = cls._from_generation(saved, Path(directory), encoder)
        runtime._tell_lost(journal.read(Path(directory), saved.number))
        return runtime

    def _tell_lost(self, lost: journal.LostLabels | None) -> None:
        self.lost_labels = lost
        if lost is None:
            return
        newest = max(lost.sample_ids, default=-1)
        self._pending.skip_to(max(self._pending.next_id, min(newest, MAX_ID) + 1))
        evidence = {"labels": lost.count, "generation": lost.generation}
        named = ", ".join(str(each) for each in lost.sample_ids[-journal.NAMED :])
        event = Event("lost", self._pending.next_id, lost.message, None, {**evidence, "ids": named})
        self._news.append(event)
        warnings.warn(lost.message, stacklevel=3)

    def _note_label(self, sample_id: int | None, n_labels: int = 1) -> None:
        """Write down a label before it is learned; a full disk does not keep it from that."""
        self._noted = sample_id, n_labels
        if self._journal is None:
            return
        try:
            self._journal.note(sample_id, n_labels)
        except OSError as error:
            self._journal = None  # until something can be saved again
            warnings.warn(f"labels are no longer noted: {error}", stacklevel=3)

    @classmethod
    def _from_generation(
        cls, saved: generations.Generation, directory: Path, encoder: Encoder | None
    ) -> Self:
        snapshot.check(saved.header, encoder)
        try:
            policy = snapshot.settings_of(saved.header)
            options = {
                **saved.header["options"],
                "hidden": tuple(saved.header["options"]["hidden"]),
            }
            runtime = cls(encoder, saved.header["classes"], policy=policy, **options)
            if encoder is None and saved.header["taps"]:
                runtime._reader = FeatureReader(None, dict(saved.header["taps"]))
            for slot in snapshot.restore_slots(runtime, saved.header, saved.arrays):
                runtime.bank.add(slot)
            if runtime.slots:
                snapshot.restore_router(runtime, saved.arrays)
            snapshot.restore_guard(runtime, saved.header, saved.arrays)
            runtime.restore_loop(saved.arrays)
            runtime.progress = saved.header["progress"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StateError(f"generation {saved.number} does not fit together: {error}") from error
        runtime.generation, runtime._directory = saved.number, directory
        runtime._journal = Journal(directory, saved.number)
        runtime.damaged = saved.damaged
        for damage in saved.damaged:
            warnings.warn(f"damaged state skipped: {damage}", stacklevel=3)
        return runtime

    def undo(self, n_generations: int = 1, *, to: UndoTo | None = None) -> int:
        """Go back to how things were `n_generations` saves ago; return the new generation.

        What was learned since the last save counts as one. The state gone back to is saved as a
        new generation, so that a restart finds it, and the undone ones stay until they age out.

        Parameters
        ----------
        to : "growth" for how things were before the last slot was grown, a generation that is
            saved by itself, without the labels that it was grown from: they would grow it again;
            "factory" for the first generation, the state as delivered. Both are kept however old
            they are.

        Raises
        ------
        StateError
            Nothing was saved so long ago; nothing has changed.
        """
        if to is None:
            target: int | None = self.generation - (n_generations - self._has_unsaved)
        elif to in get_args(UndoTo):
            target = generations.FACTORY if to == "factory" else self._before_growth
        else:
            raise ValueError(f"undo to {to!r}, expected one of {', '.join(get_args(UndoTo))}")
        what = n_generations if to is None else f"to {to}"
        if self._directory is None or n_generations < 1 or target is None or target < 1:
            raise StateError(
                f"cannot undo {what}: {self.generation} generations were saved"
                + ("" if self._directory else "; call save(directory) first")
            )
        return self._go_back(self._directory, target, to)

    def _go_back(self, directory: Path, number: int, to: UndoTo | None) -> int:
        saved = generations.load(directory, at_most=number)
        if to is not None and saved.number != number:
            raise StateError(f"generation {number} is gone or damaged: {'; '.join(saved.damaged)}")
        restored = self._from_generation(saved, directory, self.encoder)
        next_id = self._pending.next_id
        self.__dict__.update(restored.__dict__)
        self._pending.skip_to(next_id)
        self._growth.before_growing = self._before_growing
        if to == "growth":
            self._growth.give_up()
        return self.save(directory)

    def _before_growing(self) -> None:
        """Save what can be gone back to; a disk that is full does not keep a slot from growing."""
        if self._directory is None:
            return
        try:
            self._before_growth = self.save(self._directory)
            self._has_unsaved = True
            self._note_label(*self._noted)  # it is not in there yet
        except OSError as error:
            warnings.warn(f"the state before growing could not be saved: {error}", stacklevel=2)
