"""The link: asks, sends, and outlives a cable that is pulled."""

import pytest

from edge_runtime.protocol.wire.edge_messages import LabelEntry, LabelsRequest
from edge_runtime.protocol.wire.framing import Framing
from edge_runtime.protocol.wire.messages import EchoAnswer, EchoRequest
from edge_runtime.protocol.wire.smp import Rc, Refusal
from edge_runtime.protocol.wire.upload import UploadState
from firmware_tools import labels
from firmware_tools.errors import NoLinkError, RefusedError
from firmware_tools.link import Link
from tests.cable.board import MemoryBoard, World
from tests.protocol.packs import making


def open_link(world, **options):
    return Link(world.port, clock=world.clock, sleep=world.sleep, baud=921600, **options)


def test_it_finds_out_what_the_board_takes(world):
    with open_link(world) as link:
        assert link.parameters.buf_size == 1024
        assert link.window == 4
        assert link.framing is Framing.COBS
        assert link.ask(EchoRequest("hi"), EchoAnswer).r == "hi"


def test_a_board_that_knows_the_console_alone_is_spoken_to_in_lines(world):
    hear = world.board.server.receive

    def no_cobs(data, now_s):
        return hear(data.replace(b"\0", b"\n"), now_s)

    world.board.server.receive = no_cobs
    with open_link(world) as link:
        assert link.framing is Framing.CONSOLE


def test_nobody_there_is_no_link(world):
    world.board.server.receive = lambda data, now_s: []
    with pytest.raises(NoLinkError, match="nobody answers within 10 s"):
        open_link(world)


def test_no_port_is_no_link(world):
    world.is_there = False
    with pytest.raises(OSError, match="No such file"):
        open_link(world)


def test_a_refusal_says_what_was_refused(world):
    world.board.carry_out = lambda request: (
        Refusal(Rc.INVALID, rsn="not today")
        if isinstance(request, EchoRequest)
        else world.board.parameters
    )
    with open_link(world) as link, pytest.raises(RefusedError, match="refuses echo: not today"):
        link.ask(EchoRequest("hi"), EchoAnswer)


def test_a_busy_board_is_asked_again(world):
    n_busy = 0
    carry_out = world.board.carry_out

    def busy(request):
        nonlocal n_busy
        if isinstance(request, EchoRequest) and n_busy < 3:
            n_busy += 1
            return Refusal(Rc.BUSY)
        return carry_out(request)

    world.board.carry_out = busy
    with open_link(world) as link:
        assert link.ask(EchoRequest("hi"), EchoAnswer).r == "hi"
    assert n_busy == 3


def test_an_upload_goes_on_when_the_cable_is_back(world):
    image = making.model(extra={"LICENCES": bytes(range(256)) * 400})
    notes = []
    with open_link(world, on_note=notes.append) as link:
        world.at += [(world.now_s + 0.4, world.pull), (world.now_s + 9.0, world.plug)]
        upload = link.upload(image, 1)
        assert upload.state is UploadState.DONE
        assert link.n_reconnects == 1
    assert notes[-1] == "the port is back: going on"


def test_a_cable_that_stays_out_ends_in_an_error(world):
    with open_link(world, reconnect_s=20.0) as link:
        world.at.append((world.now_s + 0.1, world.pull))
        with pytest.raises(NoLinkError, match="the port was gone for 20 s"):
            link.upload(bytes(200_000), 0)


def test_what_the_board_prints_is_kept(world):
    with open_link(world) as link:
        world.board.server.say("temperature 41")
        link.listen(1.0)
        assert list(link.lines) == ["temperature 41"]


def test_a_board_that_thinks_for_long_about_labels_is_waited_for(world):
    server, answer = world.board.server, world.board.server.answer

    def late(asked, value, now_s):
        if isinstance(asked.request, LabelsRequest):
            world.at.append((now_s + 25.0, lambda: answer(asked, value, world.now_s)))
        else:
            answer(asked, value, now_s)

    server.answer = late
    with open_link(world) as link:
        assert labels.send_labels(link, [LabelEntry(1001, "dog")]) == (1, [])
        assert world.board.learned == {1001: "dog"}
        assert link.n_sent > 6  # it was asked again, and carried out once


def test_a_small_window_of_the_board_is_respected():
    world = World(MemoryBoard(buf_size=512, buf_count=1))
    with open_link(world) as link:
        assert link.window == 1
        image = making.model(extra={"LICENCES": bytes(5000)})
        assert link.upload(image, 1).state is UploadState.DONE
