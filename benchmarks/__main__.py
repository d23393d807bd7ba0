"""Run the benchmarks: `python -m benchmarks [name ...] --data-dir FOLDER`; by default, all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from benchmarks.options import Options, from_arguments, parser
from benchmarks.reporting import Report, machine

NAMES = (
    "hdc",
    "ood",
    "calibration",
    "adaptors",
    "local_learning",
    "incremental",
    "selection",
    "search",
    "continual",
    "ablation",
    "query_strategies",
    "step",
    "wire",
    "footprint",
    "encoders",
    "cold_start",
    "disk",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks named; one that has no data to run on says so and is skipped."""
    arguments = parser(__doc__)
    arguments.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}")
    parsed = arguments.parse_args(argv)
    unknown = sorted(set(parsed.names) - set(NAMES))
    if unknown:
        arguments.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    options = from_arguments(parsed)
    print(machine())
    for name in parsed.names or NAMES:
        run: Callable[[Options], Report | list[Report] | None]
        run = import_module(f"benchmarks.{name}").run
        report = run(options)
        if isinstance(report, Report):
            report.publish(options.out, record=options.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
