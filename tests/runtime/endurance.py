"""Random lives: settings, streams and orders of all kinds, in which nothing may break.

``python -m tests.runtime.endurance`` (``make test-long``) lives one life after another, two million
steps in all, and goes on where it was stopped. A life that breaks is named by its seed;
``--seed`` lives it again.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import pickle
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

from edge_runtime import EdgeRuntime, Settings
from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.records import EVENT_KINDS

PROGRESS = Path(".cache") / "endurance.json"
STEPS_IN_ALL, STEPS_OF_A_LIFE = 2_000_000, 2000
# What is done beside the samples, and how often in a thousand of them.
ORDERS = {
    "forget": 6, "forget_since": 1, "forget_class": 1, "rename": 2, "undo": 2, "save": 4, "load": 2,
    "batch": 3, "merge": 1, "unmerge": 1, "copied": 1, "looked_at": 6, "mistaken": 6,
}  # fmt: skip


class World:
    """A stream: domains that change, bursts, drifts, glitches, dead channels; in some unit."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.d, self.n_classes = int(rng.integers(1, 40)), int(rng.integers(1, 7))
        spread = rng.choice([0.5, 2.0, 5.0])
        self.means = rng.normal(size=(self.n_classes, self.d)) * spread
        self.domains = rng.normal(size=(4, self.d)) * rng.choice([1.0, 3.0])
        self.scale = 10.0 ** rng.uniform(-6, 6, self.d)
        self.offset = rng.choice([0.0, 1.0, 1e5]) * rng.normal(size=self.d) * self.scale
        self.is_constant = rng.random(self.d) < rng.choice([0.0, 0.2])
        self.is_whole = rng.random() < 0.1  # whole numbers, as of a converter
        self.rho = rng.choice([0.0, 0.0, 0.9])
        self.noise = rng.normal(size=self.d)
        self.number, self.shift, self.pace = 0, np.zeros(self.d), np.zeros(self.d)
        self.k, self.burst, self.scene, self.stuck = 0, 0, 0, 0
        self.last = np.zeros(self.d)

    def sample(self) -> tuple[np.ndarray, int, int]:
        """Features, class, and number of the scene."""
        rng = self.rng
        if rng.random() < 0.008:
            self.number = int(rng.integers(len(self.domains)))
        if rng.random() < 0.002:
            self.pace = rng.normal(size=self.d) * rng.choice([0.0, 0.003, 0.03])
        if rng.random() < 0.002:
            self.stuck = int(rng.integers(1, 30))
        self.shift += self.pace
        if self.burst <= 0:
            self.burst = int(rng.choice([1, 1, 1, 20]))
            self.k, self.scene = int(rng.integers(self.n_classes)), self.scene + 1
        self.burst -= 1
        fresh = rng.normal(size=self.d) * (0.01 if self.burst else 1.0)
        self.noise = self.rho * self.noise + np.sqrt(1 - self.rho**2) * fresh
        x = self.means[self.k] + self.domains[self.number] + self.shift + self.noise
        x = np.where(self.is_constant, 0.0, x)
        if rng.random() < 0.002:
            x = x * rng.choice([0.0, 1e3, 1e9])
        x = x * self.scale + self.offset
        self.stuck -= 1
        self.last = self.last if self.stuck >= 0 else np.rint(x) if self.is_whole else x
        return self.last, self.k, self.scene


