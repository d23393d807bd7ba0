"""Test-then-train: every sample is first answered, then its label may be learned.

That is how a board meets the world, so it is the honest accuracy of a learner that never stops.
Labels can come late, and only where the runtime requested them. Pure: no file, and no clock but the
one that is passed in. Not here: the record itself (`recording`), its numbers
(`figures`), pictures of a run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np

from edge_runtime.errors import LabelError, StreamError
from edge_runtime.evaluation import checkpoints
from edge_runtime.evaluation.checkpoints import MAX_CHECKPOINTS, Checkpoint, Peeked, Probe
from edge_runtime.evaluation.recording import COLUMNS, Change, LabelUse, LoggedEvent, Run
from edge_runtime.records import Event, Label, Prediction

__all__ = ["Change", "LabelUse", "Learner", "LoggedEvent", "Probe", "Run", "evaluate"]

T = TypeVar("T")
Clock = Callable[[], float]
OnStep = Callable[[int, Prediction | None, Sequence[LoggedEvent], float | None], None]
Answer = Literal["requested", "all"] | float | Callable[[int, Prediction], bool]


class Learner(Peeked, Protocol):
    """What can be evaluated: `EdgeRuntime`, and whatever is compared with it.

    `peek_many` and `n_bytes` are needed for probes alone.
    """

    def run(self, stream: Iterable[Any], /) -> Iterator[Prediction | Event]:
        """One `Prediction` for each sample, or one `sample_rejected` event for a bad one."""

    def learn(self, sample_id: int, label: Label, /) -> list[Event]:
        """Learn one label; a `LabelError` says that the sample is forgotten."""


def evaluate(
    runtime: Learner,
    samples: Iterable[Any],
    labels: Sequence[Label],
    *,
    domains: Sequence[str] | None = None,
    label_delay: int = 0,
    answer: Answer = "requested",
    probes: Mapping[str, Probe] | None = None,
    on_step: OnStep | None = None,
    clock: Clock | None = None,
) -> Run:
    """Run over a stream, answering each sample before its label is learned.

    With no delay and every label this is the loop ``prediction = runtime.step(x); score it;
    runtime.learn(prediction.sample_id, label)``. A bad sample is counted and skipped, a label that
    comes too late is counted and logged; neither ends the run.

    Parameters
    ----------
    samples, labels, domains : as many of each; labels are the truth, used to score and to answer.
    label_delay : samples between a sample and its label; a label that is still on its way when the
        stream ends never comes.
    answer : which labels are given: those that the runtime "requested", "all", a share of them
        evenly spread (0.1 is every tenth), or where ``answer(index, prediction)`` is true.
    probes : domain -> samples that are not in the stream. Wherever a domain ends, and at the very
        end, all of them are answered without notice: `Run.checkpoints`. Clocks do not count it.
    on_step : called after each sample with its index, its prediction (None for a bad sample), the
        events since the sample before, and the seconds that the step took.
    clock : such as `time.perf_counter`; without it no times are recorded.

    Raises
    ------
    StreamError
        The stream is empty, or there are more or fewer samples than labels.

    Examples
    --------
    >>> from edge_runtime import EdgeRuntime
    >>> X = np.random.default_rng(0).normal(size=(60, 16)) + 3 * np.eye(16)[np.arange(60) % 2]
    >>> run = evaluate(EdgeRuntime(n_dims=1024), X, np.arange(60) % 2, answer="all")
    >>> run.accuracy() > 0.8, run.labels_used()
    (True, LabelUse(total=60, most_per_class=30))
    """
    if label_delay < 0:
        raise ValueError(f"label_delay is {label_delay}, expected 0 or more samples")
    session = _Session(runtime, label_delay, _answering(answer), clock, probes)
    for index, (x, label, domain) in enumerate(_aligned(samples, labels, domains)):
        session.enter(index, domain)
        prediction, events, seconds = session.take(index, x, _plain_label(label), domain)
        if on_step is not None:
            on_step(index, prediction, events, seconds)
    return session.finish()


def _answering(answer: Answer) -> Callable[[int, Prediction], bool]:
    if callable(answer):
        return answer
    if isinstance(answer, float):
        share = answer
        if not 0 < share <= 1:
            raise ValueError(f"answer is {answer!r}, expected a share above 0, at most 1")
        return lambda index, _: int((index + 1) * share) > int(index * share)
    if answer not in ("requested", "all"):
        raise ValueError(
            f"answer is {answer!r}, expected 'requested', 'all', a share or a function"
        )
    return lambda _, prediction: answer == "all" or prediction.wants_label


def _aligned(
    samples: Iterable[Any], labels: Sequence[Label], domains: Sequence[str] | None
) -> Iterator[tuple[Any, Label, str]]:
    """Pair samples with labels and domains; a mismatch is an error as soon as it is seen."""
    n = len(labels)
    domains = ["stream"] * n if domains is None else domains
    n_samples = len(samples) if isinstance(samples, Sized) else n
    if not n_samples == n == len(domains):
        raise StreamError(
            f"{n_samples} samples, {n} labels and {len(domains)} domains: expected as many of each"
        )
    count = 0
    for count, x in enumerate(samples, start=1):
        if count > n:
            raise StreamError(f"more than {n} samples, but {n} labels: do they belong together?")
        yield x, labels[count - 1], str(domains[count - 1])
    if count != n or n == 0:
        raise StreamError(f"the stream ended after {count} samples, but there are {n} labels")


def _plain_label(label: Any) -> Label:
    plain: Label = label.item() if isinstance(label, np.generic) else label
    return plain


class _Due(NamedTuple):
    """A label on its way: it comes with the sample at stream index `when`."""

    when: int
    row: int
    sample_id: int
    label: Label


class _Session:
    """A run in the making."""

    def __init__(
        self,
        runtime: Learner,
        label_delay: int,
        answers: Callable[[int, Prediction], bool],
        clock: Clock | None,
        probes: Mapping[str, Probe] | None,
    ) -> None:
        self._runtime = runtime
        self._probes = probes
        self._checkpoints: list[Checkpoint] = []
        self._domain: str | None = None
        self._last_index = -1
        self._label_delay = label_delay
        self._answers = answers
        self._clock = clock
        self._due: deque[_Due] = deque()
        self._columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._seconds: list[float | None] = []
        self._events: list[LoggedEvent] = []
        self._domains: dict[str, int] = {}
        self._classes: dict[Label, int] = {}
        self._n_rejected = self._n_refused_labels = 0
        self._threshold = 0.0

    def enter(self, index: int, domain: str | None) -> None:
        """Look back on the domain that has ended, if one has; None ends the stream."""
        if self._domain is not None and domain != self._domain and self._probes:
            if len(self._checkpoints) >= MAX_CHECKPOINTS:
                raise StreamError(
                    f"more than {MAX_CHECKPOINTS} changes of domain: too many to probe each time"
                )
            taken = checkpoints.take(self._runtime, self._probes, index - 1, self._domain)
            self._checkpoints.append(taken)
        self._domain, self._last_index = domain, index

    def take(
        self, index: int, x: Any, label: Label, domain: str
    ) -> tuple[Prediction | None, list[LoggedEvent], float | None]:
        """Answer one sample, then learn every label that is due."""
        outcome, seconds = self._timed(lambda: next(iter(self._runtime.run([x]))))
        n_before = len(self._events)
        if isinstance(outcome, Event):
            self._n_rejected += 1
            self._log(index, [outcome], seconds)
            prediction = None
        else:
            prediction = outcome
            self._log(index, outcome.events, seconds)
            if self._answers(index, outcome):
                row = len(self._seconds)
                self._due.append(_Due(index + self._label_delay, row, outcome.sample_id, label))
            self._add_row(index, outcome, label, domain)
            self._seconds.append(seconds)
        while self._due and self._due[0].when <= index:
            self._learn(index, self._due.popleft())
        return prediction, self._events[n_before:], seconds

    def _timed(self, call: Callable[[], T]) -> tuple[T, float | None]:
        if self._clock is None:
            return call(), None
        start = self._clock()
        result = call()
        return result, self._clock() - start

    def _log(self, index: int, events: Iterable[Event], seconds: float | None) -> None:
        self._events += [LoggedEvent(index, event, seconds) for event in events]

    def _add_row(self, index: int, answer: Prediction, label: Label, domain: str) -> None:
        row = {
            "index": index,
            "domain": self._domains.setdefault(domain, len(self._domains)),
            "true_class": self._classes.setdefault(label, len(self._classes)),
            "is_correct": answer.label == label,
            "is_ood": answer.is_ood,
            "p_value": answer.p_value,
            "slot": -1 if answer.slot is None else answer.slot,
            "is_requested": answer.wants_label,
            "is_learned": False,
        }
        for name, value in row.items():
            self._columns[name].append(value)
        self._threshold = answer.threshold

    def _learn(self, index: int, due: _Due) -> None:
        try:
            events, seconds = self._timed(lambda: self._runtime.learn(due.sample_id, due.label))
        except LabelError as error:
            self._n_refused_labels += 1
            self._log(
                index, [Event("sample_rejected", due.sample_id, f"Label refused: {error}")], None
            )
            return
        self._columns["is_learned"][due.row] = True
        self._log(index, events, seconds)

    def finish(self) -> Run:
        """Everything taken so far."""
        self.enter(self._last_index + 1, None)
        return Run(
            **{name: np.array(self._columns[name], dtype=dtype) for name, dtype in COLUMNS.items()},
            seconds=None if self._clock is None else np.array(self._seconds, dtype=np.float64),
            domain_names=tuple(self._domains),
            class_names=tuple(self._classes),
            events=tuple(self._events),
            n_rejected=self._n_rejected,
            n_refused_labels=self._n_refused_labels,
            threshold=self._threshold,
            checkpoints=tuple(self._checkpoints),
        )
