"""Which samples to request labels of: the runtime's rule beside others, at the same budget.

Streams, rows and budget are those of `benchmarks.ablation`, requested labels alone: at most ten of
each class and domain. Another rule stands in the place of the runtime's for a run; when requests
start and end stays the runtime's own. A measure requests a sample that is in the upper half of the
last answers by it. The margin is the difference between the probabilities of the two best classes.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import ablation
from benchmarks.ablation import EVERYTHING, Mechanism
from benchmarks.options import Options, from_arguments, parser
from benchmarks.reporting import Report
from edge_runtime.policy.policy import Policy
from edge_runtime.policy.requests import LabelRequests

WINDOW = 50  # answers that a sample is compared with
_request = Policy._request


def _all_that_come(requests: LabelRequests, *_: Any) -> bool:
    return requests.has_room


class _Ranked:
    """Requests what is in the upper half of the last answers by a measure."""

    def __init__(self, measure: Callable[[Any], float]) -> None:
        self._measure = measure

    def __get__(self, policy: Policy, _: type) -> Callable[..., Any]:
        def request(sample_id: int, answer: Any, *rest: Any) -> Any:
            recent = policy.__dict__.setdefault("_measured", deque(maxlen=WINDOW))
            value = self._measure(answer)
            is_upper = not recent or value >= float(np.median(recent))
            recent.append(value)
            return _request(policy, sample_id, answer, *rest) if is_upper else []

        return request


def _margin(answer: Any) -> float:
    best = np.sort(answer.probabilities)[::-1]
    return float(best[1] - best[0]) if len(best) > 1 else 0.0


def _entropy(answer: Any) -> float:
    p = np.maximum(answer.probabilities, 1e-12)
    return float(-(p * np.log(p)).sum())


def _by(name: str, measure: Callable[[Any], float]) -> Mechanism:
    replaced = (
        (Policy, "_request", _Ranked(measure)),
        (LabelRequests, "would_help", _all_that_come),
    )
    return Mechanism(name, replaced=replaced)


STRATEGIES = (
    Mechanism(EVERYTHING),
    Mechanism(
        "all that come, until a class is full",
        replaced=((LabelRequests, "would_help", _all_that_come),),
    ),
    _by("smallest margin", _margin),
    _by("highest entropy", _entropy),
    _by("furthest out of distribution", lambda answer: float(answer.ood_score)),
)


def run(options: Options, names: Sequence[str] = ()) -> Report | None:
    """Return the table of all strategies; None where no stream has its data."""
    records = ablation.compare(options, names, STRATEGIES, requested_only=True)
    if not records:
        return None
    found = ablation.report(records, options)
    return Report(
        "query_strategies",
        "Which labels to request",
        found.protocol.replace("with one mechanism off", "with another rule for requests"),
        found.columns,
        found.rows,
        records,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line names."""
    arguments = parser(__doc__)
    arguments.add_argument("--streams", nargs="*", choices=tuple(ablation.STREAMS), default=[])
    parsed = arguments.parse_args(argv)
    options = from_arguments(parsed)
    found = run(options, parsed.streams)
    if found is not None:
        found.publish(options.out, record=options.record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