class Life:
    """One runtime in one world, from a seed."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.world, self.directory = World(rng), directory
        self.is_named = rng.random() < 0.2  # measures with names, labels that are words
        self.has_groups = rng.random() < 0.3
        self.share_labelled = rng.choice([0.0, 0.02, 0.1, 0.5])
        self.share_wrong = rng.choice([0.0, 0.05, 0.5])
        self.is_background = bool(rng.random() < 0.1)
        self.runtime = EdgeRuntime(
            budget_bytes=int(rng.choice([32 * 2**20, 2**20, 400_000])),
            random_state=int(rng.integers(10)),
            settings=Settings(
                false_alarm_rate=float(rng.choice([0.01, 0.05, 0.3])),
                drift_run_length=float(rng.choice([100, 100_000])),
                labels_per_class=int(rng.integers(2, 20)),
                labels_per_hour=int(rng.choice([0, 20])),
                max_slots=int(rng.integers(1, 5)),
            ),
            n_dims=int(rng.choice([64, 256, 1024])),
            adaptor=4 if rng.random() < 0.1 else None,
            pending_samples=int(rng.choice([1, 20, 256])),
            background=self.is_background,
        )
        self.late: list[tuple[int, int, int]] = []  # step, sample, class
        self.newest = -1
        self.has_saved = False

    def live(self, n_steps: int) -> None:
        """So many samples, with labels and orders between them."""
        names, often = list(ORDERS), np.array(list(ORDERS.values())) / 1000
        for step in range(n_steps):
            self.step(step)
            for name in np.array(names)[self.rng.random(len(names)) < often]:
                with contextlib.suppress(EdgeRuntimeError):
                    getattr(self, name)()
        self.runtime.save(self.directory)
        self.check_bytes()

    def step(self, number: int) -> None:
        rng, (x, k, scene) = self.rng, self.world.sample()
        given = self.given(x)
        prediction = self.runtime.step(given, float(number), scene if self.has_groups else None)
        self.check(prediction)
        wants = prediction.wants_label and rng.random() < 0.7
        if wants or rng.random() < self.share_labelled:
            delay = int(rng.choice([0, 0, 0, 3, 400]))
            if rng.random() < self.share_wrong:
                k = int(rng.integers(self.world.n_classes))
            self.late.append((number + delay, prediction.sample_id, k))
        for due in [each for each in self.late if each[0] <= number]:
            self.late.remove(due)
            try:
                events = self.runtime.learn(due[1], self.label(due[2]))
            except EdgeRuntimeError:
                continue
            assert {event.kind for event in events} <= set(EVENT_KINDS)
            self.check_bytes()

    def check(self, prediction) -> None:
        n = len(self.runtime.classes)
        assert prediction.sample_id > self.newest, "an id was given twice"
        self.newest = prediction.sample_id
        assert prediction.probabilities.shape == (n,)
        assert n == 0 or abs(prediction.probabilities.sum() - 1) < 1e-6
        assert 0 < prediction.p_value <= 1
        assert np.isfinite(prediction.ood_score)
        assert {event.kind for event in prediction.events} <= set(EVENT_KINDS)

    def check_bytes(self) -> None:
        # While a thread is at work the model of before answers, whose rows may have grown since.
        if not self.is_background:
            used, budget = self.runtime.n_bytes, self.runtime.options["budget_bytes"]
            assert used <= budget, f"{used} of {budget} bytes: {self.runtime.bytes_by_part}"

    def given(self, x: np.ndarray) -> object:
        """A sample in one of the types that users have."""
        if self.is_named:
            return {f"m{i}": float(value) for i, value in enumerate(x)}
        return x.copy()

    def label(self, k: int) -> int | str:
        return f"class {k}" if self.is_named else k

    def some_class(self) -> int | str:
        if self.runtime.classes and self.rng.random() < 0.9:
            return self.runtime.classes[int(self.rng.integers(len(self.runtime.classes)))]
        return self.label(99)

    def some_id(self) -> int:
        return int(self.newest - self.rng.geometric(0.02) + 1)

    # -- orders -----------------------------------------------------------------------------

    def forget(self) -> None:
        self.runtime.forget(self.some_id())

    def forget_since(self) -> None:
        self.runtime.forget_since(self.some_id())

    def forget_class(self) -> None:
        self.runtime.forget_class(self.some_class(), purge=bool(self.rng.random() < 0.2))

    def rename(self) -> None:
        self.runtime.rename_class(self.some_class(), self.some_class())

    def undo(self) -> None:
        how = self.rng.choice(["once", "twice", "growth", "factory"])
        if how in ("growth", "factory"):
            self.runtime.undo(to=how)
        else:
            self.runtime.undo(1 + (how == "twice"))

    def save(self) -> None:
        self.runtime.save(self.directory)
        self.has_saved = True

    def load(self) -> None:
        if self.has_saved:
            self.runtime = EdgeRuntime.load(self.directory, background=self.is_background)
            # Ids since the save were named in the journal, or belong to samples without a label.
            self.newest = -1

    def batch(self) -> None:
        rows = [self.world.sample() for _ in range(int(self.rng.integers(1, 40)))]
        self.runtime.learn_many(
            [self.given(x) for x, _, _ in rows],
            [self.label(k) for _, k, _ in rows],
            [scene for _, _, scene in rows] if self.has_groups else None,
        )

    def merge(self) -> None:
        other = EdgeRuntime(n_dims=64, adaptor=None)
        rows = [self.world.sample() for _ in range(20)]
        other.learn_many([self.given(x) for x, _, _ in rows], [self.label(k) for _, k, _ in rows])
        self.runtime.merge(other)

    def unmerge(self) -> None:
        self.runtime.unmerge(int(self.rng.integers(1, 3)))

    def copied(self) -> None:
        twin = copy.deepcopy(self.runtime)
        self.runtime = pickle.loads(pickle.dumps(twin)) if self.rng.random() < 0.5 else twin

    def looked_at(self) -> None:
        json.dumps(self.runtime.status())
        X = [self.given(self.world.sample()[0]) for _ in range(3)]
        for prediction in self.runtime.peek_many(X):
            assert prediction.sample_id == -1
        assert len(self.runtime.explain(X[0])) <= 5
        self.runtime.suspected_labels()
        assert sum(each.n_labels for each in self.runtime.slots) >= 0

    def mistaken(self) -> None:
        """What a user should not have said: refused, and nothing comes of it."""
        d = self.world.d
        bad = (
            lambda: self.runtime.step(np.full(d, np.nan)),
            lambda: self.runtime.step(np.zeros(d + 1)),
            lambda: self.runtime.learn(self.newest, 1.5),
            lambda: self.runtime.learn(10**15, self.label(0)),
            lambda: self.runtime.learn(self.newest, 0 if self.is_named else "word"),
            lambda: self.runtime.forget(-5),
            lambda: self.runtime.learn_many([np.zeros(d)], []),
        )
        before = repr(self.runtime.status()["counters"])
        try:
            bad[int(self.rng.integers(len(bad)))]()
        except EdgeRuntimeError:
            assert repr(self.runtime.status()["counters"]) == before


def lived(seed: int, n_steps: int) -> None:
    """One life; whatever breaks in it is raised."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "damaged state skipped|.* are lost:")
        Life(seed, Path(folder)).live(n_steps)


