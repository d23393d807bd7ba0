"""A runtime on disk: save, load, undo. The files are `state`'s, what is in them `snapshot`'s."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime import snapshot, state
from edge_runtime.errors import StateError
from edge_runtime.features import FeatureReader
from edge_runtime.parts import RuntimeParts

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge_runtime.encoders.base import Encoder


class Persistence(RuntimeParts):
    """What a runtime does with a directory of generations."""

    def save(self, directory: str | Path) -> int:
        """Write everything learned as the next generation in `directory`; return its number.

        After a power cut there is either this generation or the one before, never half of one.
        """
        self._directory = Path(directory)
        header, arrays = snapshot.take(self)
        self.generation = state.save(self._directory, header, arrays)
        self._has_unsaved = False
        return self.generation

    @classmethod
    def load(cls, directory: str | Path, encoder: Encoder | None = None) -> Self:
        """The newest whole generation in `directory`, ready to go on learning.

        Damaged generations are named in `damaged` and in a warning.

        Raises
        ------
        StateError
            There is no generation that can be read.
        EncoderMismatchError
            It was learned on another encoder, or on other taps.
        """
        return cls._from_generation(state.load(Path(directory)), Path(directory), encoder)

    @classmethod
    def _from_generation(
        cls, saved: state.Generation, directory: Path, encoder: Encoder | None
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
            runtime.progress = saved.header["progress"]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"generation {saved.number} does not fit together: {error}") from error
        runtime.generation, runtime._directory = saved.number, directory
        runtime.damaged = saved.damaged
        for damage in saved.damaged:
            warnings.warn(f"damaged state skipped: {damage}", stacklevel=3)
        return runtime

    def undo(self, n_generations: int = 1) -> int:
        """Go back to how things were `n_generations` saves ago; return the new generation.

        What was learned since the last save counts as one. The state gone back to is saved as a
        new generation, so that a restart finds it, and the undone ones stay until they age out.

        Raises
        ------
        StateError
            Nothing was saved so long ago; nothing has changed.
        """
        steps = n_generations - self._has_unsaved
        if self._directory is None or n_generations < 1 or self.generation - steps < 1:
            raise StateError(
                f"cannot undo {n_generations}: {self.generation} generations were saved"
                + ("" if self._directory else "; call save(directory) first")
            )
        saved_directory = self._directory
        saved = state.load(saved_directory, at_most=self.generation - steps)
        restored = self._from_generation(saved, saved_directory, self.encoder)
        next_id = self._pending.next_id
        self.__dict__.update(restored.__dict__)
        self._pending.skip_to(next_id)
        return self.save(saved_directory)
