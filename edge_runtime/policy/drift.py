"""Whether the world has changed: one detector, one vote for each scene.

Samples of a camera or a sensor come in scenes: neighbours resemble each other, and a hundred of
them are no more evidence than one. Scene length is measured here, on the stream itself.

**Evidence** is an e-detector of Shiryaev-Roberts type (Shin, Ramdas, Rinaldo, 2022). Bets on two
things each pay 1 on average while nothing changes: on p-values (of a sample among held-out samples
of its cell of class and slot: a stream that brings classes in any order is no drift) and on
togetherness (`hdc.detection.togetherness`). At the end of a scene every bet's sum R becomes
``(1 + R) * exp(mean log-bet)``; the alarm rings where the mean of R reaches the run length. The
mean of logs over dependent samples keeps the expectation at 1 or less (Hoelder's inequality) where
samples one scene apart are independent: that is what the promise rests on.

**Scene length**: of a batch of b samples, off-vectors sum to |sum o|^2 = sum |o|^2 if they are
independent, and to more if they are not.

Limits: scenes longer than about 256 samples; cells of few labels say nothing; the first samples.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.records import Answer, Cell
from hdc.detection.togetherness import Togetherness

N_BITS = 1024
# Bets ``kappa * p ** (kappa - 1)`` on low p-values, from bold (pays when p-values are tiny) to shy
# (pays when they are merely low).
KAPPAS = (0.2, 0.4, 0.6, 0.8)
# Bets ``a * (1 - p) ** (a - 1)`` that there are no high p-values, the bolder the larger: a new
# domain may lie well inside an old one.
BULKS = (1.5, 2.0, 3.0)
# Bets on togetherness, by the rank of its value among those of chance.
TOGETHER_KAPPAS = (0.2, 0.4, 0.6, 0.8)
N_BETS = len(KAPPAS) + len(BULKS) + len(TOGETHER_KAPPAS)
# No sum grows beyond this: it would be infinite, and infinity times nothing is no number.
LARGEST_SUM = 1e300
# No p-value counts for less than this, so that one sample alone is never a drift.
SMALLEST_P = 0.01
# Standard errors by which a p-value is raised: it is uniform only on average over the scores that
# it was ranked against, and bets that go on for ever would find out. One calibration sample in
# forty misleads at two.
SLACK = 2.0
# Held-out scores that a cell needs to be judged by itself; below, by those of its slot.
LEAST_SCORES = 20
# Labels that a cell needs to say in which direction a sample is off.
LEAST_LABELS = 20
# Samples before the first alarm: until then the measure of scenes is blind.
FIRST_SAMPLES = 64
BATCHES = (16, 64, 256)
# Ratios up to this come by chance; a scene is taken to be twice as long as what is above it.
CHANCE_RATIO, STRETCH = 1.1, 2.0
LONGEST_SCENE = 1024
# Batches that the ratio is a mean of.
KEPT_BATCHES = 8
# Last samples whose mix of cells weighs the error of p-values.
MIX = 20


class _Batches:
    """The ratio of |sum o|^2 to what independent samples give, over batches of one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ratios: deque[float] = deque(maxlen=KEPT_BATCHES)
        self.start()

    def start(self) -> None:
        """Forget the batch that is being filled, and the one that waits."""
        self._sum = np.zeros(N_BITS)
        self._squares, self._n = 0.0, 0
        self._counts: dict[tuple[int, int], int] = {}
        self._errors: dict[tuple[int, int], float] = {}
        self._waiting: float | None = None

    def take(self, cell: Cell, squares: float) -> None:
        """Take a sample at rest; a batch counts once the next one has passed without an alarm."""
        self._sum += cell.off
        self._squares += squares
        self._n += 1
        self._counts[cell.key] = self._counts.get(cell.key, 0) + 1
        self._errors[cell.key] = cell.spread / cell.n_labels
        if self._n < self.size:
            return
        error = sum(n * n * self._errors[key] for key, n in self._counts.items())
        ratio = (float(self._sum @ self._sum) - error) / max(self._squares, 1e-12)
        if self._waiting is not None:
            self.ratios.append(self._waiting)
        self.start()
        self._waiting = ratio

    @property
    def ratio(self) -> float:
        """Mean ratio so far; 1 for independent samples."""
        return sum(self.ratios) / len(self.ratios) if self.ratios else 1.0


