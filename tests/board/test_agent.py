"""The agent's answers, with workers and self-tests that do as they are told."""

from __future__ import annotations

import errno
import json

import pytest

from edge_runtime.board.record import Phase
from edge_runtime.board.selftest import Verdict
from edge_runtime.protocol.pack import key_hash
from edge_runtime.protocol.pack.manifest import Requirements
from edge_runtime.protocol.wire import edge_messages as edge
from edge_runtime.protocol.wire import messages as standard
from edge_runtime.protocol.wire.messages import (
    ImageUploadRequest,
    ResetRequest,
    SetImageStateRequest,
)
from edge_runtime.protocol.wire.smp import (
    Group,
    Header,
    Op,
    Rc,
    Refusal,
    answer_bytes,
    message_classes,
)
from edge_runtime.protocol.wire.upload import NO_UPLOAD
from tests.board.desk import Desk
from tests.protocol.packs import making
from tests.protocol.packs.making import KEY, OTHER_KEY, PINNED

YEAR_S = 365 * 86400.0


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


# -- standard groups ---------------------------------------------------------------------------


def test_what_a_board_says_of_itself(desk):
    assert desk.ask(standard.EchoRequest("hi")).r == "hi"
    assert desk.ask(standard.EchoReadRequest("hi")).r == "hi"
    assert desk.ask(standard.ParametersRequest()) == standard.ParametersAnswer(4096, 4)
    assert desk.ask(standard.InfoRequest()).output == "edge-runtime"
    assert desk.ask(standard.InfoRequest("sn")).output == "edge-runtime desk"
    assert len(desk.ask(standard.InfoRequest("a")).output.split()) == 8
    assert desk.ask(standard.InfoRequest("x")) == Refusal(2, Group.OS)
    assert desk.ask(standard.BootloaderRequest()).bootloader == "MCUboot"
    assert desk.ask(standard.BootloaderRequest("mode")).mode == 3
    assert desk.ask(standard.BootloaderRequest("colour")) == Refusal(3, Group.OS)
    assert desk.ask(standard.DatetimeRequest()).datetime.startswith("2023-11-14T22:13:20")
    assert desk.ask(standard.SetDatetimeRequest("2026-01-01T00:00:00")).rc == Rc.NOT_SUPPORTED
    names = desk.ask(standard.StatListRequest()).stat_list
    assert names == ("agent", "line", "runtime")
    assert desk.ask(standard.StatRequest("agent")).fields["requests"] > 5
    assert desk.ask(standard.StatRequest("x")) == Refusal(3, Group.STAT)


def test_an_update_goes_all_the_way(desk):
    first, second = making.model(), making.model(version="2.0.0")
    assert desk.images() == ()
    answer = desk.upload(first)
    assert (answer.off, answer.match) == (len(first), True)
    entry = desk.waiting()
    assert (entry.slot, entry.pending, entry.active, entry.version) == (1, False, False, "1.0.0")
    desk.ask(SetImageStateRequest(entry.hash))
    assert desk.waiting().pending
    assert desk.runner is None
    desk.later(0.1)
    assert desk.record.phase is Phase.READY
    desk.ask(ResetRequest())
    desk.later(0.1)
    (entry,) = desk.images()
    assert (entry.slot, entry.active, entry.confirmed) == (0, True, False)
    assert desk.ask(SetImageStateRequest(confirm=True)).images[0].confirmed
    desk.install(second)
    new, old = desk.images()
    assert (new.version, new.active, new.confirmed) == ("2.0.0", True, True)
    assert (old.version, old.slot, old.active) == ("1.0.0", 1, False)
    assert desk.runner.order.carry_from.endswith(desk.record.previous.id)
    # What ran before may run again.
    desk.ask(SetImageStateRequest(old.hash))
    desk.later(0.1)
    desk.ask(ResetRequest())
    desk.later(0.1)
    desk.ask(SetImageStateRequest(confirm=True))
    assert desk.record.active.model.version == "1.0.0"
    kinds = [event.kind for event in desk.ask(edge.EventsRequest()).events]
    assert kinds.count("deployment") >= 9


