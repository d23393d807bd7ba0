"""Continual learning on streams, against the strongest simple methods on the same features.

Each task is one stream and one table; `--tasks` names some of them, all is the default. The runtime
gets samples by `step` and labels by `learn`, and is never told where a domain ends; only where a
row says so does it get each domain as one batch. Protocols and caveats: the README of this folder.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.continual_peers import Outcome
from benchmarks.features import FeatureSet, pacs_features
from benchmarks.options import Options, from_arguments, parser
from benchmarks.reporting import Report
from benchmarks.splits import domain_stream, first_of_each_class
from benchmarks.streams import domains, hardship, pictures, signals, sounds, steady
from benchmarks.streams.tables import Column, Measured, described, outcomes_report, report, seeds
from edge_runtime import PolicySettings
from edge_runtime.errors import BackendError
from examples.datasets.archives import ArchiveUnavailableError
from examples.datasets.pacs import DataAbsentError

QUICK_ROWS = 60  # per class and domain
FEW_LABELS = 10
SPLIT_FASHION_ROWS, LETTER_ROWS = 300, 150  # of each class
STREAM_ROWS = 70  # per class and domain of pictures and sounds
STILL_FIRST = {"Fashion-MNIST, Lite0": 2_000, "letter": 4_000}
STILL_SAMPLES = 10_000
# Ten megabytes for everything; labels come at once, so that few samples wait for theirs.
PACS_SETTINGS = {
    "budget_bytes": 10_000_000,
    "pending_samples": 32,
    "policy": PolicySettings(canaries=128, held_labels=32, doubtful_labels=16),
}
# A tenth of what RanPAC takes, buffers and all.
LETTER_SETTINGS = {"n_fourier": 512, "rank": 256, "budget_bytes": 1_630_000, "pending_samples": 32}
FEW_WAIT = {
    "pending_samples": 16,
    "policy": PolicySettings(canaries=64, held_labels=16, doubtful_labels=8, collected_labels=128),
}
SOUND_SETTINGS = {"rank": 192, "budget_bytes": 1_955_000, **FEW_WAIT}
CLOTHES_SETTINGS = {"rank": 64, "hidden": (96,), "budget_bytes": 2_770_000, **FEW_WAIT}

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
    kept = first_of_each_class(group, n_rows)
    return FeatureSet(
        data.X[kept], data.y[kept], data.domain[kept], data.taps, data.classes, data.domains
    )


# -- one domain, or some classes, after the other -----------------------------------------------


def compare(
    data: FeatureSet,
    options: Options,
    name: str = "continual",
    title: str = "Continual learning",
    *,
    is_wide: bool = True,
    settings: Mapping[str, Any] = domains.NONE,
    small: Mapping[str, Any] = domains.NONE,
) -> Report:
    """Return the table of all methods on one stream; `settings` are the runtime's.

    With `small` ones, in a tenth of what RanPAC takes, it is run once more.
    """
    if options.quick:
        data = thinned(data, QUICK_ROWS)
    found: list[tuple[int, Outcome]] = domains.outcomes(
        data,
        options.seed_range,
        options.labels,
        is_tuned=not options.quick,
        is_wide=is_wide,
        settings=settings,
        small=small,
    )
    labels = "all" if options.labels is None else f"{options.labels} per class and domain"
    if settings:
        labels += "; edge-runtime with " + ", ".join(_told(settings))
    if small:
        labels += "; in a tenth of RanPAC's bytes with " + ", ".join(_told(small))
    heading = f"{title}: accuracy on each domain at the end of the stream, %"
    return outcomes_report(name, heading, data, found, described(data, options, labels))


def _told(settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings in words; of a policy only what is not as usual."""
    for name, value in settings.items():
        if isinstance(value, PolicySettings):
            usual = asdict(PolicySettings())
            yield from _told({k: v for k, v in asdict(value).items() if v != usual[k]})
        else:
            yield f"{name}={value}"


def _pacs(options: Options) -> Report:
    data = pacs_features(options.data_dir)
    if options.labels is not None:
        return _pacs_few(options)
    return compare(data, options, "continual", "PACS", settings=PACS_SETTINGS)


def _pacs_few(options: Options) -> Report:
    few = replace(options, labels=options.labels or FEW_LABELS)
    data = pacs_features(options.data_dir)
    return compare(data, few, f"continual_{few.labels}_labels", "PACS, few labels")


def _domains(
    name: str,
    title: str,
    load: Callable[[], FeatureSet],
    settings: Mapping[str, Any] = domains.NONE,
    small: Mapping[str, Any] = domains.NONE,
) -> Callable[..., Report]:
    def run(options: Options) -> Report:
        runs = {"settings": settings, "small": small}
        return compare(load(), options, f"continual_{name}", title, is_wide=False, **runs)

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
        f"(the runtime's where it asks; the peers' the first that come), {hardship.N_TEST} test "
        f"windows under the whole drift: gain x{signals.GAIN}, bias {signals.BIAS} g and "
        f"{signals.GYRO_BIAS} rad/s, rotation {signals.DEGREES:.0f} degrees; {seeds(options)}"
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
        f"asks; {seeds(options)}"
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
        f"other one, {steady.VISIT_ROWS} held-back samples each, labels where the runtime asks; "
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
    title = "Wrong labels: accuracy lost, and changes that the runtime took back"
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
            settings = PACS_SETTINGS if name == "PACS" else domains.NONE
            for outcome in domains.of_the_runtime(data, stream, seed, settings):
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
    "sound-classes": _domains(
        "sound_classes", "Twelve instruments, new classes", _sound_steps, SOUND_SETTINGS
    ),
    "split-fashion": _domains(
        "split_fashion", "Split-Fashion, new classes", _split_fashion, small=CLOTHES_SETTINGS
    ),
    "letter": _domains("letter", "Letter, new classes", _letter_steps, LETTER_SETTINGS),
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
