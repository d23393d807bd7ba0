"""Both ends of a conversation: asked once, carried out once, answered once."""

from __future__ import annotations

import pytest

from edge_runtime.protocol.wire.client import MAX_QUEUED, STALL_S, Answered, Client, GaveUp
from edge_runtime.protocol.wire.edge_messages import (
    AuthoriseAnswer,
    AuthoriseRequest,
    EventsRequest,
    LabelEntry,
    LabelsAnswer,
    LabelsRequest,
)
from edge_runtime.protocol.wire.framing import FrameError, Framing, Text, encode
from edge_runtime.protocol.wire.messages import (
    EchoAnswer,
    EchoRequest,
    FileAnswer,
    FileRequest,
    ParametersRequest,
    ResetRequest,
)
from edge_runtime.protocol.wire.receiver import Receiver
from edge_runtime.protocol.wire.server import MAX_OPEN, MAX_REMEMBERED, MAX_UNSENT, Asked, Server
from edge_runtime.protocol.wire.session import IDLE_S, MAX_TRIES, REPEAT_S
from edge_runtime.protocol.wire.smp import Rc, Refusal, parse_answer, request_bytes
from edge_runtime.protocol.wire.upload import Upload, UploadState
from firmware_tools.line import Cable, Noise
from tests.protocol.wire.conversation import Conversation

BOTH = pytest.mark.parametrize("framing", list(Framing))


def asked_of(events):
    return [event for event in events if isinstance(event, Asked)]


def answers_in(data):
    frames = Receiver(max_message=4096).feed(data)
    return [(frame.framing, *parse_answer(frame.message)) for frame in frames]


@BOTH
def test_requests_are_answered_in_order_and_in_the_framing_of_the_request(framing):
    talk = Conversation(framing=framing)
    tickets = [talk.client.request(EchoRequest(str(i))) for i in range(MAX_QUEUED)]
    talk.run()
    assert [(e.ticket, e.answer) for e in talk.events] == [
        (ticket, EchoAnswer(str(i))) for i, ticket in enumerate(tickets)
    ]
    assert talk.client.n_sent == len(tickets)
    assert talk.board.server.framing is framing


def test_each_request_is_answered_in_its_own_framing():
    server = Server(max_message=512)
    for sequence, framing in enumerate([Framing.COBS, Framing.CONSOLE, Framing.COBS]):
        data = encode(request_bytes(EchoRequest("x"), sequence), framing)
        (asked,) = server.receive(data, 0.0)
        server.answer(asked, EchoAnswer("x"), 0.0)
        ((answered_in, header, answer),) = answers_in(server.send())
        assert (answered_in, header.sequence, answer) == (framing, sequence, EchoAnswer("x"))


def test_sequence_numbers_wrap_and_never_meet():
    talk = Conversation()
    for i in range(600):
        talk.client.request(EchoRequest(str(i)))
        talk.run()
    assert talk.answers() == [EchoAnswer(str(i)) for i in range(600)]


@BOTH
@pytest.mark.parametrize("seed", range(5))
def test_every_request_is_carried_out_once_however_bad_the_line(framing, seed):
    cable = Cable(baud=115200, noise=Noise(rate=2e-3), seed=seed)
    talk = Conversation(baud=115200, framing=framing, cable=cable)
    for _ in range(100):
        talk.client.request(ResetRequest())
    talk.run()
    assert len(talk.answers()) == 100
    assert talk.board.carried_out["ResetRequest"] == 100
    assert talk.client.n_sent > 100


def test_a_repeated_change_gets_the_same_answer_for_a_while():
    server = Server(max_message=512)
    data = encode(request_bytes(LabelsRequest((LabelEntry(1, "cat"),)), 5), Framing.COBS)
    (asked,) = server.receive(data, 0.0)
    assert server.receive(data, 0.1) == []  # it is being carried out
    server.answer(asked, LabelsAnswer(1), 0.2)
    first = server.send()
    assert server.receive(data, 1.0) == []
    assert server.send() == first
    assert len(server.receive(data, 0.2 + REPEAT_S)) == 1