class SceneDriftDetector:
    """Alarms when low p-values or togetherness go on for scenes.

    Parameters
    ----------
    run_length : samples between two false alarms on average, at the least.
    """

    def __init__(self, run_length: float) -> None:
        self.run_length = run_length
        self._chances: npt.NDArray[np.float64] = np.zeros(0)
        self._batches = [_Batches(size) for size in BATCHES]
        self._least_scene = 1.0
        self._group: int | None = None
        self.n_scenes = 0  # since the last alarm
        self.start_anew()

    def start_anew(self, chances: npt.NDArray[np.float64] | None = None) -> None:
        """Forget all evidence; the length of scenes is kept.

        `chances` are values of togetherness by chance, ascending: those of a new model.
        """
        if chances is not None:
            self._chances = chances
        self._sums = [0.0] * N_BETS
        self._together = Togetherness(N_BITS)
        self._mix: deque[tuple[tuple[int, int], int]] = deque(maxlen=MIX)
        self._n_samples = 0
        self._start_scene()
        for batches in self._batches:
            batches.start()

    def _start_scene(self) -> None:
        self._logs = [0.0] * (N_BETS - len(TOGETHER_KAPPAS))
        self._off = np.zeros(N_BITS)
        self._shares: dict[tuple[int, int], float] = {}
        self._errors: dict[tuple[int, int], float] = {}
        self._n_in_scene = 0

    def take(self, answer: Answer, group: int | None = None, *, is_at_rest: bool = True) -> bool:
        """Take the next answered sample; returns whether the alarm rings.

        Parameters
        ----------
        group : the user's number of the scene: a change of it ends a scene.
        is_at_rest : whether nothing is known to have changed: scenes are measured then.
        """
        cell = answer.cell
        is_alarm = False
        if group is not None and self._n_in_scene and group != self._group:
            is_alarm = self._end_scene()
        self._group = group
        self._n_samples += 1
        if cell is not None and cell.n_scores >= LEAST_SCORES:
            self._mix.append((cell.key, cell.n_scores))
            p_value = cell.p_value
        elif answer.n_scores >= LEAST_SCORES:
            self._mix.append(((-1, answer.slot or 0), answer.n_scores))
            p_value = answer.p_value
        else:
            return is_alarm
        for i, bet in enumerate(self._bets(p_value)):
            self._logs[i] += math.log(bet)
        self._n_in_scene += 1
        if cell is not None and cell.n_labels >= LEAST_LABELS:
            self._off += cell.off
            self._shares[cell.key] = self._shares.get(cell.key, 0.0) + 1.0
            self._errors[cell.key] = cell.spread / cell.n_labels
            squares = float(cell.off @ cell.off)
            for batches in self._batches if is_at_rest else ():
                batches.take(cell, squares)
        if group is None and self._n_in_scene >= self.scene_length:
            is_alarm = self._end_scene() or is_alarm
        return is_alarm

    def _bets(self, p_value: float) -> list[float]:
        """Bets on one p-value, raised by the error that finite references give it."""
        counts: dict[tuple[int, int], int] = {}
        for key, _ in self._mix:
            counts[key] = counts.get(key, 0) + 1
        scores = dict(self._mix)
        n = len(self._mix)
        inverse = sum((m / n) ** 2 / scores[key] for key, m in counts.items())
        p = min(p_value + SLACK * math.sqrt(p_value * (1 - p_value) * inverse), 1.0)
        log_p = math.log(max(p, SMALLEST_P))
        low = [kappa * math.exp((kappa - 1) * log_p) for kappa in KAPPAS]
        return low + [max(bulk * (1 - p) ** (bulk - 1), 1e-3) for bulk in BULKS]

    def _end_scene(self) -> bool:
        n = self._n_in_scene
        n_off = sum(self._shares.values())
        together: list[float] = []  # bets that cannot be made gather no evidence
        if n_off:
            shares = {key: share / n_off for key, share in self._shares.items()}
            value = self._together.take(self._off / n_off, shares, self._errors)
            together = self._together_logs(value)
        logs = [each / n for each in self._logs] + together
        for i, log in enumerate(logs):
            self._sums[i] = min((1 + self._sums[i]) * math.exp(log), LARGEST_SUM)
        self._start_scene()
        self.n_scenes += 1
        is_alarm = self._n_samples >= FIRST_SAMPLES and self.evidence >= self.run_length
        if is_alarm:
            self.n_scenes = 0
        return is_alarm

    def _together_logs(self, value: float) -> list[float]:
        n = len(self._chances)
        if n == 0:
            return []
        rank = (n - int(np.searchsorted(self._chances, value, side="left")) + 1) / (n + 1)
        rank = min(rank + SLACK * math.sqrt(rank * (1 - rank) / n), 1.0)
        log_p = math.log(max(rank, SMALLEST_P))
        return [math.log(kappa) + (kappa - 1) * log_p for kappa in TOGETHER_KAPPAS]

    def on_refuted(self) -> None:
        """Labels say that nothing has changed: scenes are longer than they seemed to be."""
        self._least_scene = min(max(2.0, 2.0 * self.scene_length), LONGEST_SCENE)

    @property
    def evidence(self) -> float:
        """Mean of the bets' sums; the alarm rings at the run length."""
        return sum(self._sums) / N_BETS

    @property
    def scene_length(self) -> float:
        """Samples that count as one."""
        highest = max(batches.ratio for batches in self._batches)
        measured = 1.0 + STRETCH * (highest - CHANCE_RATIO)
        return min(max(1.0, measured, self._least_scene), LONGEST_SCENE)

    def to_state(self) -> dict[str, Any]:
        """What is kept over a restart: the length of scenes, JSON-able."""
        return {
            "least_scene": self._least_scene,
            "n_scenes": self.n_scenes,
            "ratios": [list(batches.ratios) for batches in self._batches],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `to_state` gave; `ValueError`, `KeyError` if it does not fit."""
        self._least_scene = min(max(1.0, float(saved["least_scene"])), LONGEST_SCENE)
        self.n_scenes = int(saved["n_scenes"])
        for batches, ratios in zip(self._batches, saved["ratios"], strict=True):
            batches.ratios.extend(float(ratio) for ratio in ratios)
