from __future__ import annotations

import html.parser
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_runtime.errors import EdgeRuntimeError, StreamError
from edge_runtime.evaluation.prequential import Probe, evaluate
from edge_runtime.records import EVENT_KINDS
from firmware_tools import report
from firmware_tools.comparison import band_png
from firmware_tools.plot import MARKS, png_of, rolling_rate, stretches_of
from firmware_tools.report import draw_run, write_report
from firmware_tools.tables import cell_text, csv_text, format_table
from tests.scripted import ScriptedRuntime, drifting_run, ticking_clock

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></table></body>",
    "&amp;{title}%s",
    r"$\frac{$ \undefined _^",
    "\x00\x1b[2J\r\n\t\u202e",
    "\ud800 lone",
    "日本語 🦊",
    "x" * 10_000,
    "",
]
VOID = {"meta", "img"}


class Checker(html.parser.HTMLParser):
    """Collects tags, attributes and text, and insists that tags nest."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def written(tmp_path, run=None, table=(), title="A run", settings=None):
    run = run or drifting_run(clock=ticking_clock())
    recorded = json.loads(json.dumps(run.to_dict()))
    path = write_report(recorded, table, tmp_path / "report.html", title, settings)
    return path.read_bytes().decode()


# -- the picture ----------------------------------------------------------------------------


def test_the_picture_is_a_png_1920_pixels_wide(tmp_path):
    path = draw_run(drifting_run().to_dict(), tmp_path / "run.png")
    with Image.open(path) as image:
        assert (image.format, image.width) == ("PNG", 1920)
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**24)}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)} <= colours


def test_the_same_run_gives_the_same_picture():
    assert png_of(drifting_run()) == png_of(drifting_run())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_domain_name_is_drawn_and_not_read(name):
    assert Image.open(io.BytesIO(png_of(drifting_run(names=(name, "night"))))).width == 1920


def test_a_single_sample_and_a_hundred_changes_can_be_drawn():
    assert png_of(evaluate(ScriptedRuntime(), [1], [1]))
    domains = [str(i // 3) for i in range(300)]
    assert png_of(evaluate(ScriptedRuntime(), [1] * 300, [1] * 300, domains=domains))


def test_a_run_without_an_answer_is_refused_and_no_file_is_left(tmp_path):
    run = evaluate(ScriptedRuntime(), ["bad"], [1]).to_dict()
    with pytest.raises(StreamError, match="nothing to draw"):
        draw_run(run, tmp_path / "run.png")
    with pytest.raises(StreamError, match="nothing to draw"):
        write_report(run, [], tmp_path / "run.html", "title")
    assert list(tmp_path.iterdir()) == []


def test_a_stretch_ends_where_the_next_begins():
    found = [tuple(each) for each in stretches_of(drifting_run())]
    assert found == [(0, 40, 0, 1.0), (40, 80, 1, 0.75), (80, 120, 0, 1.0)]


@given(st.lists(st.booleans(), min_size=1, max_size=50), st.integers(1, 60))
def test_a_rolling_rate_is_the_mean_of_what_it_looks_back_on(flags, window):
    expected = [np.mean(flags[max(0, i + 1 - window) : i + 1]) for i in range(len(flags))]
    np.testing.assert_allclose(rolling_rate(np.array(flags), window), expected)


# -- the report -----------------------------------------------------------------------------


def test_the_report_holds_picture_table_events_and_settings(tmp_path):
    table = [{"domain": "day", "accuracy": "99.0 %"}, {"domain": "night", "accuracy": None}]
    settings = {"seed": 0, "policy": {"false_alarm_rate": 0.05}, "note": None}
    page = Checker(written(tmp_path, table=table, title="Digits", settings=settings))
    for expected in (
        "Digits",
        "99.0 %",
        "grown by label",
        "1000.0 ms",
        '{"false_alarm_rate": 0.05}',
    ):
        assert expected in page.text
    assert "2 of 2" in page.text
    assert "Not listed: 1 ood and 1 label_request events." in page.text
    assert page.tags.count("table") == 4
    assert page.tags.count("img") == 1


def test_the_report_loads_nothing_from_elsewhere(tmp_path):
    page = Checker(written(tmp_path))
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert len(links) == 1
    assert links[0].startswith("data:image/png;base64,")
    assert "http" not in page.text
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_change_no_tag(tmp_path, monkeypatch, name):
    monkeypatch.setattr(report, "png_of", lambda _: b"picture")

    def tags(text):
        run = drifting_run(names=(text, "night"))
        table = [{"domain": text, f"heading {text}": text}]
        page = written(tmp_path, run, table, title=text, settings={f"key {text}": text})
        return Checker(page).tags

    assert tags(name) == tags("harmless")


def test_a_long_event_log_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "png_of", lambda _: b"picture")
    n = 1500
    runtime = ScriptedRuntime(step_events={i: ["adapted"] for i in range(n)})
    page = written(tmp_path, evaluate(runtime, [1] * n, [1] * n))
    assert "The last 500 others are left out." in page
    assert page.count("adapted at") == 1000


def test_bad_samples_and_refused_labels_are_shown_when_there_are_any(tmp_path):
    run = evaluate(ScriptedRuntime(memory=0), [1, "x"], [1, 1], answer="all")
    text = Checker(written(tmp_path, run)).text
    assert "bad samples skipped" in text
    assert "labels refused" in text
    assert "refused" not in written(tmp_path)


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    with pytest.raises(EdgeRuntimeError, match="cannot write"):
        write_report(drifting_run().to_dict(), [], tmp_path / "no" / "x.html", "title")
    (tmp_path / "x.html").write_text("old")
    with pytest.raises(StreamError):
        write_report({}, [], tmp_path / "x.html", "title")
    assert (tmp_path / "x.html").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


# -- plain tables ---------------------------------------------------------------------------


def test_a_table_aligns_words_left_and_numbers_right():
    rows = [{"domain": "fog", "n": 5, "ms": 0.123456}, {"domain": "printed", "n": None, "ms": 12.0}]
    assert format_table(rows).splitlines() == [
        "domain   n      ms",
        "-------  -  ------",
        "fog      5  0.1235",
        "printed  –      12",
    ]


def test_no_rows_give_no_text():
    assert format_table([]) == ""


CELLS = st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.none())


@given(st.lists(st.dictionaries(st.text(max_size=4), CELLS, min_size=1, max_size=4), min_size=1))
def test_a_table_has_one_printable_line_for_each_row_whatever_is_in_it(rows):
    lines = format_table(rows).split("\n")
    assert len(lines) == len(rows) + 2
    assert all(line.isprintable() for line in lines)


def test_a_cell_is_bounded():
    assert cell_text("x" * 1000) == "x" * 199 + "…"


def test_every_event_can_be_drawn_and_named():
    assert set(EVENT_KINDS) - {"ood"} <= set(MARKS)
    kinds = {i: [kind] for i, kind in enumerate(EVENT_KINDS)}
    run = evaluate(ScriptedRuntime(step_events=kinds), [1] * 40, [1] * 40)
    assert png_of(run)
    assert "sensor fault" in report._event_log(run)


# -- several runs -------------------------------------------------------------------------------


def probed(**options):
    probes = {"day": Probe([1, 2], [1, 1]), HOSTILE[0]: Probe([3], [3])}
    return drifting_run(probes=probes, **options)


def test_a_report_has_figures_forgetting_and_a_comparison(tmp_path):
    run = probed(clock=ticking_clock())
    compared = {"edge-runtime": [run.to_dict(), run.to_dict()], HOSTILE[1]: [run.to_dict()]}
    path = write_report(run.to_dict(), [], tmp_path / "r.html", "t", compared=compared)
    page = Checker(path.read_text())
    assert page.tags.count("img") == 2
    assert "script" not in page.tags
    for words in ("Figures", "Forgetting", "Compared", "routing %", "91.7 ± 0.0", "50.0 %"):
        assert words in page.text


def test_runs_of_other_streams_are_not_compared(tmp_path):
    run = drifting_run()
    other = {"a": [run.to_dict()], "b": [drifting_run(n=50).to_dict(), run.to_dict()]}
    with pytest.raises(StreamError, match="of one length"):
        write_report(run.to_dict(), [], tmp_path / "r.html", "t", compared=other)
    many = {str(i): [run.to_dict()] for i in range(8)}
    with pytest.raises(StreamError, match="8 learners"):
        write_report(run.to_dict(), [], tmp_path / "r.html", "t", compared=many)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_learner_is_drawn_as_text(name):
    assert Image.open(io.BytesIO(band_png({name: [drifting_run()]}))).size == (1920, 736)


def test_csv_runs_no_formula_and_keeps_numbers():
    text = csv_text([{"a": '=HYPERLINK("x")', "b": -1.5}, {"a": "one\ntwo", "b": None}])
    assert text == 'a,b\n"\'=HYPERLINK(""x"")",-1.5\none two,\n'
    assert csv_text([]) == "\n"
