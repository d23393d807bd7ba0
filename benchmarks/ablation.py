"""What each mechanism of the learner is worth: all of them, then one at a time switched off.

Streams come sample by sample, with all labels or with those alone that are requested, ten of each
class and domain at the most. Accuracy is the mean over domains at the end of the stream; a row is
the difference, in points, to the learner with everything on, on the same seed: mean ± standard
deviation over seeds. A mechanism is switched off by a public option or by a constant of its module
that is replaced here; nothing is tuned, and rows of each class and domain are few, so that a run
takes about a minute. Runs are written to `--out` one by one, and not repeated where they are there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.continual import thinned
from benchmarks.features import FeatureSet, pacs_features
from benchmarks.options import Options, from_arguments, parser
from benchmarks.reporting import Report, mean_and_sd
from benchmarks.splits import domain_stream
from benchmarks.streams import pictures, signals, sounds
from benchmarks.streams.domains import run_one_by_one
from benchmarks.streams.tables import seeds
from edge_runtime import Settings
from edge_runtime.errors import BackendError
from edge_runtime.model import fitting, noise, trials
from edge_runtime.model.derived import EXPERTS, DerivedModel
from edge_runtime.model.experts.adaptor import Adaptor
from edge_runtime.model.experts.mixing import fit_weights
from edge_runtime.policy import drift
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError
from hdc.domain import frame

FEW_LABELS = 10
QUICK_ROWS = 12  # of each class and domain
ALL_LABELS, REQUESTED = "all labels", "requested"
EVERYTHING = "everything on"
RUNS = "ablation-runs.jsonl"

Load = Callable[[Path], FeatureSet]
Record = dict[str, Any]
Replaced = tuple[object, str, Any]  # what is replaced, of which name, by what


# -- what is switched off -------------------------------------------------------------------------


@dataclass(frozen=True)
class Mechanism:
    """A part of the learner, and how it is switched off.

    Attributes
    ----------
    options : of `EdgeRuntime`.
    replaced : constants and functions of its modules.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    replaced: Sequence[Replaced] = ()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Switch it off for a while; a name that is no more is an error."""
        with ExitStack() as stack:
            for where, name, value in self.replaced:
                stack.enter_context(mock.patch.object(where, name, value))
            yield


def _without(expert: str) -> Sequence[Replaced]:
    """An expert that counts for nothing, the others weighed without it."""
    at = EXPERTS.index(expert)

    def weights(experts: Sequence[Any], y: Any) -> Any:
        rest = [scores for i, scores in enumerate(experts) if i != at]
        found = fit_weights(rest, y)
        return np.insert(found, at, 0.0) if at < len(experts) else found

    usual = {**fitting.USUAL_WEIGHTS, expert: 0.0}
    return ((fitting, "fit_weights", weights), (fitting, "USUAL_WEIGHTS", usual))


_fit_adaptor = Adaptor.fit


def _fit_classes(
    frame: Any, units_of: Any, rows: Any, cells: Any, classes: Any, n_hidden: int, seed: int
) -> Adaptor:
    """Fit an adaptor on classes, whatever slot they are in."""
    names, which = np.unique(classes, return_inverse=True)
    return _fit_adaptor(frame, units_of, rows, which[cells], names, n_hidden, seed)


def _count(model: DerivedModel, x: Any, k: int, slot: int) -> None:
    """Take a label into account at the next fit alone."""
    model.n_waiting = getattr(model, "n_waiting", 0) + 1  # type: ignore[attr-defined]


def _waiting(model: DerivedModel) -> int:
    return int(getattr(model, "n_waiting", 0))


def _shrunk(shrinkage: float) -> Sequence[Replaced]:
    # Twice nearly the same: what is fallen back on is the second.
    return ((fitting, "SHRINKAGES", (shrinkage * (1 - 1e-9), shrinkage)),)


N_OTHER_BETS = drift.N_BETS - len(drift.TOGETHER_KAPPAS)
MECHANISMS = (
    Mechanism(EVERYTHING),
    Mechanism("no kernel head", replaced=_without("kernel")),
    Mechanism("no adaptor", {"adaptor": None}),
    Mechanism("no prototypes", replaced=_without("prototypes")),
    Mechanism("no Gaussian", replaced=_without("gaussian")),
    Mechanism(
        "no pull between slots",
        replaced=((fitting, "PULLS", (0.0, 1e-9)), (trials, "LEAST_PULL", 0.0)),
    ),
    Mechanism("shrinkage of 0.3 everywhere", replaced=_shrunk(0.3)),
    Mechanism("no whitening (shrinkage of 1)", replaced=_shrunk(1.0)),
    Mechanism("one slot", {"settings": Settings(max_slots=1)}),
    Mechanism(
        "no append between fits",
        replaced=(
            (DerivedModel, "append", _count),
            (DerivedModel, "n_appended", property(_waiting)),
        ),
    ),
    Mechanism("suspects are learned", replaced=((noise, "LEAST_OF_A_SLOT", sys.maxsize),)),
    Mechanism("no floor of taps", replaced=((frame, "TAP_FLOOR", 0.0),)),
    Mechanism("adaptor on classes", replaced=((Adaptor, "fit", staticmethod(_fit_classes)),)),
    Mechanism(
        "no bets on togetherness",
        replaced=((drift, "TOGETHER_KAPPAS", ()), (drift, "N_BETS", N_OTHER_BETS)),
    ),
)


# -- where ----------------------------------------------------------------------------------------


def _split_fashion() -> FeatureSet:
    data = pictures.joined([pictures.clear_fashion()], ("clear",), pictures.CLOTHES)
    return signals.in_steps(data, 5, 150)


STREAMS: Mapping[str, Load] = {
    "letter": lambda _: signals.in_steps(signals.letters(), 5, 60),
    "imu-users": lambda _: thinned(signals.imu_users(), 25),
    "digits": lambda _: thinned(pictures.digit_domains(), 35),
    "split-fashion": lambda _: _split_fashion(),
    "sound-fonts": lambda _: thinned(sounds.sound_fonts(), 30),
    "PACS": lambda data_dir: thinned(pacs_features(data_dir), 50),
}


def measure(
    data: FeatureSet, name: str, mechanism: Mechanism, seed: int, n_labels: int | None
) -> Record:
    """One run with a mechanism off."""
    with mechanism.off():
        stream = domain_stream(data, seed)
        outcome, _ = run_one_by_one(data, stream, seed, n_labels, **mechanism.options)
    return {
        "stream": name,
        "mechanism": mechanism.name,
        "labels": ALL_LABELS if n_labels is None else REQUESTED,
        "seed": seed,
        "accuracy": outcome.average,
        "forgetting": outcome.forgetting,
        "routing": outcome.routing,
        "n_labels": outcome.n_labels,
        "n_bytes": outcome.n_bytes,
        "seconds": outcome.seconds,
        "slots": outcome.detail,
    }


KEY = ("stream", "mechanism", "labels", "seed")


def compare(
    options: Options,
    names: Sequence[str] = (),
    mechanisms: Sequence[Mechanism] = MECHANISMS,
    *,
    requested_only: bool = False,
) -> list[Record]:
    """Every mechanism on every stream; streams whose data are absent are skipped, loudly."""
    modes = ((None, ALL_LABELS), (FEW_LABELS, REQUESTED))[requested_only:]
    path = None if options.out is None else options.out / RUNS
    there = {} if path is None else {tuple(r[k] for k in KEY): r for r in _read(path)}
    found = []
    for name in names or STREAMS:
        try:
            data = STREAMS[name](options.data_dir)
        except (ArchiveUnavailableError, BackendError, DataAbsentError) as error:
            print(f"SKIPPED ablation on {name}: {error}", file=sys.stderr)
            continue
        if options.quick:
            data = thinned(data, QUICK_ROWS)
        for seed in options.seed_range:
            for n_labels, labels in modes:
                for mechanism in mechanisms:
                    record = there.get((name, mechanism.name, labels, seed))
                    if record is None:
                        record = measure(data, name, mechanism, seed, n_labels)
                        _append(path, record)
                    found.append(record)
                    print(
                        f"{name}, {labels}, seed {seed}: {mechanism.name}: "
                        f"{record['accuracy']:.3f}",
                        file=sys.stderr,
                    )
    return found


def _read(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _append(path: Path | None, record: Record) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def report(records: Sequence[Record], options: Options) -> Report:
    """Return the table: accuracy with everything on, then differences to it."""
    places = list(dict.fromkeys((r["stream"], r["labels"]) for r in records))
    reached = {tuple(r[k] for k in KEY): r["accuracy"] for r in records}
    names = list(dict.fromkeys(r["mechanism"] for r in records))
    rows = [[name, *(_cell(reached, name, place) for place in places)] for name in names]
    protocol = (
        f"edge-runtime, sample by sample; accuracy in %, and below it what it gains or loses, in "
        f"points, with one mechanism off, on the same seeds. Requested: at most {FEW_LABELS} "
        f"labels of each class and domain, where they are requested; {seeds(options)}"
    )
    columns = ("learner", *(f"{stream}, {labels}" for stream, labels in places))
    return Report("ablation", "Mechanisms, one at a time off", protocol, columns, rows, records)


def _cell(reached: Mapping[tuple[Any, ...], float], name: str, place: tuple[str, str]) -> str:
    stream, labels = place
    seeds_of = [seed for s, m, of, seed in reached if (s, m, of) == (stream, name, labels)]
    own = [reached[stream, name, labels, seed] for seed in seeds_of]
    if name == EVERYTHING:
        return mean_and_sd(own)
    whole = [reached.get((stream, EVERYTHING, labels, seed), np.nan) for seed in seeds_of]
    found = mean_and_sd(np.subtract(own, whole))
    return found if found.startswith("-") else f"+{found}"


def run(options: Options, names: Sequence[str] = (), only: Sequence[str] = ()) -> Report | None:
    """Return the table of all mechanisms, or of `only` some; None where no stream has its data."""
    chosen = [each for each in MECHANISMS if not only or each.name in (EVERYTHING, *only)]
    records = compare(options, names, chosen)
    return report(records, options) if records else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line names."""
    arguments = parser(__doc__)
    arguments.add_argument("--streams", nargs="*", choices=tuple(STREAMS), default=[])
    others = [each.name for each in MECHANISMS[1:]]
    arguments.add_argument("--only", nargs="*", choices=others, metavar="MECHANISM", default=[])
    parsed = arguments.parse_args(argv)
    options = from_arguments(parsed)
    found = run(options, parsed.streams, parsed.only)
    if found is not None:
        found.publish(options.out, record=options.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
