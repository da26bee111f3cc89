"""The page: all that it must say, and nothing that it must not do."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from daq.errors import StorageError
from daq.model.record import GAP, MESSAGE, READING, RECORD, Flag, plain
from daq.report.canvas import ink, svg
from daq.report.page import MAX_GAPS, MAX_MESSAGES, MAX_PROBLEMS, write_report
from daq.report.source import Verification
from tests.report_run import (
    START_NS,
    FakeRun,
    FakeVerification,
    channel,
    made_records,
    made_run,
    rows,
    with_channels,
)

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 191 }}"
LOADING = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background"}
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: tags, what they would load, text, and whether all is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in LOADING]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def written(run: FakeRun, verification: Verification | None = None) -> str:
    path = run.folder / "report.html"
    assert write_report(run, path, verification) == path
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> FakeRun:
    """Eleven channels for some seconds."""
    folder = tmp_path_factory.mktemp("run_000142")
    return made_run(folder, seconds=12.0, rng=np.random.default_rng(2))


@pytest.fixture(scope="module")
def page(night: FakeRun) -> str:
    return written(night, FakeVerification(records={"C11": 1200, "SI": 34}))


@pytest.fixture
def empty(tmp_path: Path) -> FakeRun:
    return FakeRun(folder=tmp_path, channels=(channel("C11"),))


def test_a_page_stands_alone(page: str) -> None:
    found = Page(page)
    assert found.open == []
    assert [target for target in found.loads if not target.startswith("#")] == []
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert found.handlers == []
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_every_link_within_the_page_leads_somewhere(page: str) -> None:
    ids = set(re.findall(r'id="([^"]+)"', page))
    targets = {target[1:] for target in Page(page).loads} | set(
        re.findall(r"url\(#([^)]+)\)", page)
    )
    assert targets <= ids


def test_names_of_parts_are_used_once(page: str) -> None:
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_page_is_small(page: str) -> None:
    assert len(page.encode()) < 1_000_000


def test_it_says_what_the_run_was(page: str) -> None:
    text = Page(page).text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    for expected in (
        "Run 142 bench",
        "● complete",
        "verified: 1 234 records whole",
        "55Fe at 10 mK, all nine crystals",
        "start 2026-09-21 14:13:20 UTC",
        "stop 2026-09-21 14:13:32 UTC (after 60 s)",
        "duration 12.0 s",
        "scheelite 0.1.0",
        "daq1",
        "2 gaps, 450 000 samples lost, the length of 1 estimated.",
        "C31: flux jump of -1 phi0, locked again.",
        "inputs.6.temperature",
        "fridge heater_output 3 readings failed",
        'name = "bench"',
        "with a record in a veto channel",
    ):
        assert expected in text


def test_every_channel_has_its_pictures(page: str, night: FakeRun) -> None:
    labels = re.findall(r'aria-label="([^"]+)"', page)
    for of in night.channels:
        for what in ("traces", "pulse heights", "noise", "record rate"):
            assert f"{what} of {of.name}" in labels
    assert "share of real time" in labels
    assert "fridge inputs.6.temperature against time" in labels


def test_pictures_are_whole_and_colored_by_the_page(page: str) -> None:
    pictures = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(pictures) > 44
    for picture in pictures:
        ElementTree.fromstring(picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))
        assert not re.search(r"(fill|stroke): #", picture)
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", page))
    assert used <= set(re.findall(r"--([a-z0-9-]+):", page))


def test_axes_say_what_and_in_which_unit(page: str) -> None:
    texts = set(re.findall(r"<text[^>]*>([^<]+)</text>", page))
    assert {"time since trigger (ms)", "frequency (Hz)", "records per bin", "rate (1/s)"} <= texts
    assert {"time since start (s)", "temperature (mK)", "temperature (K)"} <= texts
    assert any(re.fullmatch(r"noise \([nµm]?V/√Hz\)", text) for text in texts)
    assert any(re.fullmatch(r"pulse height \([µm]?V\)", text) for text in texts)
    assert any(re.fullmatch(r"signal \([µm]?V\)", text) for text in texts)


def test_the_same_run_gives_the_same_bytes(night: FakeRun) -> None:
    run = with_channels(night, 2)
    assert written(run) == written(run)


def test_text_from_outside_stays_text(empty: FakeRun) -> None:
    evil = EVIL.encode()
    run = replace(
        empty,
        comment=EVIL,
        name=EVIL,
        reason=EVIL,
        host=EVIL,
        software=EVIL,
        settings_toml=EVIL,
        channels=(channel(EVIL),),
        tables={
            "messages": rows(MESSAGE, (START_NS, b"info", evil)),
            "gaps": rows(GAP, (0, 0, 10, 1, b"<b>lost</b>")),
            "readings": rows(
                READING,
                (START_NS, evil[:32], evil[:64], 1.0, b"<u>K</u>", b"read", evil),
                (START_NS + 10**9, evil[:32], evil[:64], 2.0, b"<u>K</u>", b"read", evil),
            ),
        },
    )
    text = written(run, FakeVerification(ok=False, problems=[EVIL]))
    found = Page(text)
    assert not {"script", "img", "b", "u"} & set(found.tags)
    assert found.handlers == []
    assert found.open == []
    assert html.escape(EVIL, quote=False).replace('"', "&#34;").replace("'", "&#39;") in text
    assert "1337" not in found.text


def test_a_dollar_sign_in_a_name_is_a_dollar_sign() -> None:
    drawing = svg(lambda axes: axes.set(xlabel="$x^2$ (V)") and None, "$label$")
    assert "$x^2$ (V)" in drawing


def test_a_matplotlibrc_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(axes: object) -> None:
        axes.plot([0, 1], [0, 1], color=ink("s0"))  # type: ignore[attr-defined]

    before = svg(draw, "line")
    monkeypatch.setitem(matplotlib.rcParams, "axes.titlesize", 40)
    monkeypatch.setitem(matplotlib.rcParams, "xtick.direction", "in")
    assert svg(draw, "line") == before
    assert matplotlib.rcParams["xtick.direction"] == "in"


def test_empty_states_speak(empty: FakeRun) -> None:
    text = Page(written(empty)).text
    for expected in (
        "not verified",
        "no records in this channel",
        "no record free of pile-up and saturation",
        "no live time was counted",
        "no events in this run",
        "no readings in this run",
        "no gaps: no sample was lost",
        "no messages in this run",
    ):
        assert expected in text


def test_a_run_without_channels_has_a_page(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path, channels=(), digitizers=())
    assert "this run has no channels" in Page(written(run)).text


def test_a_channel_whose_records_are_all_piled_up_says_so(night: FakeRun) -> None:
    table, samples = night.all_records["C11"]
    table = table.copy()
    table["flags"] = Flag.PILED_UP
    run = replace(
        night, channels=night.channels[:1], all_records={"C11": (table, samples)}, tables={}
    )
    text = Page(written(run)).text
    assert "no record free of pile-up and saturation" in text
    assert "No channel of this run is a veto" not in text  # for there are no events to tag


@pytest.mark.parametrize(
    ("noise_counts", "expected"),
    [(0, "no noise at all: the pretriggers are constant"), (1, 'aria-label="noise of C11"')],
)
def test_a_dead_input_says_so_and_shortest_pretriggers_have_noise(
    empty: FakeRun, noise_counts: int, expected: str
) -> None:
    of = channel("C11", record_length=16, pretrigger=8)
    table = np.zeros(3, plain(RECORD))
    table["trigger"], table["t_ns"] = [100, 200, 300], START_NS
    samples = np.zeros((3, 16), np.int16)
    samples[:, ::3] = noise_counts
    text = written(replace(empty, channels=(of,), all_records={"C11": (table, samples)}))
    assert expected in text
    assert "3 records, 3 off the axis" in text


def test_records_outside_the_run_are_not_drawn_as_if_there_were_none(empty: FakeRun) -> None:
    table, samples = made_records(
        empty.channels[0], np.array([10**9]), np.array([500.0]), np.random.default_rng(1)
    )
    text = Page(written(replace(empty, all_records={"C11": (table, samples)}))).text
    assert "no records between start and stop" in text


@pytest.mark.parametrize(
    "values",
    [(1.0, 2.0), (-1e300, 1e300), (1e-300, 2e-300), (float("inf"), 1.0, 2.0), (0.0, -5.0)],
)
def test_any_numbers_read_have_a_picture(empty: FakeRun, values: tuple[float, ...]) -> None:
    """Also where all were read before the run began."""
    found = [
        (START_NS - i * 10**9, b"fridge", b"x", value, b"K", b"read", b"")
        for i, value in enumerate(values)
    ]
    text = written(replace(empty, tables={"readings": rows(READING, *found)}))
    assert 'aria-label="fridge x against time"' in text


def test_problems_are_listed_up_to_a_number(empty: FakeRun) -> None:
    problems = [f"segment {i}: bad sum" for i in range(MAX_PROBLEMS + 7)]
    text = Page(written(empty, FakeVerification(ok=False, problems=problems))).text
    assert f"✗ {MAX_PROBLEMS + 7} problems found" in text
    assert "segment 0: bad sum" in text
    assert f"segment {MAX_PROBLEMS}: bad sum" not in text
    assert "and 7 more" in text
    one = Page(written(empty, FakeVerification(ok=False, problems=problems[:1]))).text
    assert "✗ 1 problem found" in one


@pytest.mark.parametrize(
    ("complete", "recovered", "expected"),
    [
        (True, True, "▲ recovered after a crash"),
        (False, False, "▲ not complete: still being recorded, or not yet recovered"),
    ],
)
def test_a_run_that_is_not_simply_complete_says_so(
    empty: FakeRun, complete: bool, recovered: bool, expected: str
) -> None:
    run = replace(empty, complete=complete, recovered=recovered)
    assert expected in Page(written(run)).text


def test_replayed_data_keep_their_own_time(night: FakeRun) -> None:
    run = replace(with_channels(night, 1), start_ns=START_NS + 10**17)
    text = Page(written(run)).text
    assert "start 2026-09-21 14:13:20 UTC" in text
    assert "recorded 2029-11-22 00:00:00 UTC" in text


def test_long_lists_are_cut_and_counted(empty: FakeRun) -> None:
    gaps = np.zeros(MAX_GAPS + 5, plain(GAP))
    gaps["start"] = np.arange(len(gaps)) * 1000 + 777_000_000
    gaps["stop"] = gaps["start"] + 10
    messages = np.zeros(MAX_MESSAGES + 5, plain(MESSAGE))
    messages["text"] = [f"message {i}." for i in range(len(messages))]
    run = replace(empty, tables={"gaps": gaps, "messages": messages})
    text = Page(written(run)).text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert f"{MAX_GAPS + 5} gaps" in text
    assert f"The first {MAX_GAPS}:" in text
    assert text.count("777 0") == MAX_GAPS
    assert f"The last {MAX_MESSAGES} of {MAX_MESSAGES + 5}." in text
    assert f"message {MAX_MESSAGES + 4}." in text
    assert "message 4." not in text


def test_a_folder_that_is_not_there_is_named(empty: FakeRun, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "report.html"
    with pytest.raises(StorageError, match=r"nowhere/report\.html: the report cannot be written"):
        write_report(empty, path, None)


def test_a_folder_in_the_report_s_place_is_refused_and_nothing_is_left(
    empty: FakeRun, tmp_path: Path
) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        write_report(empty, tmp_path / "report.html", None)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_numbers_are_there_without_matplotlib() -> None:
    code = "import sys, daq.report.show, daq.report.page\nassert 'matplotlib' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_thresholds_and_blinded_records_are_told(tmp_path):
    run = replace(
        FakeRun(folder=tmp_path, channels=(channel("C11"), channel("C12"))),
        thresholds={"C11": "50 % at 14.6 eV, by 420 salts, 71 noise triggers per day <b>"},
        blinded={"C12": 1234},
    )
    page = Page(write_report(run, tmp_path / "r.html", None).read_text(encoding="utf-8"))
    assert "C11 50 % at 14.6 eV, by 420 salts, 71 noise triggers per day <b>" in page.text
    assert "C12: 1 234 records are blinded" in page.text
    assert not page.open