def test_a_head_is_shown_beside_its_model(desk):
    desk.install(making.model())
    desk.install(making.head())
    shown = [(each.image, each.slot, each.active) for each in desk.images()]
    assert shown == [(0, 0, True), (1, 0, True)]


def test_a_reset_waits_for_the_self_test_and_undoes_what_is_unconfirmed(desk):
    desk.install(making.model())
    desk.verdict = None
    desk.upload(making.model(version="2.0.0"))
    desk.ask(SetImageStateRequest(desk.waiting().hash))
    desk.ask(ResetRequest())
    desk.later(5.0)
    assert desk.record.phase is Phase.TESTING
    assert desk.waiting().pending
    assert desk.runners[-1].asked[-1]["do"] == "save"
    desk.verdict = Verdict(True)
    desk.later(0.1)
    assert desk.record.phase is Phase.TRIAL
    desk.ask(ResetRequest())
    desk.later(0.1)
    assert desk.record.phase is Phase.REVERTED
    assert desk.images()[0].version == "1.0.0"


def test_what_is_still_starting_is_not_active_and_cannot_be_confirmed(desk):
    desk.install(making.model())
    desk.try_out(making.model(version="2.0.0"))
    desk.runner.is_ready = False
    old, new = desk.images()
    assert (old.version, old.active) == ("1.0.0", True)
    assert (new.version, new.active, new.pending) == ("2.0.0", False, True)
    assert desk.ask(SetImageStateRequest(confirm=True)).rc == Rc.BAD_STATE
    desk.runner.is_ready = True
    assert desk.ask(SetImageStateRequest(confirm=True)).images[0].confirmed


def test_a_permanent_image_confirms_itself_once_it_has_run(desk):
    desk.upload(making.model())
    answer = desk.ask(SetImageStateRequest(desk.waiting().hash, confirm=True))
    assert answer.images[0].permanent
    desk.later(0.1)
    desk.ask(ResetRequest())
    desk.later(0.1)
    desk.later(1.0)
    assert desk.record.phase is Phase.TRIAL
    desk.later(10.0)
    assert desk.record.phase is Phase.CONFIRMED


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (SetImageStateRequest(bytes(32)), Refusal(8, Group.IMAGE)),
        (SetImageStateRequest(b"short"), Refusal(8, Group.IMAGE)),
        (SetImageStateRequest(), Refusal(Rc.INVALID, rsn="test needs a hash")),
    ],
)
def test_images_that_are_not_there_cannot_be_marked(desk, request_, refusal):
    assert desk.ask(request_) == refusal


def test_the_active_image_cannot_be_tested_and_is_confirmed_already(desk):
    desk.install(making.model())
    digest = desk.images()[0].hash
    assert desk.ask(SetImageStateRequest(digest)) == Refusal(31, Group.IMAGE)
    assert desk.ask(SetImageStateRequest(digest, confirm=True)).images[0].confirmed


def test_what_waits_is_erased_and_what_runs_is_not(desk):
    desk.install(making.model())
    desk.upload(making.model(version="2.0.0"))
    desk.ask(ImageUploadRequest(0, b"half", 1000, bytes(32)))
    assert isinstance(desk.ask(standard.ImageEraseRequest()), standard.ImageEraseAnswer)
    assert [each.version for each in desk.images()] == ["1.0.0"]
    assert [name for name in desk.files.names() if name.startswith("upload-")] == []
    desk.try_out(making.model(version="3.0.0"))
    assert desk.ask(standard.ImageEraseRequest()).rc == Rc.BAD_STATE


# -- uploads -----------------------------------------------------------------------------------


def first(data, n=100):
    from hashlib import sha256

    return ImageUploadRequest(0, data[:n], len(data), sha256(data).digest(), 0)


def test_an_upload_goes_on_after_a_restart(desk):
    data = making.model()
    desk.ask(first(data, 300))
    assert desk.ask(ImageUploadRequest(300, data[300:500])).off == 500
    assert desk.ask(ImageUploadRequest(700, data[700:900])).off == 500  # a gap
    desk.boot()
    assert desk.ask(ImageUploadRequest(500, data[500:600])) == NO_UPLOAD
    assert desk.ask(first(data)).off == 500
    assert desk.upload(data).match


