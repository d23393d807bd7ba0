"""tpSGD against backpropagation, its relatives and no hidden learning, on networks of one shape.

Tasks and their shapes are in `local_tasks`, methods and their rates in `local_methods`, recurrent
networks in `local_sequences`. Rates, and activations where there is a choice, are chosen per task
and method on a part of the training data; the test data are used once per seed. Epochs, batch size
and the linear fall of the rates are the same for all. A long table is made in parts: `--tasks mnist
--out FOLDER` leaves one file for each task, `--from FOLDER --record` makes one table of them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import local_methods, local_sequences, local_tasks
from benchmarks.local_methods import Method, update_peak
from benchmarks.local_tasks import Loader, Task
from benchmarks.memory import DenseStack
from benchmarks.options import Options, from_arguments, parser
from benchmarks.peers.torch_training import TorchAbsentError
from benchmarks.reporting import ABSENT, Report, machine, mean_and_sd
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError

NAME = "local_learning"
TASKS: Mapping[str, Loader] = {**local_tasks.TASKS, **local_sequences.TASKS}
METHODS: Mapping[str, Sequence[Method]] = {**local_methods.METHODS, **local_sequences.METHODS}
COLUMNS = (
    "task",
    "method",
    "accuracy",
    "to backprop",
    "CPU s",
    "peak kB",
    "kB per sample",
    "activations kB",
    "MMACs",
    "chosen on validation",
)
# What one more sample adds to the peak is measured between two batches that are large enough for
# activations to outweigh gradients, which cancel.
SMALL_BATCH, LARGE_BATCH = 4096, 8192

Records = list[dict[str, Any]]


def run(
    options: Options, keys: Sequence[str] | None = None, only: Sequence[str] = ()
) -> Report | None:
    """Run the methods whose names hold one of `only` (all, if empty) on the tasks of these keys.

    Each task leaves its own files in the folder of results. None where no task has its data.
    """
    records: Records = []
    for task in _loaded(keys or list(TASKS), options):
        methods = [m for m in METHODS[task.kind] if not only or any(o in m.name for o in only)]
        part = compare(task, options, methods)
        if part and options.out is not None:
            report(part, f"{NAME}-{task.key}").publish(options.out, record=False)
        records += part
    return report(records) if records else None


def compare(task: Task, options: Options, methods: Sequence[Method]) -> Records:
    """Return one record for each method and seed."""
    records: Records = []
    for method in methods:
        seeds = options.seed_range
        if method.is_relative and task.relative_seeds is not None:
            seeds = seeds[: task.relative_seeds]
        try:
            found = _runs(task, method, seeds, quick=options.quick)
        except TorchAbsentError as error:
            print(f"SKIPPED {task.key}, {method.name}: {error}", file=sys.stderr)
            continue
        accuracy = np.mean([each["accuracy"] for each in found])
        chosen = found[0]["chosen"]
        print(f"{task.key}: {method.name} ({chosen}): {accuracy:.4f}", file=sys.stderr, flush=True)
        records += found
    return records


def _runs(task: Task, method: Method, seeds: range, *, quick: bool) -> Records:
    start = time.process_time()
    settings = method.start if quick else method.tune(task)
    tuning_seconds = time.process_time() - start
    about = {
        "key": task.key,
        "task": task.name,
        "method": method.name,
        "chosen": method.describe(settings),
        "n_train": len(task.train),
        "n_test": len(task.test),
        "epochs": task.epochs,
        "batch": task.batch_size,
        "tuning_seconds": tuning_seconds,
        "quick": quick,
    }
    records: Records = []
    cost: dict[str, float | None] = {}
    for seed in seeds:
        start = time.process_time()
        model = method.fit(task, task.train, seed, settings)
        seconds = time.process_time() - start
        score = task.score(model, task.test)
        cost = cost or update_cost(task, method, model)
        records.append({**about, "seed": seed, "accuracy": score, "seconds": seconds, **cost})
    return records


def update_cost(task: Task, method: Method, model: Any) -> dict[str, float | None]:
    """Bytes and products of one update: measured, and by formula where there is one."""
    per_sample = None
    peak = update_peak(model, task, task.batch_size)
    if peak is not None and task.kind == "dense":
        small, large = (update_peak(model, task, n) for n in (SMALL_BATCH, LARGE_BATCH))
        if small is not None and large is not None:
            per_sample = (large - small) / (LARGE_BATCH - SMALL_BATCH)
    cost: dict[str, float | None] = {"peak_bytes": peak, "bytes_per_sample": per_sample}
    if method.rule is not None:
        n_classes = int(task.y.max()) + 1
        stack = DenseStack((task.X.shape[1], *task.hidden, n_classes), task.batch_size)
        cost["activation_bytes"] = stack.activation_bytes(method.rule)
        cost["macs"] = stack.macs(method.rule)
    return cost


# -- the table --------------------------------------------------------------------------------


def report(records: Sequence[Mapping[str, Any]], name: str = NAME) -> Report:
    """Return the table of these runs."""
    return Report(
        name=name,
        title="Local learning: test accuracy of the same network under different rules, %",
        protocol=_protocol(records),
        columns=COLUMNS,
        rows=_rows(records),
        records=records,
    )


def gathered(folders: Sequence[Path]) -> Records:
    """Return the runs that earlier calls left in these folders; of the same run the last counts.

    Raises
    ------
    FileNotFoundError
        A folder holds none.
    """
    runs: dict[tuple[str, str], Records] = {}
    for folder in folders:
        paths = sorted(folder.glob(f"{NAME}-*.json"))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no {NAME}-*.json: was it given by --out?")
        for path in paths:
            page = json.loads(path.read_text())
            if page["machine"] != machine():
                print(
                    f"{path.name} was made on another machine: {page['machine']}", file=sys.stderr
                )
            found = _grouped(page["runs"])
            runs.update(found)
    keys = list(TASKS)
    ordered = sorted(runs, key=lambda place: keys.index(place[0]) if place[0] in keys else -1)
    return [record for place in ordered for record in runs[place]]


def _grouped(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Records]:
    groups: dict[tuple[str, str], Records] = {}
    for record in records:
        groups.setdefault((record["key"], record["method"]), []).append(dict(record))
    return groups


def _rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    groups = _grouped(records)
    most = max(len(runs) for runs in groups.values())
    mean = {place: float(np.mean([r["accuracy"] for r in g])) for place, g in groups.items()}
    rows = []
    for (key, method), runs in groups.items():
        first = runs[0]
        accuracy = mean_and_sd([each["accuracy"] for each in runs], n_digits=2)
        if len(runs) < most:
            accuracy += f" ({len(runs)})"
        bars = [m for (k, name), m in mean.items() if k == key and name.startswith("backprop")]
        gap = f"{100 * (mean[key, method] - max(bars)):+.2f}" if bars else ABSENT
        rows.append(
            [
                first["task"],
                method,
                accuracy,
                gap,
                f"{np.mean([each['seconds'] for each in runs]):.1f}",
                _scaled(first.get("peak_bytes"), 1e3, 0),
                _scaled(first.get("bytes_per_sample"), 1e3, 2),
                _scaled(first.get("activation_bytes"), 1e3, 0),
                _scaled(first.get("macs"), 1e6, 1),
                first["chosen"],
            ]
        )
    return rows


def _scaled(value: float | None, unit: float, n_digits: int) -> str:
    return ABSENT if value is None else f"{value / unit:,.{n_digits}f}"


def _protocol(records: Sequence[Mapping[str, Any]]) -> str:
    sizes = dict.fromkeys(
        f"{r['task']}: {r['n_train']:,} train, {r['n_test']:,} test, {r['epochs']} epochs, "
        f"batch {r['batch']}"
        for r in records
    )
    n_seeds = 1 + max(r["seed"] for r in records)
    quick = " Quick: a part of the data, no tuning." if any(r["quick"] for r in records) else ""
    return (
        f"{n_seeds} seeds, or as many as stand behind the accuracy in brackets; mean ± standard "
        "deviation. To backprop: points above the better of the two. Peak: allocated by one "
        "update of a batch in NumPy, measured; per sample: what one more sample in a batch adds "
        "to it, so activations without gradients; activations (the samples not counted) and "
        "multiply-accumulates (MACs) of "
        "one update by formula. A star marks the first or last rate of those tried.\n\n"
        f"{'; '.join(sizes)}.{quick}"
    )


# -- command line -----------------------------------------------------------------------------


def _loaded(keys: Sequence[str], options: Options) -> Iterator[Task]:
    for key in keys:
        try:
            task = TASKS[key](options.data_dir)
        except (ArchiveUnavailableError, DataAbsentError) as error:
            print(f"SKIPPED {key}: {error}", file=sys.stderr)
        else:
            yield task.shortened() if options.quick else task


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tasks that are named, or make one table of the results in some folders."""
    arguments = parser(__doc__)
    arguments.add_argument("--tasks", nargs="+", metavar="KEY", choices=list(TASKS), help="which")
    arguments.add_argument("--methods", nargs="+", default=[], help="parts of their names")
    arguments.add_argument("--from", dest="folders", nargs="+", type=Path, metavar="FOLDER")
    parsed = arguments.parse_args(argv)
    options = from_arguments(parsed)
    if parsed.folders:
        table: Report | None = report(gathered(parsed.folders))
    else:
        table = run(options, parsed.tasks, parsed.methods)
    if table is not None:
        table.publish(options.out, record=options.record)


if __name__ == "__main__":
    main()
