"""The command line of one benchmark: `python -m benchmarks.ood`; `__main__` runs several."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.options import Options, parse
from benchmarks.reporting import Report


def main(run: Callable[[Options], Report | None], description: str | None) -> None:
    """Run one benchmark as its options say and publish its table, if there were data for one."""
    options = parse(description)
    report = run(options)
    if report is not None:
        report.publish(options.out, record=options.record)