def test_the_same_file_is_not_sent_twice(desk):
    data = making.model()
    desk.install(data)
    desk.boot()
    answer = desk.ask(first(data))
    assert (answer.off, answer.match) == (len(data), True)


def test_a_refused_pack_is_refused_again_without_being_sent(desk):
    desk.keys = PINNED
    desk.boot()
    data = making.model(key=OTHER_KEY)
    refusal = desk.upload(data)
    assert refusal.rsn.startswith("key: ")
    assert desk.ask(first(data)) == refusal
    assert desk.record.attempts[-1].outcome == "refused"
    assert desk.images() == ()


def test_packs_for_something_else_are_refused_with_the_reason(desk):
    desk.install(making.model(counter=5))
    for data, reason in (
        (making.model(requires=Requirements("9.0.0")), "runtime: needs edge-runtime 9.0.0"),
        (making.model(requires=Requirements(boards=("other",))), "board: made for other"),
        (making.head(b"another encoder"), "encoder: a head for encoder"),
        (b"no pack at all" * 10, "container: "),
    ):
        refusal = desk.upload(data)
        assert refusal.rc == Rc.INVALID
        assert refusal.rsn.startswith(reason)
    assert desk.images()[0].active


def test_a_counter_that_went_down_is_refused(tmp_path):
    desk = Desk(tmp_path, PINNED)
    desk.lines[0].access._is_open = True
    desk.install(making.model(counter=5))
    assert desk.upload(making.model(version="9.0.0", counter=4)).rsn.startswith("counter: ")
    assert desk.upload(making.model(version="9.0.0", counter=5)).match


def test_a_digest_that_does_not_match_starts_anew(desk):
    data = making.model()
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    desk.ask(first(data, 100))
    off = 100
    while off < len(wrong):
        answer = desk.ask(ImageUploadRequest(off, wrong[off : off + 1000]))
        off = answer.off
    assert answer.match is False
    assert desk.upload(data).match


@pytest.mark.parametrize(
    "request_",
    [
        ImageUploadRequest(0, b"x", 2**32, bytes(32)),
        ImageUploadRequest(0, b"x", 0, bytes(32)),
        ImageUploadRequest(0, b"x", -1, bytes(32)),
        ImageUploadRequest(0, b"x", 100, b"short"),
        ImageUploadRequest(0, b"x", None, bytes(32)),
        ImageUploadRequest(0, b"x" * 50, 10, bytes(32)),
    ],
)
def test_sizes_are_checked_before_anything_is_written(desk, request_):
    assert isinstance(desk.ask(request_), Refusal)
    assert desk.files.names() == []


def test_an_upgrade_must_not_be_older(desk):
    desk.install(making.model(version="2.0.0"))
    old = making.model(version="1.9.0")
    request = first(old)
    up = ImageUploadRequest(0, request.data, request.len, request.sha, 0, upgrade=True)
    assert desk.ask(up) == Refusal(27, Group.IMAGE)


def test_nothing_is_taken_while_an_update_is_tried(desk):
    desk.try_out(making.model())
    refusal = desk.ask(first(making.model(version="2.0.0")))
    assert refusal.rc == Rc.BAD_STATE
    assert "confirm it or reset" in refusal.rsn


# -- two hosts ---------------------------------------------------------------------------------


def test_a_second_host_waits_until_the_first_is_silent(desk):
    one, two = making.model(), making.model(version="2.0.0")
    desk.ask(first(one))
    assert desk.ask(first(two), line=1).rc == Rc.BUSY
    assert desk.ask(ImageUploadRequest(100, one[100:200]), line=1).rc == Rc.BUSY
    assert desk.ask(first(two)).rc == Rc.BUSY  # another one on the same line
    assert desk.ask(ImageUploadRequest(100, one[100:200])).off == 200
    desk.later(4.0)
    assert desk.upload(two, line=1).match
    assert desk.ask(ImageUploadRequest(200, one[200:300])) == NO_UPLOAD