def main(words: list[str] | None = None) -> int:
    """Live on; returns 1 as soon as a life has broken."""
    parser = argparse.ArgumentParser(description="Random lives, in which nothing may break.")
    parser.add_argument("--steps", type=int, default=STEPS_IN_ALL, help="steps in all")
    parser.add_argument("--seed", type=int, help="live this life alone, once more")
    parser.add_argument("--life", type=int, default=STEPS_OF_A_LIFE, help="steps of one life")
    parser.add_argument("--anew", action="store_true", help="begin with the first seed again")
    asked = parser.parse_args(words)
    if asked.seed is not None:
        lived(asked.seed, asked.life)
        return 0
    done = {"steps": 0, "seed": 0}
    if PROGRESS.exists() and not asked.anew:
        done = json.loads(PROGRESS.read_text())
    while done["steps"] < asked.steps:
        began = time.monotonic()
        try:
            lived(done["seed"], asked.life)
        except Exception:
            traceback.print_exc()
            print(
                f"life {done['seed']} broke after {done['steps']} steps in all: "
                f"python -m tests.runtime.endurance --seed {done['seed']} --life {asked.life}"
            )
            return 1
        done = {"steps": done["steps"] + asked.life, "seed": done["seed"] + 1}
        PROGRESS.parent.mkdir(exist_ok=True)
        PROGRESS.write_text(json.dumps(done))
        took = time.monotonic() - began
        print(f"{done['steps']} of {asked.steps} steps, {took:.0f} s for the last life", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
