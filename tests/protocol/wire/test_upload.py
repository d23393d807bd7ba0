"""The law of uploads: what each answer makes of the state, and what is sent next."""

from __future__ import annotations

import random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_runtime.protocol.wire.messages import ImageUploadAnswer
from edge_runtime.protocol.wire.smp import HEADER, Rc, Refusal, request_bytes
from edge_runtime.protocol.wire.upload import (
    MAX_STRIKES,
    MIN_MESSAGE_BYTES,
    NO_UPLOAD,
    TABLE,
    Upload,
    UploadState,
)

IMAGE = random.Random(0).randbytes(5000)


def upload_of(image=IMAGE, max_message=512, **options):
    return Upload(image, max_message=max_message, **options)


def started(**options):
    upload = upload_of(**options)
    piece = upload.next_piece(0)
    upload.answered(piece, ImageUploadAnswer(off=piece.end))
    return upload, piece.end


def test_the_first_piece_says_what_comes_and_waits():
    upload = upload_of(number=2, upgrade=True)
    piece = upload.next_piece(0)
    assert piece.request.len == len(IMAGE)
    assert piece.request.sha == upload.sha
    assert (piece.request.image, piece.request.upgrade) == (2, True)
    assert upload.next_piece(1) is None


@pytest.mark.parametrize("max_message", [164, 165, 300, 512, 1024, 4096, 16384, 65000])
def test_no_message_is_longer_than_the_board_takes(max_message):
    upload = upload_of(IMAGE * 40, max_message=max_message)
    off, lengths = 0, []
    while not upload.is_over:
        piece = upload.next_piece(0)
        assert piece.request.off == off
        lengths.append(len(request_bytes(piece.request, 255)))
        off = piece.end
        upload.answered(piece, ImageUploadAnswer(off=off))
    assert max(lengths) <= max_message - 4
    assert all(length >= max_message - 8 for length in lengths[:-1])
    assert upload.state is UploadState.DONE


def test_resumes_where_the_board_says():
    upload = upload_of()
    upload.answered(upload.next_piece(0), ImageUploadAnswer(off=3000))
    assert upload.acknowledged == 3000
    assert upload.next_piece(0).request.off == 3000


def test_an_image_that_is_there_already_is_done_at_once():
    upload = upload_of()
    upload.answered(upload.next_piece(0), ImageUploadAnswer(off=len(IMAGE)))
    assert upload.state is UploadState.DONE


def test_the_window_is_filled_and_no_more():
    upload, _ = started(window=3)
    assert [upload.next_piece(n) is not None for n in range(5)] == [True] * 3 + [False] * 2


def test_a_gap_is_sent_again_once():
    upload, first = started()
    pieces = [upload.next_piece(n) for n in range(4)]
    for piece in pieces[1:3]:  # the first was lost; two answers say so
        upload.answered(piece, ImageUploadAnswer(off=first))
    again = [upload.next_piece(n) for n in range(2)]
    assert [piece.request.off for piece in again] == [first, again[0].end]
    upload.answered(pieces[3], ImageUploadAnswer(off=first))
    assert upload.next_piece(2).request.off == again[1].end
    assert upload.state is UploadState.SENDING


def test_an_answer_acknowledges_all_before_it():
    upload, _ = started()
    pieces = [upload.next_piece(n) for n in range(4)]
    upload.answered(pieces[3], ImageUploadAnswer(off=pieces[3].end))
    assert upload.acknowledged == pieces[3].end
    assert upload.next_piece(0).request.off == pieces[3].end


def test_after_a_timeout_one_piece_asks_and_late_answers_mean_nothing():
    upload, first = started()
    pieces = [upload.next_piece(n) for n in range(4)]
    upload.timed_out()
    assert upload.state is UploadState.PROBING
    probe = upload.next_piece(0)
    assert probe.request.off == first
    assert upload.next_piece(1) is None
    upload.answered(pieces[0], ImageUploadAnswer(off=0))
    assert upload.state is UploadState.PROBING
    upload.answered(probe, ImageUploadAnswer(off=pieces[3].end))  # the board was only slow
    assert upload.next_piece(0).request.off == pieces[3].end


@pytest.mark.parametrize("answer", [NO_UPLOAD, ImageUploadAnswer(off=0)])
def test_a_board_that_forgot_the_upload_is_told_again(answer):
    upload, _ = started()
    upload.answered(upload.next_piece(0), answer)
    assert upload.state is UploadState.STARTING
    assert upload.next_piece(0).request.sha == upload.sha


