"""Clients that nobody here wrote, unmodified, against a live ``edgectl simulate``.

What each of them offers and does is the table in `docs/protocol.md`.
"""

import asyncio
import hashlib
import json
import subprocess
import sys
import time

import pytest

from tests.cable.live import Simulated, make_packs

pytestmark = pytest.mark.slow
BAUD = 921600
WAIT_S = 60


def client(name):
    """A foreign client's module, or a test that says loudly that it was not tried."""
    return pytest.importorskip(name, reason=f"NO {name}: this foreign client was not tried")


@pytest.fixture
def packs(workshop):
    return make_packs(workshop)


@pytest.fixture
def board(tmp_path, packs):
    """Takes packs of our key alone, and lets every host on the cable change things."""
    (tmp_path / "live").mkdir()
    board = Simulated(tmp_path / "live", "--pin", packs["public"], "--", "--open")
    yield board
    assert board.close() == 0


def until(condition):
    """Wait until a condition holds, and return what it gave."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError("it did not come to pass in time")


def pull(board):
    """Have the board make a file that hosts may read, once its model is loaded."""
    until(lambda: json.loads(board.edgectl("status", "--json"))["agent"]["worker"] == "ready")
    assert board.edgectl("pull", "-o", board.path.parent).startswith("pulled ")


def test_smpclient(board, packs):
    """Both framings: echo, parameters, upload, state, test, reset, confirm, statistics, files."""
    client("smpclient")
    asyncio.run(_smpclient(board, packs))


async def _smpclient(board, packs):
    from smpclient import SMPClient
    from smpclient.generics import success
    from smpclient.requests import file_management as fs
    from smpclient.requests import image_management as img
    from smpclient.requests import os_management as os_
    from smpclient.requests import statistics_management as stat
    from smpclient.transport.serial import Cobs, SMPSerialRawTransport, SMPSerialTransport

    async def ask(to, request):
        answer = await to.request(request)
        assert success(answer), answer
        return answer

    async with SMPClient(SMPSerialTransport(baudrate=BAUD), str(board.path)) as smp:
        assert (await ask(smp, os_.EchoWrite(d="hi"))).r == "hi"
        parameters = await ask(smp, os_.MCUMgrParametersRead())
        assert (parameters.buf_size, parameters.buf_count) == (4096, 4)
        await ask(smp, os_.DateTimeRead())
        await ask(smp, os_.OSApplicationInfoRead(format="a"))
        await ask(smp, os_.BootloaderInformationRead())
        data = packs["1.0.0"].read_bytes()
        async for _ in smp.upload(data):
            pass
        (image,) = (await ask(smp, img.ImageStatesRead())).images
        assert (image.version, image.active) == ("1.0.0", False)
        await ask(smp, img.ImageStatesWrite(hash=image.hash, confirm=False))
        await ask(smp, os_.ResetWrite())
        deadline = time.monotonic() + WAIT_S
        while not image.active:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.3)
            (image,) = (await ask(smp, img.ImageStatesRead())).images
        assert not image.confirmed
        await ask(smp, img.ImageStatesWrite(confirm=True))
        (image,) = (await ask(smp, img.ImageStatesRead())).images
        assert image.confirmed
        groups = (await ask(smp, stat.ListOfGroups())).stat_list
        for name in groups:
            await ask(smp, stat.GroupData(name=name))
        assert (await ask(smp, stat.GroupData(name="agent"))).fields["requests"] > 0

    pull(board)
    cobs = SMPSerialRawTransport(mtu=4096, framing=Cobs(), baudrate=BAUD)
    async with SMPClient(cobs, str(board.path)) as smp:
        assert (await ask(smp, os_.EchoWrite(d="cobs"))).r == "cobs"
        state = await smp.download_file("state.edge")
        hashed = await ask(smp, fs.FileHashChecksum(name="state.edge", type="sha256"))
        assert hashed.output == hashlib.sha256(state).digest()
        assert (await ask(smp, fs.FileStatus(name="state.edge"))).len == len(state)
        async for _ in smp.upload(packs["1.1.0"].read_bytes()):
            pass
        images = (await ask(smp, img.ImageStatesRead())).images
        assert [each.version for each in images] == ["1.0.0", "1.1.0"]


def smpmgr(board, *arguments):
    command = [sys.executable, "-m", "smpmgr", "--port", board.path, "--baudrate", BAUD]
    words = [*map(str, command), "--timeout", "10", *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_smpmgr(board, packs):
    """Echo, upgrade (upload, test, reset), state, confirm, statistics, file hash and download."""
    client("smpmgr")
    assert "hello" in smpmgr(board, "os", "echo", "hello")
    # Slot 1 is where an update waits; for slot 0 it would not be marked.
    smpmgr(board, "upgrade", "--slot", 1, packs["1.0.0"])
    until(lambda: "active=True" in smpmgr(board, "image", "state-read"))
    smpmgr(board, "image", "state-write", "--confirm")
    assert "confirmed=True" in smpmgr(board, "image", "state-read")
    assert "agent" in smpmgr(board, "statistics", "list")
    assert "'requests': " in smpmgr(board, "statistics", "get", "agent")
    pull(board)
    target = board.path.parent / "fetched"
    smpmgr(board, "file", "download", "state.edge", target)
    assert target.read_bytes() == (board.path.parent / "state.edge").read_bytes()
    assert f"len={target.stat().st_size}" in smpmgr(board, "file", "get-hash", "state.edge")


def test_mcumgr_toolkit(board, packs):
    """Echo, parameters, its own firmware update, confirm, statistics, files and check sums."""
    toolkit = client("mcumgr_toolkit")
    smp = toolkit.MCUmgrClient.serial(str(board.path), BAUD, 2000)
    smp.use_auto_frame_size()
    smp.check_connection()
    assert smp.os_echo("hi") == "hi"
    assert smp.os_mcumgr_parameters().buf_size == 4096
    assert smp.os_application_info("s") == "edge-runtime"
    assert smp.os_bootloader_info()
    smp.os_get_datetime()
    # On a board without any image, its update stops: it wants to know what runs.
    smp.image_upload(packs["1.0.0"].read_bytes())
    (image,) = smp.image_get_state()
    smp.image_set_state(image.hash)
    smp.os_system_reset()
    until(lambda: any(each.active for each in smp.image_get_state()))
    assert smp.image_set_state(None, confirm=True)[0].confirmed
    smp.firmware_update(packs["1.1.0"].read_bytes())
    until(lambda: smp.image_get_state()[0].version == "1.1.0")
    assert not smp.image_get_state()[0].confirmed
    assert smp.image_set_state(None, confirm=True)[0].confirmed
    assert "agent" in smp.stats_list_groups()
    assert smp.stats_get_group_data("agent")["requests"] > 0
    del smp  # the port is for one host alone
    pull(board)
    smp = toolkit.MCUmgrClient.serial(str(board.path), BAUD, 2000)
    target = (board.path.parent / "state.edge").read_bytes()
    assert smp.fs_file_status("state.edge").length == len(target)
    assert smp.fs_file_checksum("state.edge", "sha256").output == hashlib.sha256(target).digest()
    assert smp.fs_file_download("state.edge") == target


def test_mcumgr_client(board, packs):
    """Upload, list, test, reset: all that it offers but erase."""
    mcumgr = client("mcumgr_client")
    session = mcumgr.SerialSession(device=str(board.path), baudrate=BAUD, mtu=512)
    session.upload(str(packs["1.0.0"]))
    (image,) = session.list()
    assert image["version"] == "1.0.0"
    session.test(list(bytes(image["hash"])))
    session.reset()
    until(lambda: any(each["active"] for each in session.list()))
