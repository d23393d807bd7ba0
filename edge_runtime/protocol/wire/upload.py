"""One image on its way to a board: which piece to send next, and what an answer means.

The board answers every piece with the offset that it wants next, whatever the piece was. So an
answer acknowledges all before its offset, and one that wants less than its piece says that
something before was lost. Nothing here is timed or framed; `session.Client` does that.

State      progress  gap      timeout   restart   complete  mismatch  refused
STARTING   SENDING   -        STARTING  STARTING  DONE      STARTING  FAILED
SENDING    SENDING   SENDING  PROBING   STARTING  DONE      STARTING  FAILED
PROBING    SENDING   SENDING  PROBING   STARTING  DONE      STARTING  FAILED

STARTING sends offset 0 with length and digest, and waits: the answer says where to resume.
SENDING keeps the window full. PROBING has one piece on its way, for the board may only be slow.
A restart follows a new connection, or a board that knows nothing of the upload.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from edge_runtime.protocol.wire.messages import ImageUploadAnswer, ImageUploadRequest
from edge_runtime.protocol.wire.smp import Group, Refusal, request_bytes

# Zephyr's FLASH_CONTEXT_NOT_SET: a piece that is not the first came while no upload is going on.
NO_UPLOAD: Final = Refusal(17, Group.IMAGE)
# The first piece carries 80 bytes of its own; smaller ones are mostly overhead.
MIN_MESSAGE_BYTES: Final = 160
# The framing's length and check sum share the board's buffer with the message.
FRAMING_BYTES: Final = 4
# Header, keys, framing: what a message costs however small it is.
_OVERHEAD_BYTES: Final = 40
# Losses count less and less as so many bytes go by, and one early loss is not taken for many.
_MEMORY_BYTES: Final = 2**19
_PRIOR_BYTES: Final = 2**15
# Refusals in a row without progress, or wrong digests, after which an upload has failed.
MAX_STRIKES: Final = 3


class UploadState(Enum):
    """Where an upload is; see the table at the top of the file."""

    STARTING = "starting"
    SENDING = "sending"
    PROBING = "probing"
    DONE = "done"
    FAILED = "failed"


class _Event(Enum):
    PROGRESS = "progress"
    GAP = "gap"
    TIMEOUT = "timeout"
    RESTART = "restart"
    COMPLETE = "complete"
    MISMATCH = "mismatch"
    REFUSED = "refused"


_ALWAYS: Final = {
    _Event.PROGRESS: UploadState.SENDING,
    _Event.RESTART: UploadState.STARTING,
    _Event.COMPLETE: UploadState.DONE,
    _Event.MISMATCH: UploadState.STARTING,
    _Event.REFUSED: UploadState.FAILED,
}
TABLE: Final[dict[UploadState, dict[_Event, UploadState]]] = {
    UploadState.STARTING: {**_ALWAYS, _Event.TIMEOUT: UploadState.STARTING},
    UploadState.SENDING: {
        **_ALWAYS,
        _Event.GAP: UploadState.SENDING,
        _Event.TIMEOUT: UploadState.PROBING,
    },
    UploadState.PROBING: {
        **_ALWAYS,
        _Event.GAP: UploadState.SENDING,
        _Event.TIMEOUT: UploadState.PROBING,
    },
    UploadState.DONE: {},
    UploadState.FAILED: {},
}


@dataclass(frozen=True)
class Piece:
    """One request of an upload, and what is needed to understand its answer."""

    request: ImageUploadRequest
    end: int
    number: int
    epoch: int


class Upload:
    """The pieces of one image, in order, again where they were lost.

    `max_message` is the board's ``buf_size``; messages grow smaller than that while errors are
    seen. `number` is the image number, `upgrade` asks for a higher version only.
    """

    def __init__(
        self,
        image: bytes,
        *,
        number: int = 0,
        max_message: int,
        window: int = 4,
        upgrade: bool | None = None,
    ) -> None:
        if not image:
            raise ValueError("image of 0 bytes, expected at least one")
        if max_message < MIN_MESSAGE_BYTES + FRAMING_BYTES:
            least = MIN_MESSAGE_BYTES + FRAMING_BYTES
            raise ValueError(f"messages of {max_message} bytes, expected at least {least}")
        if window < 1:
            raise ValueError(f"window is {window}, expected at least 1")
        self.image = image
        self.sha = hashlib.sha256(image).digest()
        self.window = window
        self.state = UploadState.STARTING
        self.acknowledged = 0
        self.refusal: Refusal | None = None
        self.n_sent = 0
        self._number, self._upgrade = number, upgrade
        self._max_message = max_message - FRAMING_BYTES
        self._next = 0
        self._epoch = 0  # answers to pieces of an older one mean nothing any more
        self._rewound_at = 0  # pieces before this number cannot show a new gap
        self._strikes = self._n_mismatches = self._n_timeouts = 0
        self._lost, self._sent_bytes = 0.0, float(_PRIOR_BYTES)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to send: done, or failed."""
        return not TABLE[self.state]

    @property
    def message_bytes(self) -> int:
        """The size of message that wastes least at the losses seen.

        A message of m bytes wastes its overhead h, and with probability m p the window w m that
        was on its way: h / m + w p m is least at m = sqrt(h / (w p)). While no answer comes at all,
        each piece is half as long as the one before; that a cable is out says nothing of noise.
        """
        best = self._max_message
        if self._lost:
            waste = _OVERHEAD_BYTES * self._sent_bytes / (self.window * self._lost)
            best = min(best, int(math.sqrt(waste)))
        return max(MIN_MESSAGE_BYTES, best >> self._n_timeouts)

    def next_piece(self, n_under_way: int) -> Piece | None:
        """The next piece to send, if there is one while `n_under_way` wait for their answers."""
        window = self.window if self.state is UploadState.SENDING else 1
        if self.is_over or n_under_way >= window:
            return None
        if self.state is UploadState.STARTING:
            self._next = 0
        elif self._next >= len(self.image):
            return None
        request = self._request(self._next)
        self._next += len(request.data)
        piece = Piece(request, self._next, self.n_sent, self._epoch)
        self.n_sent += 1
        self._count(len(request.data))
        return piece

    def answered(self, piece: Piece, answer: ImageUploadAnswer | Refusal) -> None:
        """Take the answer to `piece`."""
        if piece.epoch != self._epoch or self.is_over:
            return
        self._n_timeouts = 0
        if isinstance(answer, Refusal):
            self._refused(answer)
        elif answer.off is None or not 0 <= answer.off <= len(self.image):
            self._refused(Refusal(answer.off or 0, rsn=f"board wants offset {answer.off}"))
        elif answer.off == len(self.image):
            self._complete(matches=answer.match is not False)
        elif self.state is UploadState.STARTING:
            self._resume(answer.off)
        else:
            self._take_offset(piece, answer.off)

    def timed_out(self) -> None:
        """No answer came in time: all that was on its way counts as lost until one does."""
        if self.is_over:
            return
        if not self._n_timeouts:
            self._lost += 1
        self._n_timeouts = min(self._n_timeouts + 1, 16)
        self._rewind(_Event.TIMEOUT)

    def restart(self) -> None:
        """The connection is a new one: ask the board where to go on."""
        if not self.is_over:
            self._rewind(_Event.RESTART)

    def give_up(self, reason: str) -> None:
        """End the upload as failed."""
        if not self.is_over:
            self.refusal = Refusal(0, rsn=reason)
            self._go(_Event.REFUSED)

    def _request(self, off: int) -> ImageUploadRequest:
        empty = ImageUploadRequest(off)
        if off == 0:
            empty = replace(
                empty,
                len=len(self.image),
                sha=self.sha,
                image=self._number,
                upgrade=self._upgrade,
            )
        # Two bytes more than for an empty string announce up to 64 KiB.
        room = self.message_bytes - len(request_bytes(empty, 0)) - 2
        return replace(empty, data=self.image[off : off + room])

    def _resume(self, off: int) -> None:
        if off == 0:  # the board took nothing of the first piece
            return self._refused(Refusal(0, rsn="board stays at offset 0"))
        self.acknowledged = self._next = off
        self._rewound_at = self.n_sent
        return self._go(_Event.PROGRESS)

    def _take_offset(self, piece: Piece, off: int) -> None:
        if off < self.acknowledged:
            return self._rewind(_Event.RESTART)
        if off > self.acknowledged:
            self.acknowledged, self._strikes = off, 0
        self._next = max(self._next, off)
        if off >= piece.end:
            return self._go(_Event.PROGRESS)
        if piece.number >= self._rewound_at:
            self._next, self._rewound_at = off, self.n_sent
            self._lost += 1
        return self._go(_Event.GAP)

    def _complete(self, *, matches: bool) -> None:
        if matches:
            self.acknowledged = len(self.image)
            return self._go(_Event.COMPLETE)
        self._n_mismatches += 1
        self.refusal = Refusal(0, rsn="digest does not match")
        if self._n_mismatches >= MAX_STRIKES:
            return self._go(_Event.REFUSED)
        return self._rewind(_Event.MISMATCH)

    def _refused(self, refusal: Refusal) -> None:
        if refusal == NO_UPLOAD and self.state is not UploadState.STARTING:
            return self._rewind(_Event.RESTART)
        # It may be of a message damaged beyond its check sum: the third one is believed.
        self._strikes += 1
        self.refusal = refusal
        if self._strikes >= MAX_STRIKES:
            return self._go(_Event.REFUSED)
        return self._rewind(_Event.RESTART)

    def _rewind(self, event: _Event) -> None:
        self._epoch += 1
        self._next, self._rewound_at = self.acknowledged, self.n_sent
        if event is not _Event.TIMEOUT:
            self.acknowledged = 0
        self._go(event)

    def _go(self, event: _Event) -> None:
        self.state = TABLE[self.state][event]

    def _count(self, n_bytes: int) -> None:
        self._sent_bytes += n_bytes
        if self._sent_bytes > _MEMORY_BYTES:
            self._sent_bytes /= 2
            self._lost /= 2
