"""Every command that talks to a board: what it prints, what it changes, how it ends."""

import csv
import hashlib
import json
import urllib.request

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_runtime.protocol.wire.edge_messages import LabelWanted, PullAnswer
from firmware_tools import push
from firmware_tools.exposition import METRICS, PrometheusServer, read_log
from firmware_tools.watching import Figures
from tests.protocol.packs import making

OK, FAILED, USAGE, NO_LINK, REFUSED = range(5)


@pytest.fixture
def pack(tmp_path):
    path = tmp_path / "demo.pack"
    path.write_bytes(making.model(version="1.1.0", extra={"LICENCES": bytes(range(256)) * 100}))
    return path


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key.pem"
    pem = making.KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    return path


def running(world):
    return next(each for each in world.board.images if each.active)


# -- status ----------------------------------------------------------------------------------


def test_status_is_a_table_for_people_and_json_for_programs(edgectl, world):
    code, out, _ = edgectl("status")
    assert code == OK
    for words in ("generation", "cat, dog", "counters samples", "1,200", "agent board", "active"):
        assert words in out
    code, out, _ = edgectl("status", "--json")
    status = json.loads(out)
    assert status["runtime"]["counters"]["samples"] == 1200
    assert status["agent"]["board"] == "testboard"
    assert status["images"][0]["hash"] == "01" * 32


def test_no_port_is_exit_code_3(edgectl, world):
    world.is_there = False
    code, out, err = edgectl("status")
    assert (code, out, err) == (
        NO_LINK,
        "",
        "edgectl: cannot open board: No such file or directory\n",
    )


def test_nobody_at_the_other_end_is_exit_code_3(edgectl, world):
    world.board.server.receive = lambda data, now_s: []
    code, _, err = edgectl("status")
    assert code == NO_LINK
    assert err == (
        "edgectl: nobody answers within 10 s: is the agent running, and is the rate right?\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--baud", "x"),
        ("status", "--window", "0"),
        ("label", "--list", "1=cat"),
        ("undo", "--steps", "0"),
        ("monitor", "--interval-s", "0"),
        ("push",),
        ("confirm", "--id", "12"),
    ],
)
def test_wrong_use_is_exit_code_2(edgectl, arguments):
    code, _, err = edgectl(*arguments)
    assert code == USAGE
    assert "edgectl" in err


def test_a_rate_that_is_none_in_the_environment_is_wrong_use(edgectl, monkeypatch):
    monkeypatch.setenv("EDGECTL_BAUD", "fast")
    code, _, err = edgectl("status")
    assert code == USAGE
    assert "EDGECTL_BAUD" in err


# -- push, confirm, rollback -----------------------------------------------------------------


def test_push_sends_tests_and_runs_a_pack(edgectl, world, pack):
    code, out, err = edgectl("push", pack)
    assert code == OK
    words = [line.split()[0] for line in out.splitlines()]
    assert words == ["sent", "messages", "staged", "running"]
    assert "100.0 %" in err
    assert "unconfirmed" in err
    assert running(world).version == "1.1.0"
    assert not running(world).confirmed
    code, out, _ = edgectl("confirm")
    assert (code, out) == (OK, f"confirmed {running(world).hash.hex()}\n")
    assert running(world).confirmed


def test_push_twice_sends_once(edgectl, world, pack):
    edgectl("push", "--confirm", "-q", pack)
    code, out, err = edgectl("push", pack)
    assert code == OK
    assert [line.split()[0] for line in out.splitlines()] == ["running"]
    assert "has this pack already" in err


def test_a_staged_pack_does_not_run(edgectl, world, pack):
    code, out, _ = edgectl("push", "--stage-only", pack)
    assert code == OK
    assert out.splitlines()[-1].startswith("staged ")
    assert running(world).version == "1.0.0"
    assert world.board.n_resets == 0


def test_a_pack_that_fails_its_self_test_is_exit_code_4(edgectl, world, pack):
    world.board.passes_self_test = False
    code, _, err = edgectl("push", pack)
    assert code == REFUSED
    assert "failed its self-test" in err
    assert running(world).version == "1.0.0"


