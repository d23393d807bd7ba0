"""A board in memory behind every command of edgectl that opens a port."""

import io

import pytest

from firmware_tools import link_options
from firmware_tools.__main__ import main
from firmware_tools.link import Link
from tests.cable.board import World
from tests.protocol.packs.conftest import workshop  # noqa: F401  a fixture here too


@pytest.fixture
def world():
    return World()


@pytest.fixture
def edgectl(world, monkeypatch, capsys):
    """Run a command against the world's board: exit code, standard output, standard error."""

    def link(open_port, **options):
        return Link(world.port, clock=world.clock, sleep=world.sleep, **{**options, "baud": 921600})

    monkeypatch.setattr(link_options, "Link", link)
    for name in ("EDGECTL_PORT", "EDGECTL_BAUD", "EDGECTL_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, answers=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answers))
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as error:  # argparse
            code = error.code
        out, err = capsys.readouterr()
        return code, out, err

    return run