def test_permission_is_of_one_line(tmp_path):
    desk = Desk(tmp_path, PINNED)
    authorise(desk)
    assert desk.ask(ResetRequest()) == standard.ResetAnswer()
    assert desk.ask(ResetRequest(), line=1).rc == Rc.ACCESS_DENIED
    desk.agent.forget(desk.lines[0])
    assert desk.ask(ResetRequest()).rc == Rc.ACCESS_DENIED


# -- trust -------------------------------------------------------------------------------------


def authorise(desk, key=KEY):
    challenge = desk.ask(edge.ChallengeRequest())
    text = edge.authorisation_text(challenge.nonce, challenge.board)
    digest = bytes.fromhex(key_hash(key.public_key()))
    return desk.ask(edge.AuthoriseRequest(digest, key.sign(text)))


def test_every_change_but_an_upload_needs_a_proof(tmp_path):
    desk = Desk(tmp_path, PINNED)
    arguments = {
        edge.LabelsRequest: ((),),
        edge.UndoRequest: (1,),
        edge.CaptureRequest: (1,),
        edge.PullRequest: ("state",),
        SetImageStateRequest: (),
        ResetRequest: (),
        standard.ImageEraseRequest: (),
    }
    writes = {cls for cls in message_classes() if cls.op is Op.WRITE}
    free = {
        edge.AuthoriseRequest, standard.EchoRequest, ImageUploadRequest,
        standard.SetDatetimeRequest,
    }  # fmt: skip
    assert writes - free == set(arguments)
    for cls, fields in arguments.items():
        assert desk.ask(cls(*fields)).rc == Rc.ACCESS_DENIED, cls
    assert desk.upload(making.model()).match
    assert authorise(desk, OTHER_KEY).rc == Rc.ACCESS_DENIED
    assert authorise(desk).seconds == 600
    assert desk.ask(SetImageStateRequest(desk.waiting().hash)).images[0].pending
    desk.later(601.0)
    assert desk.ask(ResetRequest()).rc == Rc.ACCESS_DENIED
    assert desk.ask(edge.StatusRequest()).agent["provisioned"]


def test_an_unprovisioned_board_says_so(desk):
    status = desk.ask(edge.StatusRequest()).agent
    assert (status["provisioned"], status["authorised"]) == (False, True)
    assert authorise(desk).seconds == 600


# -- group 64 ----------------------------------------------------------------------------------


@pytest.fixture
def running(desk):
    desk.install(making.model())
    return desk


def test_labels_go_to_the_worker_and_its_answer_comes_back(running):
    running.runner.answers["labels"] = {
        "accepted": 1, "refused": [{"sample": n, "reason": "x" * 500} for n in range(100)]
    }  # fmt: skip
    answer = running.ask(edge.LabelsRequest((edge.LabelEntry(3, "cat"), edge.LabelEntry(4, 5))))
    assert answer.accepted == 1
    assert 0 < len(answer.refused) < 100
    assert running.runner.asked[-1]["labels"] == [[3, "cat"], [4, 5]]
    running.runner.answers["undo"] = {"generation": 7}
    assert running.ask(edge.UndoRequest(5)).generation == 7
    running.runner.answers["capture"] = {"name": "capture.npz"}
    assert running.ask(edge.CaptureRequest(5)).name == "capture.npz"
    running.runner.answers["pull"] = {"name": "state.edge", "len": 3, "sha": "00" * 32}
    assert running.ask(edge.PullRequest("state")).sha == bytes(32)
    running.runner.answers["pull"] = {"error": "no such thing"}
    assert running.ask(edge.PullRequest("x")) == Refusal(Rc.INVALID, rsn="no such thing")


def test_a_worker_that_does_not_answer_is_not_waited_for(running):
    running.runner.answers["undo"] = None
    assert running.ask(edge.UndoRequest(5)) is None
    (reply,) = running.later(31.0)
    assert reply[2].rc == Rc.TIMEOUT