def test_a_pack_that_the_board_does_not_stage_is_exit_code_4(edgectl, world, pack):
    world.board._stage = lambda data: None
    code, _, err = edgectl("push", pack)
    assert code == REFUSED
    assert "not the pack" in err


def test_a_damaged_pack_is_not_sent(edgectl, world, pack):
    pack.write_bytes(pack.read_bytes()[:-1])
    code, out, _ = edgectl("push", pack)
    assert (code, out) == (FAILED, "")
    assert len(world.board.images) == 1


def test_push_goes_on_after_the_cable_was_out(edgectl, world, pack):
    world.at += [(world.now_s + 0.3, world.pull), (world.now_s + 5.0, world.plug)]
    code, out, err = edgectl("push", pack)
    assert code == OK
    assert "cable lost 1 times" in out
    assert "waiting for it" in err
    assert running(world).version == "1.1.0"


def test_rollback_runs_the_pack_before(edgectl, world, pack):
    edgectl("push", "--confirm", "-q", pack)
    code, out, _ = edgectl("rollback", "--confirm")
    assert code == OK
    assert out.splitlines()[0] == f"running {'01' * 32} version 1.0.0"
    assert running(world).version == "1.0.0"


def test_there_may_be_nothing_to_go_back_to(edgectl, world):
    code, _, err = edgectl("rollback")
    assert code == REFUSED
    assert "no image to go back to" in err


def test_another_pack_than_the_one_named_is_not_confirmed(edgectl, world):
    code, _, err = edgectl("confirm", "--id", "ab" * 32)
    assert code == REFUSED
    assert "nothing was confirmed" in err


def test_progress_says_rate_and_time_left():
    speed = push.Speedometer(100_000, 10.0)
    assert speed.at(0, 10.0).remaining_s is None
    meter = speed.at(20_000, 12.0, n_again=3)
    assert (meter.rate, meter.remaining_s) == (10_000.0, 8.0)
    assert meter.line() == " 20.0 %  20.0 of 100.0 kB  10.0 kB/s  8 s left  3 sent again"


def test_what_was_there_before_a_resume_is_no_speed():
    speed = push.Speedometer(100_000, 0.0)
    speed.at(90_000, 1.0)
    assert speed.at(91_000, 2.0).rate == 500.0


# -- keys ------------------------------------------------------------------------------------


def test_changes_need_a_key_once_one_is_pinned(edgectl, world, key):
    world.board.key, world.board.is_authorised = making.KEY.public_key(), False
    code, _, err = edgectl("undo")
    assert code == REFUSED
    assert "--key" in err
    assert edgectl("undo", "--key", key)[0] == OK


def test_a_key_that_is_not_pinned_is_refused(edgectl, world, key):
    world.board.key, world.board.is_authorised = making.OTHER_KEY.public_key(), False
    code, _, err = edgectl("undo", "--key", key)
    assert code == REFUSED
    assert "not pinned" in err


def test_the_key_may_come_from_the_environment(edgectl, world, key, monkeypatch):
    world.board.key, world.board.is_authorised = making.KEY.public_key(), False
    monkeypatch.setenv("EDGECTL_KEY", str(key))
    assert edgectl("undo")[0] == OK


def test_a_nonce_of_another_length_is_not_signed(edgectl, world, key):
    world.board.key, world.board.is_authorised = making.KEY.public_key(), False
    world.board.nonce = b"reset everything"
    code, _, err = edgectl("undo", "--key", key)
    assert code == NO_LINK
    assert "nonce of 16 bytes" in err


# -- labels ----------------------------------------------------------------------------------


def test_label_shows_what_is_requested(edgectl, world):
    code, out, err = edgectl("label", "--list")
    assert code == OK
    assert "1001" in out
    assert "2 labels are requested" in err
    assert json.loads(edgectl("label", "--list", "--json")[1])["waiting"] == 2


def test_label_asks_a_person(edgectl, world):
    code, out, _ = edgectl("label", answers="=\ncat\n")
    assert (code, out.splitlines()[-1].endswith("learned 2")) == (OK, True)
    assert world.board.learned == {1001: "cat", 1002: "cat"}


def test_a_person_may_skip_and_stop(edgectl, world):
    edgectl("label", answers="\nq\n")
    edgectl("label", answers="")
    assert world.board.learned == {}