def test_whoever_proves_a_key_is_not_given_the_answers_of_the_host_before():
    server = Server(max_message=512)
    change = encode(request_bytes(LabelsRequest((LabelEntry(1, 0),)), 9), Framing.COBS)
    proof = encode(request_bytes(AuthoriseRequest(bytes(32), bytes(64)), 8), Framing.COBS)
    (asked,) = server.receive(change, 0.0)
    server.answer(asked, Refusal(Rc.ACCESS_DENIED), 0.0)
    (asked,) = server.receive(proof, 1.0)
    server.answer(asked, Refusal(Rc.ACCESS_DENIED), 1.0)
    assert server.receive(change, 1.5) == []  # nothing was proved
    proof = encode(request_bytes(AuthoriseRequest(bytes(32), bytes(64)), 7), Framing.COBS)
    (asked,) = server.receive(proof, 2.0)
    server.answer(asked, AuthoriseAnswer(600), 2.0)
    assert server.receive(proof, 2.5) == []  # a repeated proof is answered again
    (asked,) = server.receive(change, 3.0)
    server.answer(asked, LabelsAnswer(1), 3.0)


def test_a_repeated_reading_is_read_again():
    server = Server(max_message=512)
    data = encode(request_bytes(ParametersRequest(), 5), Framing.COBS)
    for now_s in (0.0, 1.0):
        (asked,) = server.receive(data, now_s)
        server.answer(asked, Refusal(Rc.BUSY), now_s)


def test_a_second_answer_is_ignored():
    server = Server(max_message=512)
    (asked,) = server.receive(encode(request_bytes(EchoRequest("x"), 0), Framing.COBS), 0.0)
    server.answer(asked, EchoAnswer("x"), 0.0)
    server.answer(asked, EchoAnswer("y"), 0.0)
    assert [answer for _, _, answer in answers_in(server.send())] == [EchoAnswer("x")]


def test_an_answer_longer_than_a_message_is_a_refusal():
    server = Server(max_message=128)
    data = encode(request_bytes(FileRequest("/state", 0), 0), Framing.COBS)
    (asked,) = server.receive(data, 0.0)
    server.answer(asked, FileAnswer(0, bytes(200)), 0.0)
    assert answers_in(server.send())[0][2] == Refusal(Rc.TOO_LARGE)


def test_what_cannot_be_understood_is_refused_without_asking_the_agent():
    server = Server(max_message=512)
    events = server.receive(encode(b"\x0a\0\0\x01\0\x63\x07\0\xa0", Framing.CONSOLE), 0.0)
    assert [type(event) for event in events] == [FrameError]
    ((framing, header, answer),) = answers_in(server.send())
    assert (framing, header.sequence, answer) == (Framing.CONSOLE, 7, Refusal(Rc.NOT_SUPPORTED))


def test_what_a_server_remembers_is_bounded():
    server = Server(max_message=4096)
    for i in range(3 * MAX_REMEMBERED):
        data = encode(request_bytes(LabelsRequest((LabelEntry(i, 1),)), i & 255), Framing.COBS)
        for asked in asked_of(server.receive(data, 0.0)):
            server.answer(asked, LabelsAnswer(1), 0.0)
            server.send()
    assert len(server._answered) == MAX_REMEMBERED
    for i in range(3 * MAX_OPEN):
        server.receive(encode(request_bytes(FileRequest("x", i), i & 255), Framing.COBS), 0.0)
    assert len(server._open) == MAX_OPEN


def test_a_host_that_does_not_read_is_not_talked_to():
    server = Server(max_message=256)
    for i in range(1000):
        server.say("telemetry " * 8)
        for asked in asked_of(
            server.receive(
                encode(request_bytes(EchoRequest("x" * 200), i & 255), Framing.COBS), 0.0
            )
        ):
            server.answer(asked, EchoAnswer("x" * 200), 0.0)
    assert len(server.send()) <= (MAX_UNSENT + 2) * 256
    assert asked_of(server.receive(encode(request_bytes(EchoRequest(), 0), Framing.COBS), 0.0))


