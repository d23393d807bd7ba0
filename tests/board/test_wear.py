"""Bytes written to the SD card: counted with a clock that is told the time."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.board.event_log import LEAST_S, NAME, EventLog
from edge_runtime.board.files import Files
from edge_runtime.board.health import written_bytes
from edge_runtime.board.journal import MAX_EVENTS, Journal
from edge_runtime.board.service import RuntimeService, ServiceSettings
from edge_runtime.board.wear import HOUR_S, SavePlan
from edge_runtime.runtime import EdgeRuntime
from tests.board.test_service import LABELS, clusters


@given(
    sizes=st.lists(st.integers(1, 50_000_000), min_size=1, max_size=20),
    per_hour=st.integers(1_000_000, 10**9),
)
def test_in_no_hour_more_is_planned_than_the_promise_and_one_generation(sizes, per_hour):
    plan, now_s, saves = SavePlan(30.0, per_hour), 0.0, []
    for n_bytes in sizes:  # a label every second, for ever
        plan.changed(now_s)
        now_s = max(plan._due_s, plan._paid_off_s)
        assert plan.is_due(now_s)
        plan.saved(n_bytes, now_s)
        saves.append((now_s, n_bytes))
    for start_s, _ in saves:
        within = [n for at_s, n in saves if start_s <= at_s < start_s + HOUR_S]
        assert sum(within) <= per_hour + max(within) + 1
    assert plan.status() == {"saves": len(sizes), "bytes": sum(sizes), "per_hour": per_hour}


def test_an_hour_of_labels_writes_what_was_promised(tmp_path):
    """Whole generations on a disk, a label each second: bytes of all files ever written."""
    (tmp_path / "shared").mkdir()
    runtime = EdgeRuntime(n_dims=256, pending_samples=16)
    learned, per_hour = tmp_path / "learned", 300_000
    settings = ServiceSettings(save_s=30.0, write_bytes=per_hour)
    service = RuntimeService(runtime, learned, Files(tmp_path / "shared"), settings)
    written: dict[str, int] = {}
    for second in range(int(HOUR_S)):
        if second % 30 == 0:  # a label now and then is enough to want a save each time
            service.take(clusters(2, seed=second)[second % 2], float(second), lambda: 0.0)
            label = [[service._seen, LABELS[second % 2]]]
            service.do({"do": "labels", "labels": label}, float(second))
        service.tend(float(second))
        for path in learned.glob("state-*.edge") if learned.is_dir() else ():
            written[path.name] = path.stat().st_size
    largest = max(written.values())
    status = service.status()["written"]
    assert status["bytes"] == sum(written.values()) <= per_hour + largest
    assert status["saves"] == len(written) > 5
    assert sum(written.values()) > per_hour / 2  # and it does save


def test_a_healthy_board_writes_no_log_and_a_sick_one_not_often(tmp_path):
    journal, files = Journal(), Files(tmp_path)
    log = EventLog(journal, files)
    for n in range(2 * MAX_EVENTS):
        journal.note("drift", f"change {n}")
        log.tend("", float(n))
    assert files.names() == []
    log.tend("the runtime died by SIGKILL", 10_000.0)
    lines = (tmp_path / NAME).read_text().splitlines()
    assert len(lines) == MAX_EVENTS
    assert json.loads(lines[-1])["message"] == f"change {2 * MAX_EVENTS - 1}"
    journal.note("deployment", "started again")
    log.tend("", 10_001.0)
    log.tend("the runtime died again", 10_002.0)  # too soon: it stays in memory
    assert len((tmp_path / NAME).read_text().splitlines()) == MAX_EVENTS
    assert "started again" not in (tmp_path / NAME).read_text()
    log.tend("the runtime died again", 10_001.0 + LEAST_S)
    assert "started again" in (tmp_path / NAME).read_text()


def test_the_end_is_logged_and_a_full_disk_changes_nothing(tmp_path):
    journal = Journal()
    log = EventLog(journal, Files(tmp_path / "gone"))
    journal.note("line", "open")
    log.flush()
    (tmp_path / "gone").mkdir()
    log.flush()
    assert "open" in (tmp_path / "gone" / NAME).read_text()


def test_the_kernel_counts_what_this_process_writes():
    n_bytes = written_bytes(0)
    assert n_bytes is None  # no such process
