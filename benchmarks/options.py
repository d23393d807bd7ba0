"""The options that every benchmark takes, and the command line that gives them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DATA_DIR = Path(".cache/data")


@dataclass(frozen=True)
class Options:
    """What to run, on what, and where the results go.

    Attributes
    ----------
    data_dir
        Folder of the data sets that no package carries.
    seeds
        Runs, with seeds 0 to ``seeds - 1``.
    labels
        Labels per class and domain; None gives all of them.
    quick
        One seed and a part of the data: shows that it runs, says nothing about accuracy.
    out
        Folder for the raw numbers as CSV and JSON; None writes none.
    record
        Whether to write the table into `benchmarks/results` as well.
    """

    data_dir: Path = DEFAULT_DATA_DIR
    seeds: int = 5
    labels: int | None = None
    quick: bool = False
    out: Path | None = None
    record: bool = False

    @property
    def seed_range(self) -> range:
        """Seeds to run."""
        return range(1 if self.quick else self.seeds)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of all options; `from_arguments` reads what it returns."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR, help="folder with PACS")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--labels", type=int, help="labels per class and domain (default: all)")
    made.add_argument("--quick", action="store_true", help="one seed, a part of the data")
    made.add_argument("--out", type=Path, help="folder for CSV and JSON")
    made.add_argument("--record", action="store_true", help="write benchmarks/results/NAME.md")
    return made


def from_arguments(arguments: argparse.Namespace) -> Options:
    """Options out of parsed arguments."""
    names = ("data_dir", "seeds", "labels", "quick", "out", "record")
    return Options(**{name: getattr(arguments, name) for name in names})


def parse(description: str | None, argv: Sequence[str] | None = None) -> Options:
    """Options from a command line."""
    return from_arguments(parser(description).parse_args(argv))
