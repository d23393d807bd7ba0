"""Real pseudo-terminals in real time: the port, the relay, a cable that is pulled.

Nothing here asserts how long something takes.
"""

import os
import threading
import time

import pytest

from edge_runtime.protocol.wire.framing import Framing
from edge_runtime.protocol.wire.messages import EchoAnswer, EchoRequest
from edge_runtime.protocol.wire.upload import UploadState
from firmware_tools.errors import NoLinkError
from firmware_tools.line import Cable, Noise
from firmware_tools.link import Link
from firmware_tools.ports import PortInfo, SerialPort, find_port
from firmware_tools.relay import Relay
from tests.cable.board import MemoryBoard
from tests.protocol.packs import making

IMAGE = making.model(extra={"LICENCES": bytes(range(256)) * 200})


class LiveBoard:
    """A relay and a board in memory, each in a thread, until closed."""

    def __init__(self, link, cable):
        self.board = MemoryBoard(buf_size=4096)
        self.relay = Relay(cable, link)
        self.asked: list = []
        self._is_over = threading.Event()
        self._port = SerialPort(self.relay.board_path, 115200)
        self._threads = [threading.Thread(target=each) for each in (self._relay, self._serve)]
        for each in self._threads:
            each.start()

    def _relay(self):
        while not self._is_over.is_set():
            while self.asked:
                self.asked.pop(0)()
            self.relay.step(0.01)

    def _serve(self):
        while not self._is_over.is_set():
            data = self._port.read(0.02)
            answer = self.board.receive(data, time.monotonic())
            if answer:
                self._port.write(answer)

    def close(self):
        self._is_over.set()
        for each in self._threads:
            each.join()
        self._port.close()
        self.relay.close()


@pytest.fixture
def live(tmp_path):
    boards = []

    def make(cable):
        boards.append(LiveBoard(tmp_path / "board", cable))
        return boards[-1], lambda: SerialPort(str(tmp_path / "board"), 115200)

    yield make
    for each in boards:
        each.close()


@pytest.mark.parametrize("framing", list(Framing))
def test_a_pack_arrives_over_a_terminal(live, framing):
    board, port = live(Cable(baud=3_000_000))
    with Link(port, framing=framing, baud=3_000_000) as link:
        assert link.ask(EchoRequest("hello"), EchoAnswer).r == "hello"
        assert link.upload(IMAGE, 1).state is UploadState.DONE
    assert board.board.images[-1].version == "1.0.0"


def test_a_pack_arrives_over_a_noisy_line(live):
    board, port = live(Cable(baud=3_000_000, noise=Noise(rate=1e-4), seed=3))
    with Link(port, baud=3_000_000) as link:
        assert link.upload(IMAGE, 1).state is UploadState.DONE
    assert board.board.images[-1].version == "1.0.0"


def test_a_pulled_cable_is_waited_for(live):
    board, port = live(Cable(baud=921600))
    with Link(port, baud=921600) as link:
        offsets = []

        def progress(upload):
            if upload.acknowledged > 20_000 and not offsets:
                offsets.append(upload.acknowledged)
                board.asked.append(board.relay.pull)
                threading.Timer(0.7, lambda: board.asked.append(board.relay.plug)).start()

        upload = link.upload(IMAGE, 1, progress)
        assert upload.state is UploadState.DONE
        assert link.n_reconnects == 1


def test_the_link_of_a_relay_goes_with_it(tmp_path):
    relay = Relay(Cable(baud=115200), tmp_path / "board")
    assert (tmp_path / "board").exists()
    relay.pull()
    assert not os.path.lexists(tmp_path / "board")
    relay.plug()
    assert (tmp_path / "board").exists()
    relay.close()
    assert not os.path.lexists(tmp_path / "board")


def test_a_port_is_for_one_host_alone(live, tmp_path):
    _, port = live(Cable(baud=921600))
    first = port()
    with pytest.raises(NoLinkError, match="in use by another"):
        port()
    first.close()
    port().close()


def test_a_port_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NoLinkError, match="is it plugged in"):
        SerialPort(str(tmp_path / "nothing"), 115200)


PORTS = [
    PortInfo("/dev/ttyUSB0", "usb-FTDI_A1-if00", "FT232R USB UART", "A1"),
    PortInfo("/dev/ttyUSB1", "usb-FTDI_A12-if00", "FT232R USB UART", "A12"),
    PortInfo("/dev/ttyACM0", "", "Gadget Serial", ""),
]


def test_ports_are_found_by_part_of_a_name_that_fits_one():
    assert find_port("gadget", PORTS) == "/dev/ttyACM0"
    assert find_port("A1", PORTS) == "/dev/ttyUSB0"
    assert find_port("/somewhere/else", PORTS) == "/somewhere/else"
    assert find_port(None, PORTS[2:]) == "/dev/ttyACM0"
    for words, ports in (("ftdi", PORTS), ("nordic", PORTS), (None, PORTS), (None, [])):
        with pytest.raises(NoLinkError, match="ports here: "):
            find_port(words, ports)
