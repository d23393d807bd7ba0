"""Tables of the continual benchmark: mean ± standard deviation over seeds, one row for a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.continual_peers import Outcome
from benchmarks.features import FeatureSet
from benchmarks.options import Options
from benchmarks.reporting import ABSENT, Report, mean_and_sd

Measures = Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """A measure in a table: its key and heading, what it is multiplied by, and its digits."""

    key: str
    heading: str
    scale: float = 100.0
    n_digits: int = 1


@dataclass
class Measured:
    """Named numbers of each method on each seed, in the order in which methods came."""

    runs: list[tuple[int, str, dict[str, float]]] = field(default_factory=list)

    def add(self, seed: int, method: str, measures: Measures) -> None:
        """Add one run."""
        self.runs.append((seed, method, dict(measures)))

    def rows(self, columns: Sequence[Column]) -> list[list[str]]:
        """One row for each method."""
        methods = dict.fromkeys(method for _, method, _ in self.runs)
        return [[method, *(self._cell(method, column) for column in columns)] for method in methods]

    def records(self) -> list[dict[str, Any]]:
        """Every run, as a flat record."""
        return [{"seed": seed, "method": method, **each} for seed, method, each in self.runs]

    def _cell(self, method: str, column: Column) -> str:
        values = [each.get(column.key, np.nan) for _, name, each in self.runs if name == method]
        return mean_and_sd(values, column.n_digits, column.scale)


def report(
    name: str, title: str, protocol: str, columns: Sequence[Column], measured: Measured
) -> Report:
    """Return the table of what was measured."""
    headings = ("method", *(column.heading for column in columns))
    return Report(name, title, protocol, headings, measured.rows(columns), measured.records())


def outcomes_report(
    name: str,
    title: str,
    data: FeatureSet,
    outcomes: Sequence[tuple[int, Outcome]],
    protocol: str,
) -> Report:
    """Return the table of methods that learned domain after domain."""
    measures = ("average", "forgetting", "routing", "kB", "labels", "CPU s")
    return Report(
        name=name,
        title=title,
        protocol=protocol,
        columns=("method", *data.domains, *measures),
        rows=_rows([outcome for _, outcome in outcomes]),
        records=[_record(seed, outcome, data) for seed, outcome in outcomes],
    )


def described(data: FeatureSet, options: Options, labels: str = "all") -> str:
    """One line on the data, the order and the seeds."""
    return (
        f"{len(data.y):,} samples, {data.X.shape[1]:,} features, {len(data.classes)} classes; "
        f"{' -> '.join(data.domains)}; labels: {labels}; 80/20 split per class and domain; "
        f"{seeds(options)}"
    )


def seeds(options: Options) -> str:
    """The end of every protocol line."""
    quick = "; quick: a part of the data, no tuning" if options.quick else ""
    n = len(options.seed_range)
    return f"{n} seed{'s' * (n != 1)}, mean ± standard deviation{quick}."


def _rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    rows = []
    for method in dict.fromkeys(outcome.method for outcome in outcomes):
        runs = [outcome for outcome in outcomes if outcome.method == method]
        finals = np.array([outcome.final for outcome in runs])
        rows.append(
            [
                method,
                *(f"{100 * value:.1f}" for value in finals.mean(axis=0)),
                mean_and_sd(finals.mean(axis=1)),
                mean_and_sd([outcome.forgetting for outcome in runs]),
                mean_and_sd([outcome.routing for outcome in runs]),
                f"{np.mean([outcome.n_bytes for outcome in runs]) / 1000:,.0f}",
                f"{np.mean([outcome.n_labels for outcome in runs]):.0f}",
                f"{np.mean([outcome.seconds for outcome in runs]):.1f}",
            ]
        )
    return rows


def _record(seed: int, outcome: Outcome, data: FeatureSet) -> dict[str, Any]:
    fields = asdict(outcome)
    final = dict(zip(data.domains, fields.pop("final"), strict=True))
    learned = fields.pop("learned")
    after = {f"{d} learned": a for d, a in zip(data.domains, learned, strict=False)}
    derived = {"average": outcome.average, "forgetting": outcome.forgetting}
    return {"seed": seed, **fields, **final, **after, **derived}


__all__ = ["ABSENT", "Column", "Measured", "described", "outcomes_report", "report", "seeds"]
