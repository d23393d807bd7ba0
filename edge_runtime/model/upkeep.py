"""When a model is made anew, and where: at once, or in a thread beside the answers.

A model is due when labels have grown by a quarter since the last fit, or by a quarter of the
kernel's landmarks, or when rows were edited. Between two fits labels are appended, of new classes
too. A fit that rows were edited under is thrown away and made again; rows that were only added
meanwhile are appended to it.
"""

from __future__ import annotations

import threading
from typing import Any

from edge_runtime.memory.memory import Memory
from edge_runtime.model.derived import DerivedModel
from edge_runtime.model.fitting import FitOptions, FittedModel, fit, recall


class Upkeep:
    """The model of a memory, kept up to date.

    Parameters
    ----------
    is_background : fit in a thread, and answer by the model of before meanwhile.
    """

    def __init__(self, options: FitOptions, is_background: bool = False) -> None:
        self.options, self.is_background = options, is_background
        self.model: DerivedModel | None = None
        self.fitted_version = -1  # of the memory that the model was fitted to
        self._thread: threading.Thread | None = None
        self._result: tuple[int, int, FittedModel] | Exception | None = None

    def append(self, memory: Memory) -> None:
        """Take the newest row of the memory."""
        store, i = memory.exemplars, len(memory.exemplars) - 1
        k, slot = int(store.labels[i]), int(store.slots[i])
        if self.model is None:
            return
        if not self.model.kernel.can_append:
            recall(self.model, memory.exemplars, i)
        self.model.append(store.raw([i])[0], k, slot)

    def expire(self) -> None:
        """Have a model made anew: labels have come that say something else than those before."""
        self.fitted_version = -1

    def is_due(self, memory: Memory) -> bool:
        """Whether a model has to be made anew."""
        if self.model is None or memory.version != self.fitted_version:
            return len(memory.exemplars) > 0
        return self.model.n_appended > self.model.kernel.most_recent

    def tend(self, memory: Memory, n_classes: int, *, is_now: bool = False) -> FittedModel | None:
        """Fit if it is due; returns a fit that has come to its end, already swapped in.

        With `is_now` it is waited for, whatever thread it is done in.
        """
        if len(memory.exemplars) == 0:
            self.forget()
            self.model = None
            return None
        if self.is_background and not is_now and self.model is not None:
            done = self._collect(memory)
            if self._thread is None and self.is_due(memory):
                self._start(memory, n_classes)
            return done
        self.wait()
        done = self._collect(memory)
        if not self.is_due(memory):
            return done
        return self._take(
            memory, memory.version, len(memory.exemplars), self._fit(memory, n_classes)
        )

    def _fit(self, memory: Memory, n_classes: int) -> FittedModel:
        return fit(memory.exemplars, memory.gone, n_classes, self.options)

    def _start(self, memory: Memory, n_classes: int) -> None:
        copied, version, n = memory.copy(), memory.version, len(memory.exemplars)

        def work() -> None:
            try:
                self._result = version, n, self._fit(copied, n_classes)
            except Exception as error:  # said where it is collected: a thread has nobody to tell
                self._result = error

        self._thread = threading.Thread(target=work, name="edge-runtime fit", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the thread, if one is at work."""
        if self._thread is not None:
            self._thread.join()

    def _collect(self, memory: Memory) -> FittedModel | None:
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread, result, self._result = None, self._result, None
        if isinstance(result, Exception):
            raise result
        if result is None or result[0] != memory.version:
            return None  # rows were edited meanwhile
        version, n, fitted = result
        return self._take(memory, version, n, fitted)

    def _take(self, memory: Memory, version: int, n: int, fitted: FittedModel) -> FittedModel:
        """Swap a fit in, and append what came since."""
        self.model, self.fitted_version = fitted.model, version
        store = memory.exemplars
        for i in range(n, len(store)):
            k, slot = int(store.labels[i]), int(store.slots[i])
            self.model.append(store.raw([i])[0], k, slot)
        return fitted

    def restore(self, model: DerivedModel | None, fitted_version: int) -> None:
        """Go on with a model that was saved, of this version of the memory."""
        self.model, self.fitted_version = model, fitted_version

    def forget(self) -> None:
        """Throw away what a thread is making: the memory has become another one."""
        self.wait()
        self._thread = self._result = None

    def __getstate__(self) -> dict[str, Any]:
        """All but the thread: what it is making will be made again."""
        self.wait()
        version = self.fitted_version if self._thread is None else -1
        return {**self.__dict__, "_thread": None, "_result": None, "fitted_version": version}
