"""`Conv1d` and `Conv2d`: what a user writes down of a convolution; `ConvLayer` is what learns.

Samples are (length, channels) or (height, width, channels), channels last. The order is
convolution, activation, pooling. A 1-D convolution is a 2-D one of height 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from adaptors.conv_layer import Convolution


@dataclass(frozen=True)
class Conv1d(Convolution):
    """A convolution over samples (length, channels); parameters as of `Conv2d`, one size each.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv1d(8, kernel=5, pool="max").build((28, 3), np.random.default_rng(0))
    >>> layer.output_shape
    (12, 8)
    """

    _kind = "conv1d"
    _rank = 1


@dataclass(frozen=True)
class Conv2d(Convolution):
    """A convolution over samples (height, width, channels), channels last.

    Parameters
    ----------
    n_channels
        Number of filters; for a depthwise convolution, that of the input.
    kernel, stride, padding
        One number or (height, width). Padding is with zeros, on all sides alike.
    activation
        "tanh", "hard_tanh", "sigmoid", "relu" or "linear".
    pool, pool_size
        "max", "average" or None, of the activations in windows that do not overlap; what does not
        fill a window is dropped.
    depthwise
        Whether each channel is filtered alone.
    target
        "channel": a code entry for each channel, the same at all positions. A loss that compares
        classes (cross-entropy) sees the mean over positions. "grid": an entry for each channel and
        each region of a 4 x 4 grid laid over the pooled map; the loss sees the means of regions.
        "map": an entry for each channel and position, before pooling. Codes of grids and maps are
        made from the seed when needed.
    normalise
        Whether each sample is given mean 0 and variance 1 before it enters (layer normalisation).

    Notes
    -----
    Filters shared by all positions cannot reach a code everywhere, and targets of distance (l2, l1)
    leave them no better than random ones. What beats random filters is "cross_entropy" with
    ``target="grid"``, "relu", ``normalise=True`` and a network that whitens; see the rows of the
    small CNN in ``benchmarks/results/local_learning.md``. Compare with a hidden learning rate of 0.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(16, kernel=3, pool="max").build((28, 28, 1), np.random.default_rng(0))
    >>> layer.output_shape
    (13, 13, 16)
    """

    _kind = "conv2d"
    _rank = 2
