"""Local losses: how far a layer's output is from the code of the true label, and which way to go.

Pure functions of one layer's output ``h`` (n_samples, n_units), the codes of all classes
(n_classes, n_units), and labels ``y`` (n_samples,). Their scale is such that one learning rate
serves all of them. The softmax of the output layer is here too; no weights are.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@runtime_checkable
class LocalLoss(Protocol):
    """What a layer asks of a loss; an object of your own with these two methods will do."""

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

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``|h - t|^2 / 2`` of each sample."""
        half: Array = np.square(h - codes[y]).sum(axis=1) / 2
        return half

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``h - t``."""
        return h - codes[y]


class L1:
    """Distance to the code, unit by unit: tpSGD-l1; every unit steps by its sign alone."""

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``|h - t|_1`` of each sample."""
        distance: Array = np.abs(h - codes[y]).sum(axis=1)
        return distance

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``sign(h - t)``."""
        sign: Array = np.sign(h - codes[y])
        return sign


class CrossEntropy:
    """Cross-entropy of the similarities to all codes, times the temperature.

    ``p = softmax(codes h / tau)`` with ``tau = sqrt(n_units)``, after the detached layers of
    DCL-S (ICLR 2024). The factor tau leaves a derivative of order one, as the other losses have.
    """

    def value(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``-tau log p(true label)`` of each sample."""
        tau = np.sqrt(np.float32(h.shape[1]))
        logits = h @ codes.T / tau
        top = logits.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
        result: Array = tau * (total - logits[np.arange(len(y)), y])
        return result

    def delta(self, h: Array, codes: Array, y: Labels) -> Array:
        """Return ``(p - one-hot) codes``."""
        tau = np.sqrt(np.float32(h.shape[1]))
        return output_delta(h @ codes.T / tau, y) @ codes


LOSSES: Final[dict[str, LocalLoss]] = {"l2": L2(), "l1": L1(), "cross_entropy": CrossEntropy()}


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