def test_a_worker_that_ends_leaves_no_host_waiting(running):
    running.runner.answers["undo"] = None
    assert running.ask(edge.UndoRequest(5)) is None
    running.runner.trouble = "the runtime died by SIGSEGV"
    (reply,) = running.later(0.1)
    assert reply[2] == Refusal(Rc.BAD_STATE, rsn="the runtime was started anew")
    assert running.ask(edge.UndoRequest(5)).rsn == "the runtime died by SIGSEGV"
    assert running.runner is None
    running.later(2.0)
    assert running.runner is not None


@pytest.mark.parametrize(
    "rubbish",
    [
        {"say": "news"},
        {"say": "news", "events": 3, "rows": [], "wanted": [], "settled": [], "oldest": 0},
        {"say": "news", "events": [], "rows": [["x"]], "wanted": [], "settled": [], "oldest": 0},
        {"say": "news", "events": [], "rows": [], "wanted": [{}], "settled": [], "oldest": 0},
        {"say": "answer"},
        {"say": "answer", "ticket": 1, "value": 5},
        {"say": "ready"},
    ],
)
def test_rubbish_from_the_worker_ends_the_worker_and_not_the_agent(running, rubbish):
    running.runner.answers["undo"] = None
    running.ask(edge.UndoRequest(5))
    old = running.runner
    old.said.append(rubbish)
    running.later(0.1)
    if rubbish.get("value") != 5:
        assert "make sense" in old.trouble
    running.later(0.1)
    assert running.ask(standard.EchoRequest("still here")).r == "still here"


def news(**changes):
    empty = {"events": [], "rows": [], "wanted": [], "settled": [], "oldest": 0}
    return {"say": "news", **empty, **changes}


def event(message):
    return {"kind": "drift", "message": message, "sample_id": 5, "slot": 0, "evidence": {"p": 0.1}}


def test_events_are_waited_for(running):
    since = running.ask(edge.EventsRequest()).next
    assert running.ask(edge.EventsRequest(since)).events == ()
    assert running.ask(edge.EventsRequest(since, wait_ms=5000)) is None
    running.runner.said.append(news(events=[event("the world changed")]))
    (reply,) = running.later(0.2)
    assert [each.message for each in reply[2].events] == ["the world changed"]
    running.replies.clear()
    assert running.ask(edge.EventsRequest(since + 1, wait_ms=10**9)) is None
    assert running.later(9.0) == []
    (reply,) = running.later(2.0)
    assert (reply[2].events, reply[2].next) == ((), since + 1)


def test_waiting_hosts_are_bounded(running):
    since = running.ask(edge.EventsRequest()).next
    answers = [running.ask(edge.EventsRequest(since, wait_ms=9000)) for _ in range(33)]
    assert answers[-1].rc == Rc.BUSY
    assert answers[:-1] == [None] * 32
    running.agent.forget(running.lines[0])
    assert running.later(20.0) == []


def test_wanted_labels_come_and_go(running):
    wanted = [{"sample": n, "p_value": 0.1 / (n + 1), "label": "cat", "slot": 0} for n in range(40)]
    running.runner.said.append(news(wanted=wanted))
    running.later(0.1)
    answer = running.ask(edge.LabelRequestsRequest(3))
    assert ([each.sample for each in answer.wanted], answer.waiting) == ([39, 38, 37], 40)
    running.runner.said.append(news(settled=[39], oldest=30))
    running.later(0.1)
    assert running.ask(edge.LabelRequestsRequest()).waiting == 9


@pytest.mark.parametrize("buf_size", [256, 1024, 4096])
def test_a_status_fits_into_any_message(tmp_path, buf_size):
    desk = Desk(tmp_path, buf_size=buf_size)
    desk.install(making.model())
    desk.runner.status |= {
        "slots": [
            {"slot": n, "labels": 10**6, "classes": 9, "adaptor": True, "bytes": 10**7}
            for n in range(16)
        ],
        "classes": [f"class number {n}" for n in range(256)],
        "damaged_generations": ["x" * 200] * 5,
    }
    answer = desk.ask(edge.StatusRequest())
    assert len(answer_bytes(Header(Op.READ, 64, 0, 0), answer)) <= buf_size - 4
    assert answer.agent["board"] == "desk"
    pulled = desk.ask(edge.PullRequest("status"))
    whole = json.loads((tmp_path / "shared" / pulled.name).read_bytes())
    assert len(whole["runtime"]["classes"]) == 256