def test_label_takes_a_file_and_sends_what_is_requested(edgectl, world, tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("sample,label\n1001,dog\n77,cat\n")
    code, out, _ = edgectl("label", "--answers", path)
    assert (code, out) == (OK, "learned 1\n")
    assert world.board.learned == {1001: "dog"}


def test_label_follows_for_a_while(edgectl, world, tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("1001,dog\n1002,cat\n1003,cat\n")
    later = LabelWanted(1003, 0.01)
    world.at.append((world.now_s + 2.0, lambda: world.board.wanted.append(later)))
    code, out, _ = edgectl("label", "--answers", path, "--follow-s", "5")
    assert (code, out) == (OK, "learned 3\n")


def test_labels_on_the_command_line_are_sent_and_refusals_said(edgectl, world):
    code, out, err = edgectl("label", "1001=dog", "5=cat")
    assert (code, out) == (OK, "learned 1\n")
    assert "sample 5: forgotten by now" in err
    assert edgectl("label", "5=cat")[0] == FAILED


@pytest.mark.parametrize("text", ["x,cat\n1,cat,3\n", "\nx,cat\n", "1\n", "1,\n"])
def test_a_broken_file_of_answers_is_refused(edgectl, world, tmp_path, text):
    path = tmp_path / "answers.csv"
    path.write_text(text)
    assert edgectl("label", "--answers", path)[0] == FAILED
    assert world.board.learned == {}


# -- undo, pull ------------------------------------------------------------------------------


def test_undo_names_the_generation_before(edgectl, world):
    code, out, _ = edgectl("undo")
    assert (code, out) == (OK, "undone to generation 3, saved as 5\n")


def test_undo_goes_back_to_any_that_is_saved(edgectl, world):
    assert edgectl("undo", "--steps", "3")[1].startswith("undone to generation 1,")
    code, _, err = edgectl("undo", "--generation", "99")
    assert code == REFUSED
    assert "no generation 99" in err
    assert edgectl("undo", "--steps", "30")[0] == FAILED


def test_undo_may_be_of_a_growth(edgectl, world):
    assert edgectl("undo", "--to", "growth")[1] == "undone to growth, saved as 9\n"


def test_what_is_unsaved_counts_as_one_step(edgectl, world):
    world.board.runtime["unsaved"] = True
    world.board.runtime["generation"] = 5
    world.board.runtime["generations"] = [3, 4]
    assert edgectl("undo")[1].startswith("undone to generation 4,")


def test_pull_fetches_the_state_and_checks_it(edgectl, world, tmp_path):
    code, out, _ = edgectl("pull", "-o", tmp_path)
    assert code == OK
    assert out.startswith("pulled 5120 bytes to ")
    assert (tmp_path / "state-4").read_bytes() == world.board.files["state-4"]


def test_ood_samples_are_captured_and_fetched(edgectl, world, tmp_path):
    assert edgectl("capture", "5")[:2] == (OK, "capturing 5 samples into capture.npz\n")
    assert edgectl("capture", "-5")[0] == USAGE
    world.board.files["sample-7.npy"] = b"raw"
    code, out, _ = edgectl("pull", "--what", "sample-7", "-o", tmp_path)
    assert (code, out) == (OK, f"pulled 3 bytes to {tmp_path / 'sample-7.npy'}\n")
    assert edgectl("pull", "--what", "sample-8", "-o", tmp_path)[0] == REFUSED


def test_a_state_that_changed_on_the_way_is_not_written(edgectl, world, tmp_path):
    board = world.board
    real = board.on_PullRequest

    def lie(request):
        answer = real(request)
        return type(answer)(answer.name, answer.len, hashlib.sha256(b"other").digest())

    board.on_PullRequest = lie
    code, _, err = edgectl("pull", "-o", tmp_path / "out")
    assert code == FAILED
    assert "changed on the way" in err
    assert not (tmp_path / "out").exists()


def test_a_board_cannot_name_a_path_to_write_to(edgectl, world, tmp_path):
    data = world.board.files["../../evil"] = b"x"
    world.board.on_PullRequest = lambda request: _pulled("../../evil", data)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert edgectl("pull", "-o", tmp_path / "a" / "b")[0] == OK
    assert (tmp_path / "a" / "b" / "evil").read_bytes() == b"x"


def _pulled(name, data):
    return PullAnswer(name, len(data), hashlib.sha256(data).digest())


# -- monitor, report -------------------------------------------------------------------------


def test_monitor_prints_lines_where_there_is_no_terminal(edgectl, world):
    code, out, err = edgectl("monitor", "--for-s", "3")
    assert code == OK
    assert "samples 1,200  OOD 10.0 %  accuracy 75.0 %  slots 2  labels 40" in out
    assert out.count("slot 1: 90% instead of 35%") == 1
    assert "looked 4 times" in err


def test_monitor_answers_what_is_requested_and_ends_with_an_event(edgectl, world, tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("1001,dog\n1002,cat\n")
    grown = type(world.board.events[0])(2, "merged", 1300, "slots 0 and 1", 0)
    world.at.append((world.now_s + 3.0, lambda: world.board.events.append(grown)))
    code, out, err = edgectl("monitor", "--answers", path, "--until", "merged", "--for-s", "60")
    assert code == OK
    assert world.board.learned == {1001: "dog", 1002: "cat"}
    assert "2 labels learned" in err
    assert out.count("samples 1,200") < 10


def test_monitor_writes_csv(edgectl, world, tmp_path):
    edgectl("monitor", "--for-s", "2", "--csv", tmp_path / "m.csv")
    with (tmp_path / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert rows[0]["samples"] == "1200"
    assert rows[0]["temperature_c"] == ""
    _, out, _ = edgectl("monitor", "--for-s", "0", "--csv", "-")
    assert out.splitlines()[0].startswith("time_s,samples")


def test_monitor_writes_prometheus_text(edgectl, world, tmp_path):
    edgectl("monitor", "--for-s", "0", "--prometheus", tmp_path / "edge.prom")
    text = (tmp_path / "edge.prom").read_text()
    assert 'edge_up{board="testboard"} 1' in text
    assert 'edge_samples_total{board="testboard"} 1200' in text


def test_prometheus_is_served():
    server = PrometheusServer("127.0.0.1", 0)
    try:
        server.text = "edge_up 1\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            assert answer.read() == b"edge_up 1\n"
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/etc/passwd")
        error.value.close()
    finally:
        server.close()


def test_a_log_goes_on_where_it_ended(edgectl, world, tmp_path):
    path = tmp_path / "board.log"
    edgectl("monitor", "--for-s", "1", "--log", path)
    edgectl("monitor", "--for-s", "1", "--log", path)
    header, *looks = read_log(path)
    assert header["board"] == "testboard"
    assert len(looks) == 4
    assert looks[0]["figures"]["samples"] == 1200
    path.write_text("something else\n")
    assert edgectl("monitor", "--for-s", "1", "--log", path)[0] == FAILED
    assert path.read_text() == "something else\n"


def test_every_figure_has_a_name_in_prometheus():
    assert list(METRICS) == Figures.names()


def test_ports_are_listed(edgectl):
    assert edgectl("ports")[0] == OK
    assert isinstance(json.loads(edgectl("ports", "--json")[1]), list)


def test_a_report_is_a_page_of_a_log(edgectl, world, tmp_path):
    world.board.events[0] = type(world.board.events[0])(0, "drift", 900, "<script>x</script>", 0)
    log, page = tmp_path / "board.log", tmp_path / "board.html"
    edgectl("monitor", "--for-s", "3", "--log", log)
    code, out, _ = edgectl("report", log, "-o", page, "--title", "Board 7")
    assert (code, out) == (OK, f"report {page}\n")
    text = page.read_text()
    assert "<h1>Board 7</h1>" in text
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "data:image/png;base64," in text


@pytest.mark.parametrize(
    "text",
    ["", "{}\n", "no json\n", "[]\n", '{"kind": "edge-runtime monitor", "version": 1}\n{}\n'],
)
def test_what_is_no_log_makes_no_report(edgectl, tmp_path, text):
    log = tmp_path / "board.log"
    log.write_text(text)
    code, _, err = edgectl("report", log, "-o", tmp_path / "x.html")
    assert code == FAILED
    assert str(log) in err
    assert not (tmp_path / "x.html").exists()
