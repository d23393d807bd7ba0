"""Continual learning on streams, against the strongest simple methods on the same features.

Each task is one stream and one table; `--tasks` names some of them, all is the default. The runtime
gets samples by `step` and labels by `learn`, and is never told where a domain ends; only where a
row says so does it get each domain as one batch. It has its default
settings everywhere. Protocols and caveats: the README of this folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.continual_peers import Outcome
from benchmarks.features import FeatureSet, pacs_features
from benchmarks.options import Options, from_arguments, parser
from benchmarks.reporting import Report
from benchmarks.splits import domain_stream, first_of_each_class
from benchmarks.streams import domains, drifts, hardship, pictures, signals, sounds, steady
from benchmarks.streams.tables import Column, Measured, described, outcomes_report, report, seeds
from edge_runtime.errors import BackendError
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError

QUICK_ROWS = 60  # per class and domain
FEW_LABELS = 10
SPLIT_FASHION_ROWS, LETTER_ROWS = 300, 150  # of each class
STREAM_ROWS = 70  # per class and domain of pictures and sounds
STILL_FIRST = {"Fashion-MNIST, Lite0": 2_000, "letter": 4_000}
STILL_SAMPLES = 10_000
TABLE_ROWS = 300  # per class and domain of tables of two classes
PACS_BYTES = 10_000_000  # for everything

SHARES = ("routing", "average", "forgetting")
ROUTING = (
    Column("routing", "routing %"),
    Column("average", "accuracy %"),
    Column("forgetting", "forgetting"),
    Column("kB", "kB", 1, 0),
    Column("slots", "slots", 1, 1),
)


def thinned(data: FeatureSet, n_rows: int) -> FeatureSet:
    """Return the first `n_rows` of each class and domain."""
    group = data.domain * len(data.classes) + data.y
    return data.part(first_of_each_class(group, n_rows))


# -- one domain, or some classes, after the other -----------------------------------------------


def compare(
    data: FeatureSet,
    options: Options,
    name: str = "continual",
    title: str = "Continual learning",
    *,
    is_wide: bool = True,
    budget_bytes: int | None = None,
    has_small: bool = False,
) -> Report:
    """Return the table of all methods on one stream.

    The runtime has its default settings, in `budget_bytes` where they are given; with `has_small`
    it is run once more in a tenth of what RanPAC-2000 takes.
    """
    if options.quick:
        data = thinned(data, QUICK_ROWS)
    found: list[tuple[int, Outcome]] = domains.outcomes(
        data,
        options.seed_range,
        options.labels,
        is_tuned=not options.quick,
        is_wide=is_wide,
        budget_bytes=budget_bytes,
        has_small=has_small,
    )
    labels = "all" if options.labels is None else f"{options.labels} per class and domain"
    if budget_bytes is not None:
        labels += f"; edge-runtime in {budget_bytes:,} bytes"
    if has_small:
        labels += f"; in a tenth of the bytes {domains.SMALL_PENDING} samples wait for a label"
    heading = f"{title}: accuracy on each domain at the end of the stream, %"
    return outcomes_report(name, heading, data, found, described(data, options, labels))


def _pacs(options: Options) -> Report:
    data = pacs_features(options.data_dir)
    if options.labels is not None:
        return _pacs_few(options)
    return compare(data, options, "continual", "PACS", budget_bytes=PACS_BYTES)


def _pacs_few(options: Options) -> Report:
    few = replace(options, labels=options.labels or FEW_LABELS)
    data = pacs_features(options.data_dir)
    name, title = f"continual_{few.labels}_labels", "PACS, few labels"
    return compare(data, few, name, title, budget_bytes=PACS_BYTES)


def _domains(
    name: str, title: str, load: Callable[[], FeatureSet], *, has_small: bool = False
) -> Callable[..., Report]:
    return _with_data(name, title, lambda _: load(), has_small=has_small)


def _with_data(
    name: str, title: str, load: Callable[[Path], FeatureSet], *, has_small: bool = False
) -> Callable[..., Report]:
    """A task whose data may lie in the folder that the options name."""

    def run(options: Options) -> Report:
        data = load(options.data_dir)
        return compare(
            data, options, f"continual_{name}", title, is_wide=False, has_small=has_small
        )

    return run


def _capped(data: FeatureSet) -> FeatureSet:
    return thinned(data, STREAM_ROWS)


def _split_fashion() -> FeatureSet:
    X, y = pictures.clear_fashion()
    data = pictures.joined([(X, y)], ("clear",), pictures.CLOTHES)
    return signals.in_steps(data, 5, SPLIT_FASHION_ROWS)


def _sound_steps() -> FeatureSet:
    return signals.in_steps(sounds.sound_fonts(), 4)


def _letter_steps() -> FeatureSet:
    return signals.in_steps(signals.letters(), 5, LETTER_ROWS)


# -- other streams ------------------------------------------------------------------------------


def _imu_drift(options: Options) -> Report:
    measured = Measured()
    for name in signals.RAMPS:
        hardship.gradual_drift(name, options.seed_range, measured, 0.3 if options.quick else 1.0)
    protocol = (
        f"HAPT users 21-30, IMU encoder of users 1-20; {hardship.N_FIRST:,} labelled windows, then "
        f"a ramp of {hardship.N_RAMP:,} and {hardship.N_PLATEAU} at its end with at most "
        f"{hardship.LABELS_PER_CLASS} labels of each class per {hardship.LABEL_SPAN:,} windows "
        f"(the runtime's where it requests them; the peers' the first that come), "
        f"{hardship.N_TEST} test windows under the whole drift: gain x{signals.GAIN}, bias "
        f"{signals.BIAS} g and {signals.GYRO_BIAS} rad/s, rotation {signals.DEGREES:.0f} degrees; "
        f"{seeds(options)}"
    )
    title = "Gradual drift of a motion sensor: share of the lost accuracy that comes back, %"
    return report("continual_imu_drift", title, protocol, hardship.DRIFT, measured)


def _no_drift(options: Options) -> Report:
    measured = Measured()
    letters = signals.letters()
    for name, (X, y) in {
        "Fashion-MNIST, Lite0": pictures.clear_fashion(),
        "letter": (letters.X, letters.y),
    }.items():
        n_first, n_stream = STILL_FIRST[name], STILL_SAMPLES
        if options.quick:
            n_first, n_stream = n_first // 4, 500
        n = n_first + n_stream
        steady.no_drift(name, X[:n], y[:n], n_first, options.seed_range, measured)
    protocol = (
        f"A labelled batch ({', '.join(f'{k}: {n:,}' for k, n in STILL_FIRST.items())}), then "
        f"{STILL_SAMPLES:,} samples of the same domain, one a second; labels where the runtime "
        f"requests them; {seeds(options)}"
    )
    title = "No drift: what is raised for nothing"
    return report("continual_no_drift", title, protocol, steady.STILL, measured)


def _returning(options: Options) -> Report:
    measured = Measured()
    data = _capped(pictures.digit_domains())
    if options.quick:
        data = thinned(data, QUICK_ROWS)
    steady.returning(data, options.seed_range, measured)
    protocol = (
        f"{' -> '.join(data.domains)} with all labels, then {steady.VISITS} changes to a random "
        f"other one, {steady.VISIT_ROWS} held-back samples each, labels where the runtime "
        f"requests them; "
        f"peers with the first of their settings; {seeds(options)}"
    )
    title = "Returning domains: is a domain known when it comes again?"
    return report("continual_returning", title, protocol, steady.RETURNS, measured)


def _poisoned(options: Options) -> Report:
    measured = Measured()
    X, y = pictures.clear_fashion()
    data = pictures.joined([(X, y)], ("clear",), pictures.CLOTHES)
    hardship.poisoned(data, options.seed_range, measured, 0.3 if options.quick else 1.0)
    protocol = (
        f"Fashion-MNIST, Lite0: {hardship.POISON_FIRST} right labels in a batch, then a stream of "
        f"{hardship.POISON_STREAM:,}, all labelled, the stated share wrong (another class, drawn "
        f"evenly); {hardship.POISON_TEST:,} test samples; peers with the first of their settings; "
        f"{seeds(options)}"
    )
    title = "Wrong labels: accuracy lost, and labels that the runtime suspects in the end, %"
    return report("continual_poisoned", title, protocol, hardship.POISON, measured)


def _routing(options: Options) -> Report:
    measured = Measured()
    for name, load in _domain_sets(options).items():
        try:
            data = load()
        except (ArchiveUnavailableError, BackendError, DataAbsentError) as error:
            print(f"SKIPPED routing of {name}: {error}", file=sys.stderr)
            continue
        if options.quick:
            data = thinned(data, QUICK_ROWS)
        for seed in options.seed_range:
            stream = domain_stream(data, seed)
            runs = {"budget_bytes": PACS_BYTES} if name == "PACS" else {}
            for outcome in domains.of_the_runtime(data, stream, seed, **runs):
                measures = {
                    key: getattr(outcome, key) for key in ("routing", "average", "forgetting")
                }
                slots = int(outcome.detail.split()[0])
                sizes = {"kB": outcome.n_bytes / 1000, "slots": slots}
                measured.add(seed, f"{name}: {outcome.method}", {**measures, **sizes})
    protocol = (
        "Share of held-back samples claimed by a slot that was grown in their own domain, mean "
        f"over domains, beside the accuracy of the same answers; all labels; {seeds(options)}"
    )
    return report("continual_routing", "Routing apart from accuracy", protocol, ROUTING, measured)


def _domain_sets(options: Options) -> Mapping[str, Callable[[], FeatureSet]]:
    return {
        "PACS": lambda: pacs_features(options.data_dir),
        "digits": lambda: _capped(pictures.digit_domains()),
        "Fashion-MNIST, 7 cameras": lambda: _capped(pictures.corrupted_fashion()),
        "IMU users": signals.imu_users,
        "sound fonts": sounds.sound_fonts,
    }


TASKS: Mapping[str, Callable[[Options], Report]] = {
    "pacs": _pacs,
    "pacs-10": _pacs_few,
    "digits": _domains("digits", "Digits in four hands", lambda: _capped(pictures.digit_domains())),
    "fashion": _domains(
        "fashion", "Fashion-MNIST, 7 cameras", lambda: _capped(pictures.corrupted_fashion())
    ),
    "imu-users": _domains("imu_users", "HAPT, ten people", signals.imu_users),
    "sound-fonts": _domains(
        "sound_fonts", "Twelve instruments in four sound fonts", sounds.sound_fonts
    ),
    "segment": _domains("segment", "Patches of pictures, measures that turn", drifts.segment),
    "phoneme": _domains(
        "phoneme",
        "Nasal or oral, by the strength of the first harmonic",
        lambda: thinned(drifts.phoneme(), TABLE_ROWS),
    ),
    "magic": _domains(
        "magic",
        "Gamma or hadron, measures whose gains drift",
        lambda: thinned(drifts.magic(), TABLE_ROWS),
    ),
    "bearings": _with_data("bearings", "Faults of a bearing under four loads", drifts.bearings),
    "outdoor": _with_data("outdoor", "Objects outdoors in changing light", drifts.outdoor),
    "photos": _with_data("photos", "Photos of PACS, six cameras", pictures.corrupted_photos),
    "sound-classes": _domains(
        "sound_classes", "Twelve instruments, new classes", _sound_steps, has_small=True
    ),
    "split-fashion": _domains(
        "split_fashion", "Split-Fashion, new classes", _split_fashion, has_small=True
    ),
    "letter": _domains("letter", "Letter, new classes", _letter_steps, has_small=True),
    "imu-drift": _imu_drift,
    "no-drift": _no_drift,
    "returning": _returning,
    "poisoned": _poisoned,
    "routing": _routing,
}


def run(options: Options, names: Sequence[str] = ()) -> list[Report]:
    """Run and publish the tasks named, or all; one whose data are absent is skipped, loudly."""
    reports: list[Report] = []
    for name in names or TASKS:
        try:
            reports.append(TASKS[name](options))
        except (ArchiveUnavailableError, BackendError, DataAbsentError) as error:
            print(f"SKIPPED continual {name}: {error}", file=sys.stderr)
            continue
        reports[-1].publish(options.out, record=options.record)
    return reports


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tasks of a command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--tasks", nargs="*", choices=tuple(TASKS), metavar="TASK", default=[])
    parsed = arguments.parse_args(argv)
    run(from_arguments(parsed), parsed.tasks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