def test_the_log_of_attempts_is_a_file(running):
    running.upload(b"no pack" * 20)
    pulled = running.ask(edge.PullRequest("log"))
    log = json.loads((running.root / "shared" / pulled.name).read_bytes())
    assert [each["outcome"] for each in log["attempts"]] == ["confirmed", "refused"]


def test_without_a_pack_nothing_learns(desk):
    assert desk.ask(edge.UndoRequest(1)).rsn == "no model pack runs on this board yet"
    assert desk.ask(edge.StatusRequest()).runtime == {}


# -- an update that goes wrong -----------------------------------------------------------------


@pytest.fixture
def trying(running):
    running.try_out(making.model(version="2.0.0"))
    assert running.record.phase is Phase.TRIAL
    return running


def assert_back(desk, reason):
    assert desk.record.phase is Phase.REVERTED
    assert desk.images()[0].version == "1.0.0"
    assert desk.images()[0].active
    assert reason in desk.record.attempts[-1].reason
    assert desk.runner.order.places.model.endswith(f"{desk.record.active.model.id}.pack")
    assert desk.runner.order.carry_from is None
    reasons = [each.message for each in desk.ask(edge.EventsRequest()).events]
    assert any(reason in each for each in reasons)


@pytest.mark.parametrize(
    "trouble", ["the runtime died by SIGSEGV", "the runtime gave no sign for 20 s"]
)
def test_what_crashes_or_hangs_while_it_is_tried_is_undone_at_once(trying, trouble):
    tried = trying.runner
    tried.trouble = trouble
    trying.later(0.1)
    assert tried.ended == "killed"
    assert_back(trying, trouble)


def test_what_rejects_the_samples_that_were_good_before_is_undone(trying):
    trying.runner.samples = (5, 14)
    trying.later(0.1)
    assert trying.record.phase is Phase.TRIAL
    trying.runner.samples = (5, 15)
    trying.later(0.1)
    assert_back(trying, "the runtime rejects 75% of the samples, 0% before")


def test_a_broken_sensor_does_not_undo_an_update(running):
    running.runner.samples = (0, 50)
    running.try_out(making.model(version="2.0.0"))
    running.runner.samples = (0, 50)
    running.later(0.1)
    assert running.record.phase is Phase.TRIAL


def test_what_nobody_confirms_is_undone(trying):
    trying.later(99.0)
    assert trying.record.phase is Phase.TRIAL
    assert trying.ask(edge.StatusRequest()).agent["confirm_within_s"] in (0, 1)
    trying.later(1.0)
    assert_back(trying, "not confirmed in time")


def test_a_power_cut_while_it_is_tried_undoes_it(trying):
    trying.boot()
    assert_back_after_boot = trying.record.attempts[-1]
    assert trying.record.phase is Phase.REVERTED
    assert "went down" in assert_back_after_boot.reason
    assert trying.images()[0].version == "1.0.0"


def test_what_fails_its_self_test_never_runs(running):
    running.verdict = Verdict(False, "worse than before: 10.0% of the canaries right")
    n_runners = len(running.runners)
    running.upload(making.model(version="2.0.0"))
    running.ask(SetImageStateRequest(running.waiting().hash))
    running.ask(ResetRequest())
    running.later(0.1)  # what runs saves what it has learned
    running.later(0.1)
    assert running.record.phase is Phase.REVERTED
    assert [each.version for each in running.images()] == ["1.0.0"]
    assert all(
        each.order.places.model == running.runner.order.places.model
        for each in running.runners[n_runners:]
    )


def test_a_confirmed_pack_that_keeps_crashing_is_started_again_ever_more_slowly(running):
    waits = []
    for _ in range(9):
        running.runner.trouble = "the runtime died by SIGKILL"
        running.later(0.01)
        waited = 0.0
        while running.runner is None:
            running.later(0.5)
            waited += 0.5
        waits.append(waited)
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == 60.0
    assert running.ask(edge.StatusRequest()).agent["trouble"] == "the runtime died by SIGKILL"