@pytest.mark.parametrize(
    "answer",
    [
        Refusal(Rc.ACCESS_DENIED),
        NO_UPLOAD,
        ImageUploadAnswer(off=None),
        ImageUploadAnswer(off=len(IMAGE) + 1),
        ImageUploadAnswer(off=-1),
        ImageUploadAnswer(off=0),
        ImageUploadAnswer(off=len(IMAGE), match=False),
    ],
)
def test_a_refusal_is_believed_the_third_time(answer):
    upload = upload_of()
    for _ in range(MAX_STRIKES):
        assert not upload.is_over
        upload.answered(upload.next_piece(0), answer)
    assert upload.state is UploadState.FAILED
    assert upload.refusal is not None
    assert upload.next_piece(0) is None


def test_wrong_digests_are_counted_although_there_is_progress_between():
    upload = upload_of()
    for _ in range(MAX_STRIKES):
        piece = upload.next_piece(0)
        upload.answered(piece, ImageUploadAnswer(off=piece.end))
        upload.answered(upload.next_piece(0), ImageUploadAnswer(off=len(IMAGE), match=False))
    assert upload.state is UploadState.FAILED
    assert upload.refusal.rsn == "digest does not match"


def test_messages_shrink_with_errors_and_grow_again():
    upload, _ = started(image=bytes(2_000_000), max_message=4096)
    assert upload.message_bytes == 4092
    sizes = []
    for _ in range(12):
        upload.next_piece(0)
        upload.timed_out()
        sizes.append(upload.message_bytes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] >= MIN_MESSAGE_BYTES
    assert sizes[-1] < 512
    while upload.message_bytes == sizes[-1] or upload.message_bytes < 512:
        piece = upload.next_piece(0)
        upload.answered(piece, ImageUploadAnswer(off=piece.end))
    assert not upload.is_over


@pytest.mark.parametrize(
    ("image", "options", "match"),
    [
        (b"", {}, "0 bytes"),
        (b"x", {"max_message": 163}, "at least 164"),
        (b"x", {"window": 0}, "window"),
    ],
)
def test_an_upload_that_cannot_be_is_refused(image, options, match):
    with pytest.raises(ValueError, match=match):
        upload_of(image, **options)


def test_every_state_has_its_row_and_ends_are_ends():
    assert set(TABLE) == set(UploadState)
    assert [state for state in UploadState if not TABLE[state]] == [
        UploadState.DONE,
        UploadState.FAILED,
    ]
    assert HEADER.size == 8


class LossyBoard(RuleBasedStateMachine):
    """Whatever is lost, late or forgotten, the board ends with the image and nothing else."""

    def __init__(self):
        super().__init__()
        self.upload = upload_of(max_message=256)
        self.taken = bytearray()
        self.is_known = False
        self.under_way = []

    @precondition(lambda self: len(self.under_way) < 4 and not self.upload.is_over)
    @rule()
    def send(self):
        piece = self.upload.next_piece(len(self.under_way))
        if piece is not None:
            self.under_way.append(piece)

    def _answer(self, piece):
        if piece.request.off == 0:
            self.is_known = True
        if not self.is_known:
            return NO_UPLOAD
        if piece.request.off == len(self.taken):
            self.taken += piece.request.data
        return ImageUploadAnswer(off=len(self.taken))

    @precondition(lambda self: self.under_way)
    @rule(answer_arrives=st.booleans())
    def arrive(self, answer_arrives):
        piece = self.under_way.pop(0)
        answer = self._answer(piece)
        if answer_arrives:
            self.upload.answered(piece, answer)

    @precondition(lambda self: self.under_way)
    @rule()
    def lose(self):
        self.under_way.pop(0)

    @rule()
    def time_out(self):
        self.under_way.clear()
        self.upload.timed_out()

    @rule()
    def pull(self):
        self.under_way.clear()
        self.upload.restart()

    @rule(n_kept=st.integers(0, 5000))
    def cut_power(self, n_kept):
        """What was not synced is gone."""
        del self.taken[n_kept:]
        self.is_known = False

    @invariant()
    def the_board_has_a_part_of_the_image(self):
        assert IMAGE.startswith(bytes(self.taken))
        assert self.upload.state is not UploadState.FAILED

    def teardown(self):
        for _ in range(1000):
            if self.upload.is_over:
                break
            self.send()
            if self.under_way:
                self.arrive(answer_arrives=True)
        assert self.upload.state is UploadState.DONE


TestLossyBoard = LossyBoard.TestCase