def test_telemetry_goes_between_frames_and_cannot_look_like_one():
    server, client = Server(max_message=512), Client()
    server.say("p=0.5\x06\x09AAAA\n\x00°")
    assert client.receive(server.send(), 0.0) == [Text("p=0.5  AAAA  °")]


def test_half_a_frame_is_forgotten_when_the_line_falls_silent():
    server = Server(max_message=512)
    data = encode(request_bytes(EchoRequest("x"), 0), Framing.COBS)
    server.receive(data[:-4], 0.0)
    assert server.next_deadline_s == IDLE_S
    assert server.receive(b"", IDLE_S) == []
    assert server.next_deadline_s is None
    assert len(asked_of(server.receive(data, IDLE_S))) == 1


def test_a_request_without_answer_is_given_up_after_all_tries():
    client = Client(framing=Framing.COBS)
    ticket = client.request(EchoRequest("x"))
    now_s, sent, events = 0.0, [], []
    while not events:
        sent.append(client.send(now_s))
        now_s = client.next_deadline_s
        events = client.receive(b"", now_s)
    assert events == [GaveUp(ticket, EchoRequest("x"))]
    assert sent == [sent[0]] * MAX_TRIES
    assert now_s < REPEAT_S
    assert client.next_deadline_s is None


def test_a_long_poll_is_waited_for():
    client = Client()
    client.request(EventsRequest(0, wait_ms=5000))
    client.send(0.0)
    assert client.next_deadline_s > 5.0


def test_late_and_foreign_answers_are_ignored():
    server, client = Server(max_message=512), Client()
    client.request(EchoRequest("x"))
    (asked,) = server.receive(client.send(0.0), 0.0)
    server.answer(asked, EchoAnswer("x"), 0.0)
    answer = server.send()
    assert [type(event) for event in client.receive(answer + answer, 0.1)] == [Answered]
    client.request(ParametersRequest())
    client.send(1.0)
    assert client.receive(answer, 1.1) == []


def test_a_line_that_echoes_is_named():
    client = Client()
    client.request(EchoRequest("x"))
    (event,) = client.receive(client.send(0.0), 0.0)
    assert "does the line echo" in event.reason


def test_requests_are_repeated_on_a_new_connection():
    talk = Conversation(baud=9600)
    talk.client.request(EchoRequest("x"))
    talk.run(until_s=0.01)
    talk.cable.pull()
    talk.cable.plug(talk.now_s)
    talk.client.reconnected(talk.now_s)
    talk.run(until_s=0.2)
    assert talk.answers() == [EchoAnswer("x")]


def test_queued_requests_and_windows_are_bounded():
    client = Client()
    for _ in range(MAX_QUEUED):
        client.request(EchoRequest())
    with pytest.raises(ValueError, match="is anybody answering"):
        client.request(EchoRequest())
    for window in (0, 65):
        with pytest.raises(ValueError, match="window"):
            Client(window=window)


def test_one_upload_at_a_time():
    client = Client()
    client.upload(Upload(b"x", max_message=512))
    with pytest.raises(ValueError, match="going on"):
        client.upload(Upload(b"x", max_message=512))


def test_an_upload_that_nobody_answers_fails_with_the_reason():
    client = Client()
    upload = Upload(b"x", max_message=512)
    client.upload(upload)
    now_s = 0.0
    while not upload.is_over:
        client.send(now_s)
        now_s = client.next_deadline_s
        client.receive(b"", now_s)
    assert upload.state is UploadState.FAILED
    assert "no answer for 60 s" in upload.refusal.rsn
    assert STALL_S <= now_s < STALL_S + 10
    assert client.send(now_s) == b""