# -- disks and clocks --------------------------------------------------------------------------


@pytest.mark.parametrize("sickness", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_sick_disk_is_reported_and_nothing_is_lost(running, sickness):
    before = running.record
    data = making.model(version="2.0.0")
    running.ask(first(data, 300))
    running.files.sickness = running.shared.sickness = sickness
    refusal = running.ask(ImageUploadRequest(300, data[300:600]))
    assert refusal.rc == Rc.NO_MEMORY
    assert errno.errorcode[sickness] in refusal.rsn
    assert running.ask(edge.PullRequest("log")).rc == Rc.NO_MEMORY
    assert running.record == before
    assert running.ask(edge.StatusRequest()).runtime["generation"] == 1
    running.files.sickness = running.shared.sickness = 0
    assert running.ask(ImageUploadRequest(300, data[300:600])).off == 600
    assert running.upload(data).match


def test_a_disk_that_fills_while_a_pack_is_taken(running):
    data = making.model(version="2.0.0")
    running.ask(first(data, len(data) - 10))
    sick = running.files
    real = sick.rename

    def full(old, new):
        raise OSError(errno.ENOSPC, "No space left on device")

    sick.rename = full
    refusal = running.ask(ImageUploadRequest(len(data) - 10, data[-10:]))
    assert refusal.rc == Rc.NO_MEMORY
    sick.rename = real
    assert running.upload(data).match  # resumes with what is here
    assert running.record.phase is Phase.STAGED


def test_what_ran_before_runs_even_if_that_cannot_be_written(trying):
    trying.files.sickness = errno.EROFS
    trying.runner.trouble = "the runtime died by SIGSEGV"
    trying.later(0.1)
    assert trying.record.phase is Phase.TRIAL  # as the disk has it
    assert trying.runner.order.places.model.endswith(f"{trying.record.active.model.id}.pack")
    assert "cannot be written" in trying.ask(edge.StatusRequest()).agent["trouble"]
    trying.files.sickness = 0
    trying.later(6.0)
    assert trying.record.phase is Phase.REVERTED
    assert trying.record.attempts[-1].reason == "the runtime died by SIGSEGV"


@pytest.mark.parametrize("phase", [Phase.TRIAL, Phase.TESTING])
def test_what_was_cut_off_does_not_run_even_if_that_cannot_be_written(running, phase):
    if phase is Phase.TRIAL:
        running.try_out(making.model(version="2.0.0"))
    else:
        running.upload(making.model(version="2.0.0"))
        running.ask(SetImageStateRequest(running.waiting().hash))
    running.files.sickness = errno.EROFS
    running.boot()
    assert running.record.phase is phase
    assert running.runner.order.places.model.endswith(f"{running.record.active.model.id}.pack")
    assert running.runner.order.carry_from is None
    running.files.sickness = 0
    running.later(6.0)
    assert running.record.phase is Phase.REVERTED
    assert "went down" in running.record.attempts[-1].reason


def test_a_verdict_that_cannot_be_written_is_written_later(running):
    running.upload(making.model(version="2.0.0"))
    running.ask(SetImageStateRequest(running.waiting().hash))
    running.files.sickness = errno.ENOSPC
    running.later(0.1)
    assert running.record.phase is Phase.TESTING
    running.files.sickness = 0
    running.later(6.0)
    assert running.record.phase is Phase.READY


@pytest.mark.parametrize("jump", [YEAR_S, -YEAR_S])
def test_a_clock_that_jumps_by_a_year_changes_nothing(trying, jump):
    authorise(trying)
    trying.later(1.0, wall=jump)
    assert trying.record.phase is Phase.TRIAL
    assert trying.ask(edge.EventsRequest(10**6 - 10**6)).events
    trying.ask(SetImageStateRequest(confirm=True))
    assert trying.record.phase is Phase.CONFIRMED
    trying.boot()
    assert trying.images()[0].version == "2.0.0"
    trying.later(1.0, wall=-3 * jump)
    trying.try_out(making.model(version="3.0.0"))
    trying.later(101.0)
    assert trying.record.phase is Phase.REVERTED
