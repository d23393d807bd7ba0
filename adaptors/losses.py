"""Local losses: how far a layer's output is from the code of the true label, and which way to go.

Pure functions of one layer's output ``h`` (n_samples, n_units), the codes of all classes
(n_classes, n_units), and labels ``y`` (n_samples,). Each is scaled to the curvature of l2, or to a
derivative of order one where it has none, so that one range of learning rates serves all of them.
The softmax of the output layer is here too; no weights are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@runtime_checkable
class LocalLoss(Protocol):
    """What a layer asks of a loss; an object of your own with these two methods will do.

    One that only looks at ``codes[y]`` may say so by an attribute ``needs_all_codes = False``: it
    then also serves regression, which has a target for each sample but no classes.
    """

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return the loss of each sample, (n_samples,); lower is better."""
        ...

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return its derivative with respect to ``h``, shaped like ``h``."""
        ...


class L2:
    """Half the squared distance to the code: tpSGD-l2 (arXiv 2208.08503).

    >>> import numpy as np
    >>> codes = np.array([[0.9, -0.9]], dtype=np.float32)
    >>> L2().delta(np.zeros((1, 2), dtype=np.float32), codes, np.array([0])).tolist()[0][0] < 0
    True
    """

    needs_all_codes: Final = False

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``|h - t|^2 / 2`` of each sample."""
        half: Array = np.square(h - codes[y]).sum(axis=1) / 2
        return half

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``h - t``."""
        return h - codes[y]


class L1:
    """Distance to the code, unit by unit: tpSGD-l1; every unit steps by its sign alone."""

    needs_all_codes: Final = False

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``|h - t|_1`` of each sample."""
        distance: Array = np.abs(h - codes[y]).sum(axis=1)
        return distance

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``sign(h - t)``."""
        sign: Array = np.sign(h - codes[y])
        return sign


class Huber:
    """The l2 loss up to `THRESHOLD` from the code, beyond it the distance alone (Huber 1964).

    A unit far from its code pulls no harder than one at the threshold: between l2 and l1.
    """

    needs_all_codes: Final = False
    THRESHOLD: Final = np.float32(0.5)

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``sum min(e, c) (e - min(e, c) / 2)`` of each sample, ``e = |h - t|``."""
        error = np.abs(h - codes[y])
        near = np.minimum(error, self.THRESHOLD)
        result: Array = (near * (error - near / 2)).sum(axis=1)
        return result

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``h - t``, clipped at the threshold."""
        pull: Array = np.clip(h - codes[y], -self.THRESHOLD, self.THRESHOLD)
        return pull


class Cosine:
    """The angle between output and code: ``|t|^2 (1 - cos(h, t))``.

    Near the code it is the l2 loss without its part along the code; the length of the output is
    free. A root mean square of `FLOOR` per unit is added to that length, so that an output of
    zero has a derivative too.
    """

    needs_all_codes: Final = False
    FLOOR: Final = np.float32(0.1)

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``|t|^2 - |t| (h . t) / |h|`` of each sample."""
        along, length, size, _ = self._parts(h, codes, y)
        result: Array = (size * (size - along / length))[:, 0]
        return result

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``|t| / |h|`` times the part of ``-t`` across ``h``."""
        along, length, size, t = self._parts(h, codes, y)
        return (h * (along / length**2) - t) * (size / length)

    def _parts(self, h: Array, codes: Array, y: Labels) -> tuple[Array, Array, Array, Array]:
        t = codes[y]
        along = (h * t).sum(axis=1, keepdims=True)
        floor = self.FLOOR**2 * h.shape[1]
        length = np.sqrt(np.square(h).sum(axis=1, keepdims=True) + floor)
        return along, length, np.linalg.norm(t, axis=1, keepdims=True), t


class BinaryCrossEntropy:
    """Cross-entropy of every unit with its bit of the code, for activations with a bounded range.

    Output and code are mapped from the range of the activation to (0, 1); a code inside the range
    becomes a bit with label smoothing. The range is (0, 1) where no code is negative (sigmoid),
    else (-1, 1) (tanh). There the derivative cancels the slope of the activation, so that a
    saturated unit is not stuck; nearer to an end of the range than `MARGIN` it does so no more.
    """

    needs_all_codes: Final = False
    MARGIN: Final = np.float32(0.01)

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return the sum over units of ``-t log p - (1 - t) log(1 - p)``, p and t within (0, 1)."""
        p, t, _ = self._mapped(h, codes, y)
        inside = np.clip(p, self.MARGIN, 1 - self.MARGIN)
        bits = -t * np.log(inside) - (1 - t) * np.log1p(-inside)
        # Beyond the margin the loss goes on as a parabola.
        beyond = (p - inside) * ((p + inside) / 2 - t) / (inside * (1 - inside))
        result: Array = (bits + beyond).sum(axis=1)
        return result

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``(p - t) / (p (1 - p))`` of each unit, over the width of the range."""
        p, t, width = self._mapped(h, codes, y)
        inside = np.clip(p, self.MARGIN, 1 - self.MARGIN)
        return (p - t) / (inside * (1 - inside) * width)

    def _mapped(self, h: Array, codes: Array, y: Labels) -> tuple[Array, Array, np.float32]:
        low = np.float32(0.0 if codes.min() >= 0 else -1.0)
        width = np.float32(1.0) - low
        return (h - low) / width, (codes[y] - low) / width, width


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of the similarities to all codes, times the temperature.

    ``p = softmax(codes h / tau)`` with ``tau = sqrt(n_units) / sharpness``, after the detached
    layers of DCL-S (ICLR 2024). The factor tau leaves a derivative of order one, as the other
    losses have. The sharper, the sooner a sample that is told apart stops pulling its class
    together, which many samples and epochs have use for.
    """

    sharpness: float = 1.0
    needs_all_codes: ClassVar[bool] = True

    def temperature(self, n_units: int) -> np.float32:
        """Return tau for a layer of so many units."""
        return np.float32(np.sqrt(n_units) / self.sharpness)

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``-tau log p(true label)`` of each sample."""
        tau = self.temperature(h.shape[1])
        logits = h @ codes.T / tau
        top = logits.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        result: Array = tau * (total - logits[np.arange(len(y)), y])
        return result

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``(p - one-hot) codes``."""
        return output_delta(h @ codes.T / self.temperature(h.shape[1]), y) @ codes


LOSSES: Final[dict[str, LocalLoss]] = {
    "l2": L2(),
    "l1": L1(),
    "huber": Huber(),
    "cosine": Cosine(),
    "binary_cross_entropy": BinaryCrossEntropy(),
    "cross_entropy": CrossEntropy(),
    "sharp_cross_entropy": CrossEntropy(3.0),  # the best of 0.3 to 30 on held-out letters
}


def local_loss(loss: Any) -> LocalLoss:
    """Return the loss of that name, or the object itself where it is a loss of your own."""
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if isinstance(loss, str) or not isinstance(loss, LocalLoss):
        raise ValueError(
            f"loss is {loss!r}, expected one of {sorted(LOSSES)} or an object with the methods "
            "value and delta."
        )
    return loss


def softmax(z: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return probabilities along the last axis, of the dtype of ``z``; large logits are safe."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    result: npt.NDArray[Any] = e / e.sum(axis=-1, keepdims=True)
    return result


def output_delta(logits: Array, y: Labels) -> Array:
    """Return ``softmax(logits) - one-hot``: the delta rule of the output layer."""
    delta = softmax(logits)
    delta[np.arange(len(y)), y] -= 1
    return delta
