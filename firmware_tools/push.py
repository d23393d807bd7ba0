"""Bring a model pack to a board: send it, have it tested, run it, confirm it.

Sending resumes where the board stopped, after a pulled cable, a restart of either side, or the
next day. Not here: what is printed (`push_commands`), the pieces
(`edge_runtime.protocol.wire.upload`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge_runtime.errors import EdgeRuntimeError
from edge_runtime.protocol.pack import ModelPack, read_pack
from edge_runtime.protocol.wire.edge_messages import StatusAnswer, StatusRequest
from edge_runtime.protocol.wire.messages import (
    ImageEntry,
    ImageStateAnswer,
    ImageStateRequest,
    ImageUploadRequest,
    ResetAnswer,
    ResetRequest,
    SetImageStateAnswer,
    SetImageStateRequest,
)
from edge_runtime.protocol.wire.smp import Refusal
from edge_runtime.protocol.wire.upload import Upload, UploadState
from firmware_tools.errors import NoLinkError, RefusedError
from firmware_tools.link import Link
from firmware_tools.tables import cell_text

# A self-test may take half a minute, and loading an encoder on a small board as much again.
SWITCH_S: Final = 120.0
POLL_S: Final = 0.5
# Over so many seconds the rate that is shown is an average.
RATE_S: Final = 4.0


class SwitchError(EdgeRuntimeError, RuntimeError):
    """The board did not go on with the pack: what it runs is said in the message."""

    exit_code = 4


@dataclass(frozen=True)
class Meter:
    """How far a transfer is; rates in bytes per second, of what the board has acknowledged."""

    done: int
    total: int
    rate: float
    n_again: int  # messages beyond those that were needed

    @property
    def remaining_s(self) -> float | None:
        """Seconds until it is done at this rate; None while nothing is known."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    def line(self) -> str:
        """As a line of text.

        >>> Meter(50_000, 100_000, 25_000.0, 0).line()
        ' 50.0 %  50.0 of 100.0 kB  25.0 kB/s  2 s left'
        """
        left = self.remaining_s
        left_text = "" if left is None else f"  {left:.0f} s left"
        again = f"  {self.n_again} sent again" if self.n_again else ""
        return (
            f"{100 * self.done / self.total:5.1f} %  {self.done / 1000:.1f} of "
            f"{self.total / 1000:.1f} kB  {self.rate / 1000:.1f} kB/s{left_text}{again}"
        )


class Speedometer:
    """Turns offsets and times into a `Meter`.

    >>> speed = Speedometer(100, 0.0)
    >>> speed.at(0, 0.0).rate, speed.at(50, 2.0).rate
    (0.0, 25.0)
    """

    def __init__(self, total: int, now_s: float) -> None:
        self._total = total
        self._first: int | None = None
        self._points: list[tuple[float, int]] = [(now_s, 0)]

    def at(self, done: int, now_s: float, n_again: int = 0) -> Meter:
        """Where the transfer is; the rate is of the last seconds."""
        if self._first is None:  # what was there before does not count as fast
            self._first, self._points = done, [(self._points[0][0], done)]
        self._points.append((now_s, done))
        while len(self._points) > 2 and now_s - self._points[1][0] > RATE_S:
            del self._points[0]
        start_s, start = self._points[0]
        rate = (done - start) / (now_s - start_s) if now_s > start_s else 0.0
        return Meter(done, self._total, max(0.0, rate), n_again)


def open_pack_bytes(data: bytes) -> ModelPack:
    """The pack that the bytes are; its signature is the board's to check."""
    return read_pack(io.BytesIO(data), None)


def send(
    link: Link, data: bytes, image: int, on_progress: Callable[[Meter], None] = lambda _: None
) -> Upload:
    """Send a pack's bytes; over when the board has them all and their digest is right.

    Raises
    ------
    RefusedError
        The board does not take them; says why, where the board does.
    NoLinkError
        No answer for a minute.
    """
    speed = Speedometer(len(data), link.now_s())
    messages = 0

    def report(upload: Upload) -> None:
        nonlocal messages
        messages += 1
        again = max(0, upload.n_sent - messages - link.window)
        on_progress(speed.at(upload.acknowledged, link.now_s(), again))

    upload = link.upload(data, image, report)
    if upload.state is UploadState.FAILED:
        refusal = upload.refusal or Refusal(0, rsn="the transfer failed")
        if refusal.rsn is not None and refusal.rsn.startswith("no answer"):
            raise NoLinkError(f"{refusal.rsn}: the board keeps what it has, push again to go on")
        raise RefusedError(ImageUploadRequest(0), refusal)
    return upload


def image_state(link: Link) -> tuple[ImageEntry, ...]:
    """The images on the board, active and waiting."""
    return link.ask(ImageStateRequest(), ImageStateAnswer).images


def find(images: tuple[ImageEntry, ...], digest: bytes) -> ImageEntry | None:
    """The entry of one image, active before waiting."""
    fitting = [each for each in images if each.hash == digest]
    return next((each for each in fitting if each.active), next(iter(fitting), None))


def mark(link: Link, digest: bytes) -> tuple[ImageEntry, ...]:
    """Mark a waiting image for test: the next reset runs it, unconfirmed."""
    request = SetImageStateRequest(digest, confirm=False)
    return link.ask(request, SetImageStateAnswer).images


def confirm(link: Link, digest: bytes | None = None) -> tuple[ImageEntry, ...]:
    """Keep what runs now; with a digest, only if that is what runs."""
    if digest is not None:
        entry = find(image_state(link), digest)
        if entry is None or not entry.active:
            raise SwitchError(f"image {digest.hex()[:12]} does not run: nothing was confirmed")
    return link.ask(SetImageStateRequest(confirm=True), SetImageStateAnswer).images


def switch(link: Link, digest: bytes, *, wait_s: float = SWITCH_S) -> ImageEntry:
    """Reset the board and wait until the image that was marked runs, its model loaded.

    Raises
    ------
    SwitchError
        The image failed its self-test, or does not come up in time; the old one runs.
    """
    link.ask(ResetRequest(), ResetAnswer)
    until_s = link.now_s() + wait_s
    was_active = False
    while link.now_s() < until_s:
        link.listen(POLL_S)
        entry = find(image_state(link), digest)
        agent = link.ask(StatusRequest(), StatusAnswer).agent
        if entry is not None and entry.active:
            was_active = True
            if agent.get("worker", "ready") == "ready":
                return entry
        elif was_active or entry is None or not entry.pending:
            reason = last_reason(agent) or "it failed its self-test or was undone"
            raise SwitchError(f"image {digest.hex()[:12]} does not run: {reason}")
    raise SwitchError(f"image {digest.hex()[:12]} does not run after {wait_s:.0f} s")


def last_reason(agent: Mapping[str, Any]) -> str:
    """Why the last attempt of an update ended, as the board's log has it; else nothing."""
    attempts = agent.get("attempts")
    if not isinstance(attempts, list) or not attempts or not isinstance(attempts[-1], Mapping):
        return ""
    return cell_text(attempts[-1].get("reason", ""))


def rollback_target(images: tuple[ImageEntry, ...], image: int | None = None) -> ImageEntry:
    """The image that ran before: waiting, bootable, and not marked for test."""
    waiting = [
        each
        for each in images
        if not each.active and each.hash is not None and image in (None, each.image or 0)
    ]
    if not waiting:
        raise SwitchError("there is no image to go back to")
    return waiting[-1]
