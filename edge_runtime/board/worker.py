"""The process that holds the encoder: it may crash, hang or eat, and the agent goes on serving.

    python -m edge_runtime.board.worker FD      FD: a socket to the agent, values as in `channel`

The agent sends an order, then commands; the worker says ``ready``, then answers, news, and a beat
each second that shows that its loop turns. It bounds its own memory, and dies with the agent. One
thread reads the stream, one the socket; an `inbox` brings both to the loop, which alone touches the
runtime.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edge_runtime.board.channel import Channel, ChannelError
from edge_runtime.board.health import throttling
from edge_runtime.board.inbox import URGENT, Inbox
from edge_runtime.board.profiles import DEFAULT, PROFILES, release_memory
from edge_runtime.board.selftest import Places
from edge_runtime.board.wear import BYTES_PER_HOUR, SAVE_S

BEAT_S: Final = 1.0
NEWS_S: Final = 0.1
_PR_SET_PDEATHSIG: Final = 1


# With the self-test's bound, the old pack is back within 30 s of whatever a new one does.
START_S: Final = 25.0


@dataclass(frozen=True)
class Order:
    """What the worker is to run.

    Attributes
    ----------
    carry_from
        Directory of learned state to take over, on the first start of a deployment.
    set_aside
        Learned state that cannot be read is kept aside, and the worker starts without it.
    save_s, write_bytes
        See `wear.SavePlan`.
    profile
        Name of one of `profiles.PROFILES`.
    start_s
        Time it has to start; some accelerators compile the model then.
    stream, interval_s, repeat, live
        Where samples come from, the least time between two, whether to begin anew, and whether
        what waits too long is dropped whatever the source.
    """

    places: Places
    shared: str
    carry_from: str | None = None
    set_aside: bool = False
    stream: str = "none"
    interval_s: float = 0.0
    repeat: bool = False
    live: bool = False
    memory_bytes: int = 0
    capture_bytes: int = 0
    save_s: float = SAVE_S
    write_bytes: int = BYTES_PER_HOUR
    profile: str = DEFAULT
    start_s: float = START_S


def die_with_parent() -> None:
    """Ask Linux to kill this process when the agent is gone, however it went."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_memory(limit: int) -> None:
    """Bound this process's address space; 0 leaves it as it is."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if limit and (hard == resource.RLIM_INFINITY or limit < hard):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    """Serve the agent at the other end of the socket until it is gone or says stop."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the agent says when to stop
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    inbox = Inbox()
    threading.Thread(target=_read_channel, args=(channel, inbox), daemon=True).start()
    _, fields = inbox.get(timeout_s=60.0) or ("command", {"do": "gone"})
    if fields.get("do") == "gone":
        return 0
    order = Order(**{**fields, "places": Places(**fields["places"])})
    limit_memory(order.memory_bytes)
    from edge_runtime.errors import EdgeRuntimeError

    try:
        return _serve(order, channel, inbox)
    except (EdgeRuntimeError, OSError, MemoryError) as error:
        text = str(error) or type(error).__name__
        with contextlib.suppress(ChannelError):
            _send(channel, {"say": "failed", "reason": text[:300]})
        return 1


def _read_channel(channel: Channel, inbox: Inbox) -> None:
    """Thread: commands, until the agent is gone."""
    try:
        while True:
            select.select([channel], [], [])
            for value in channel.receive():
                inbox.put_command(value)
    except (ChannelError, OSError, ValueError):
        inbox.put_command({"do": "gone"})


def read_stream(samples: Iterator[Any], interval_s: float, inbox: Inbox) -> None:
    """Thread: samples, no faster than they are asked for."""
    next_s = time.monotonic()
    try:
        for sample in samples:
            inbox.put_sample(sample)
            next_s = max(next_s + interval_s, time.monotonic())
            time.sleep(max(0.0, next_s - time.monotonic()))
        inbox.end_samples("")
    except Exception as error:  # a source may raise anything; the runtime goes on without it
        inbox.end_samples(f"{type(error).__name__}: {error}")


def _serve(order: Order, channel: Channel, inbox: Inbox) -> int:
    from edge_runtime.board.deploying import open_deployment, place_of
    from edge_runtime.board.files import Files
    from edge_runtime.board.service import RuntimeService, ServiceSettings
    from edge_runtime.board.streams import is_live, open_stream
    from edge_runtime.inputs.encoders.accelerators import AcceleratorWarning

    profile = PROFILES[order.profile]
    trouble = profile.apply()
    carry_from = None if order.carry_from is None else Path(order.carry_from)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", AcceleratorWarning)
        runtime, learned = open_deployment(
            place_of(asdict(order.places)),
            carry_from=carry_from,
            set_aside=order.set_aside,
            lean=profile.lean,
            background=True,
        )
    release_memory()  # of what was needed to open it
    settings = ServiceSettings(order.save_s, order.capture_bytes, order.write_bytes)
    shared = Files(Path(order.shared))
    service = RuntimeService(runtime, Path(order.places.learned), shared, settings)
    if trouble:
        service.say("profile", trouble)
    for each in said:
        if issubclass(each.category, AcceleratorWarning):
            service.say("accelerator", str(each.message))
    samples = open_stream(order.stream, repeat=order.repeat)
    inbox.is_live, service.load = order.live or is_live(order.stream), inbox.status
    _send(channel, {"say": "ready", "learned": learned, "status": service.status()})
    if samples is not None:
        service.stream = "running"
        arguments = (samples, order.interval_s, inbox)
        threading.Thread(target=read_stream, args=arguments, daemon=True).start()
    return _loop(service, channel, inbox)


def _loop(service: Any, channel: Channel, inbox: Inbox) -> int:
    """Until the agent is gone or says stop; what was learned is saved then."""
    beat_s = news_s = 0.0
    while True:
        got = inbox.get(timeout_s=NEWS_S)
        now_s = time.monotonic()
        if got is not None:
            kind, item = got
            if kind == "command" and item.get("do") in URGENT:
                return _stop(service, channel, now_s)
            _take(service, channel, kind, item, now_s)
        service.tend(now_s)
        if now_s >= news_s:
            news_s = now_s + NEWS_S
            news = service.news()
            if any(news[name] for name in ("events", "rows", "wanted", "settled")):
                _send(channel, {"say": "news", **news})
        if now_s >= beat_s:
            beat_s = now_s + BEAT_S
            inbox.is_throttled = bool(throttling())
            _send(channel, {"say": "beat", "status": service.status()})


def _take(service: Any, channel: Channel, kind: str, item: Any, now_s: float) -> None:
    if kind == "sample":
        service.take(item, now_s, time.monotonic)
    elif kind == "command":
        answer = service.do(item, now_s)
        _send(channel, {"say": "answer", "ticket": item.get("ticket"), "value": answer})
    else:
        service.stream = f"failed: {item}" if item else "ended"
        service.say("stream", f"the stream has {service.stream}")


def _stop(service: Any, channel: Channel, now_s: float) -> int:
    answer = service.do({"do": "save"}, now_s)
    with contextlib.suppress(ChannelError):
        _send(channel, {"say": "stopped", "value": answer})
    return 0


def _send(channel: Channel, value: Mapping[str, Any]) -> None:
    """Send all of it: the agent reads whenever it can, and is waited for."""
    channel.send(value)
    while channel.has_unsent:
        select.select([], [channel], [], 1.0)
        channel.flush()


if __name__ == "__main__":
    status = main()
    # A thread may wait in a read for ever, and an inference library may not end well.
    sys.stdout.flush()
    os._exit(status)
