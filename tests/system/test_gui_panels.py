"""Every panel and every button of the console, in both themes, against sockets of our own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from daq.wire.schemas import Curve, Progress
from gui.keys import KEYS, PANELS, table
from gui.model.console import About
from gui.model.frames import Answer, Examined, TuneLine
from gui.model.inbox import Inbox
from gui.model.scales import Coupling, Scales
from gui.palette import PALETTES
from gui.tuning import follow
from tests.gui_bench import (
    CHANNELS,
    T0_NS,
    Clock,
    GuiBench,
    application,
    arrive,
    opened,
    press,
    window_of,
)
from tests.qt import qt_missing, wait_until

if TYPE_CHECKING:
    from gui.windows.main import MainWindow

pytestmark = pytest.mark.skipif(bool(qt_missing()), reason=qt_missing())

ABOUT = About(
    others=("folder", "digitizer.targets"),
    squids={"C11": "squids1:1", "C12": "squids1:2"},
    operator="anna",
)
PLAIN: dict[str, Any] = {
    "unit": "", "minimum": None, "maximum": None, "choices": [], "fields": None,
}  # fmt: skip
CURRENT = {**PLAIN, "kind": "number", "unit": "uA", "minimum": 0, "maximum": 125}
RANGE = {**PLAIN, "kind": "code", "choices": ["UA_125", "UA_500"]}
LISTED = {
    "squids1": {
        "model": "magnicon-xxf1",
        "resource": "x",
        "parameters": [
            {"name": f"squid {n}.{name}", "title": title, "writable": True, "slow": False,
             "shadow": False, "datatype": {**PLAIN, **datatype}}
            for n in (1, 2)
            for name, title, datatype in (
                ("mode", "The loop.", {"kind": "code", "choices": ["OPEN", "LOCKED"]}),
                ("phib", "Flux bias.", {"kind": "number", "unit": "uA", "minimum": -124.4,
                                        "maximum": 124.4}),
                ("tes_bias", "TES bias.", {"kind": "fields",
                                           "fields": {"current": CURRENT, "range": RANGE}}),
                ("feedback", "Resistor.", {"kind": "code", "unit": "kohm", "choices": ["10"]}),
            )
        ],
        "actions": [{"name": "squid 1.reset_loop", "title": "Open and close the loop."}],
    }
}  # fmt: skip


def reading(value: Any, unit: str = "", **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": "read", "t_ns": T0_NS, "stale": False,
            "text": "", **more}  # fmt: skip


READINGS = {
    "squids1.squid 1.mode": reading("LOCKED"),
    "squids1.squid 2.mode": reading("OPEN"),
    "squids1.squid 1.phib": reading(1.5, "uA"),
    "squids1.squid 1.tes_bias.current": reading(12.0, "uA"),
    "squids1.squid 1.tes_bias.range": reading("UA_125"),
    "squids1.squid 1.feedback": reading(30.0, "kohm"),
    "fridge.input 2.temperature": reading(3.6, "K"),
    "fridge.input 6.temperature": reading(0.0102, "K"),
    "fridge.still_output": reading(12.5, "%"),
    "gas.p1": reading(0.8, "mbar"),
}
INSTRUMENTS = {
    "readings": READINGS,
    "instruments": {"squids1": {"state": "ok", "problem": ""}},
    "problem": "",
}
ALARM = {
    "name": "warm", "severity": "critical", "state": "standing", "acknowledged_by": "",
    "sentence": "MXC above 12 mK for 30 s",
}  # fmt: skip
RUNNING = {"run": 142, "verbs": ["pause", "comment", "label", "stop"], "elapsed_s": 100.0}
CURVE = {"energy_ev": 15.0, "placed": 100, "found": 50, "low": 0.4, "high": 0.6}
CHANNEL = {
    "rate_hz": 0.41, "records": 50, "livetime_s": 96.0, "exposure_g_d": 0.63,
    "dead_s": {"holdoff": 2.0}, "efficiency": {"half_ev": 14.6, "curve": [CURVE]},
    "guard": {"jumps": 3, "standing": ""}, "threshold_ev": 15.0,
}  # fmt: skip
CORE = {
    "run": 142, "elapsed_s": 100.0, "channels": {"C11": CHANNEL}, "disk_hours_left": 61.0,
    "label": "A", "digitizers": {"targets": {"state": "streaming", "rate_hz": 250e3}},
    "safe": {"records": 50, "until_ns": 0},
}  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[GuiBench]:
    made = GuiBench(tmp_path)
    made.results["list"] = {"instruments": LISTED}
    counts = [0] * 511 + [7]
    counts[100] = 40
    made.results["spectra"] = {"spectra": {"C11": {"unit": "eV", "top": 7000.0, "counts": counts}}}
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def app() -> Any:
    return application()


@pytest.fixture(params=["light", "dark"])
def window(
    bench: GuiBench, clock: Clock, app: Any, request: pytest.FixtureRequest
) -> Iterator[MainWindow]:
    coupling = Coupling("squids1:1", 0.3e-6, 40e-6)
    more = {"about": ABOUT, "scales": Scales({"C11": coupling})}
    yield from window_of(bench, clock, theme=request.param, **more)


@pytest.fixture
def dark(bench: GuiBench, clock: Clock, app: Any) -> Iterator[MainWindow]:
    yield from window_of(bench, clock, theme="dark", about=ABOUT)


def whole_system(bench: GuiBench, window: MainWindow, clock: Clock) -> None:
    """A run, records, instruments that were listed, spectra that were told."""
    arrive(bench, window, "run", "running", **RUNNING)
    arrive(bench, window, "core", "running", **CORE)
    arrive(bench, window, "instruments", "running", **INSTRUMENTS)

    def told() -> bool:
        bench.serve()
        bench.send_pulse("C11", causes=128, height=0)
        bench.send_pulse("C11")
        console = window.console
        records = console.records.of("C11")
        kinds = {record.is_noise for record in records}
        return bool(console.forms.instruments and console.spectra.channels() and len(kinds) == 2)

    clock.now_s += 3
    arrive(bench, window, "core", "running", **CORE)
    wait_until(told)
    for service, body in (("run", RUNNING), ("core", CORE), ("instruments", INSTRUMENTS)):
        bench.say(service, "running", t_ns=T0_NS + 2 * 10**9, **body)
    later = dict(
        INSTRUMENTS, readings={n: dict(r, t_ns=T0_NS + 10**10) for n, r in READINGS.items()}
    )
    arrive(bench, window, "instruments", "running", **later)
    wait_until(lambda: [bench.serve(), window.console.run.is_fresh(clock.now_s)][-1])


def shown(window: MainWindow, panel: str) -> None:
    from PySide6.QtWidgets import QApplication

    window.docks.show(panel)
    QApplication.processEvents()
    window.show_panels()


def test_every_panel_shows_what_there_is(bench: GuiBench, window: MainWindow, clock: Clock) -> None:
    whole_system(bench, window, clock)
    for i, panel in enumerate(PANELS, 1):
        press(window, str(i))
        wait_until(lambda panel=panel: panel in window.docks.front())
        window.show_panels()
        assert not window.docks.docks[panel].grab().isNull()
    # the strip
    assert window.strip.run.text() == "run 142  A"
    assert window.strip.exposure.text() == "exposure 0.63 g·d"
    assert window.strip.disk.text() == "disk 61 h"
    assert window.strip.cold.text() == "base 10.2 mK"
    # the array and the channel
    assert "C11  ✓ locked" in window.array.button("C11").text()
    assert "C12  ▲ open" in window.array.button("C12").text()
    values = window.channel.values()
    assert (values["live"], values["live share"]) == ("0:01:36", "96.0 %")
    assert values["dead, holdoff"] == "2 s"
    assert values["guard jumps"] == "3"
    assert values["threshold"] == "15 eV"
    assert values["50 % found at"] == "14.6 eV"
    # spectra, rates, the efficiency
    assert window.spectrum.data("counts")[1].sum() == 2 * 47
    assert window.rates.curve.data("found")[1].tolist() == [50.0]
    # noise in A/sqrt(Hz): 0.3 uA / 40 uA / 30 kohm
    assert "A/√Hz" in window.noise.title.text()
    # the fridge
    assert [row[:2] for row in window.fridge.scheme.rows] == [
        ("4 K plate", "3.6 K"),
        ("mixing chamber", "10.2 mK"),
    ]
    assert window.fridge.temperatures.data("fridge.input 6.temperature")[0].size == 2
    # the run
    facts = window.run_panel.values()
    assert facts["room on the disk"] == "61 h"
    assert facts["lease"] == "nobody: anybody may command"


def test_a_record_is_shown_in_every_way_and_unit(
    bench: GuiBench, dark: MainWindow, clock: Clock
) -> None:
    whole_system(bench, dark, clock)
    shown(dark, "Records")
    pulse = dark.pulse
    pulse.kind.setCurrentText("pulses")
    for way in ("overlay", "average", "density", "last"):
        pulse.shows.setCurrentText(way)
        assert pulse.data("line")[1].size
    assert np.nanmax(pulse.data("line")[1]) == pytest.approx(0.2, abs=0.02)
    pulse.unit.setCurrentText("counts")
    assert np.nanmax(pulse.data("line")[1]) == pytest.approx(200, abs=20)
    pulse.unit.setCurrentText("eV")  # not known: it says so and shows volts
    assert pulse.unit.currentText() == "V"
    pulse.kind.setCurrentText("noise")
    assert np.nanmax(np.abs(pulse.data("line")[1])) < 0.05
    pulse.click(0.0, 0.0)
    pulse.click(0.01, 0.1)
    assert pulse.readout.text() == "Δ 0.01 s, 0.1 V"


def test_the_stream_gives_noise_that_can_be_a_reference(
    bench: GuiBench, dark: MainWindow, clock: Clock
) -> None:
    whole_system(bench, dark, clock)
    shown(dark, "Noise")
    dark.noise.measure_button.click()
    wait_until(lambda: [bench.serve(), "C11" in dark.console.streams][-1])
    dark.show_panels()
    # 30 mV of white noise in half of 250 kHz
    _, density = dark.noise.data("noise")
    assert np.median(density) == pytest.approx(0.03 / np.sqrt(125e3), rel=0.1)
    dark.noise.keep_button.click()
    del dark.console.streams["C11"]
    dark.show_panels()
    assert dark.noise.data("reference")[0].size
    dark.noise.model_box.click()
    dark.show_panels()
    assert not dark.noise.data("model")[0].size
    press(dark, "L")
    assert not dark.noise.log_y


def test_a_form_refuses_sends_and_shows_what_became_of_it(
    bench: GuiBench, dark: MainWindow, clock: Clock
) -> None:
    whole_system(bench, dark, clock)
    shown(dark, "SQUID/TES")
    forms, name = dark.forms, "squids1.squid 1.phib"
    mode = forms.fields["squids1.squid 1.mode"]
    assert mode.text == "LOCKED"  # what holds is what stands there until somebody chooses
    mode.editor.setCurrentText("OPEN")
    mode.editor.activated.emit(0)
    dark.show_panels()
    assert mode.text == "OPEN"
    field = forms.fields[name]
    assert field.held.text() == "1.5 µA"
    assert field.held.toolTip() == "read"
    for typed, said in (
        ("200", "■ refused not sent: expected 200 µA is outside -124.4 to 124.4 µA"),
        ("much", "■ refused not sent: expected a number, -124.4 to 124.4 µA; not 'much'"),
    ):
        field.editor.setText(typed)
        field.send.click()
        assert field.said.text() == said
    assert not [r for r in bench.asked if r.verb == "write"]
    field.editor.setText("2.5")
    bench.results["write"] = {"value": 2.5, "unit": "uA", "source": "read", "t_ns": T0_NS}
    field.send.click()
    assert field.said.text() == "◌ sent"
    wait_until(lambda: [bench.serve(), dark.console.forms.progress[name].stage == "done"][-1])
    dark.show_panels()
    assert field.said.text() == "✓ done now 2.5"
    (written,) = [r for r in bench.asked if r.verb == "write"]
    expected = {"instrument": "squids1", "parameter": "squid 1.phib", "value": 2.5}
    assert written.arguments == expected
    bench.refusal = "ben holds the control lease"
    field.send.click()
    wait_until(lambda: [bench.serve(), dark.console.forms.progress[name].stage == "refused"][-1])
    dark.show_panels()
    assert field.said.text() == "■ refused ben holds the control lease"


def test_what_may_warm_is_asked_about_and_written_with_its_other_fields(
    bench: GuiBench, dark: MainWindow, clock: Clock
) -> None:
    whole_system(bench, dark, clock)
    shown(dark, "SQUID/TES")
    field = dark.forms.fields["squids1.squid 1.tes_bias.current"]
    field.editor.setText("20")
    field.send.click()
    question = dark.forms.question
    assert question is not None
    assert "tes_bias.current to 20 µA?" in question.text()
    question.buttons()[0].click()
    wait_until(lambda: [bench.serve(), any(r.verb == "write" for r in bench.asked)][-1])
    written = next(r for r in bench.asked if r.verb == "write")
    assert written.arguments["value"] == {"current": 20.0, "range": "UA_125"}
    dark.forms.deeds["squid 1.reset_loop"].click()
    wait_until(lambda: [bench.serve(), any(r.verb == "act" for r in bench.asked)][-1])
    assert bench.asked[-1].arguments == {"instrument": "squids1", "action": "squid 1.reset_loop"}


def test_a_tuning_is_a_program_that_is_asked_for_followed_and_taken_back(
    bench: GuiBench, dark: MainWindow, clock: Clock
) -> None:
    whole_system(bench, dark, clock)
    shown(dark, "SQUID/TES")
    assert dark.forms.tune_button.text() == "Tune C11"
    for button, what in ((dark.forms.tune_button, "C11"), (dark.forms.undo_button, "undo")):
        button.click()
        assert dark.forms.question is not None
        dark.forms.question.buttons()[0].click()
        wait_until(lambda what=what: dark.console.tuning == what)
        assert not dark.forms.tune_button.isEnabled()
        wait_until(lambda: not dark.console.tuning, 120)  # its config is not there
        dark.show_panels()
        assert dark.forms.tune_said.text().startswith("■ ")
        assert "none.toml" in dark.forms.tune_said.toolTip()
        assert dark.forms.tune_button.isEnabled()


def test_what_a_program_says_is_told_line_by_line() -> None:
    inbox = Inbox()
    follow(
        [sys.executable, "-c", "print('C11 lock: passed'); print('C11 iv: passed')"], inbox, "C11"
    )
    lines = [item for item in inbox.take() if isinstance(item, TuneLine | Answer)]
    assert [line.text for line in lines if isinstance(line, TuneLine)] == [
        "C11 lock: passed",
        "C11 iv: passed",
    ]
    assert lines[-1] == Answer("tune", "", "tune", tag="C11")


def test_pause_comment_and_label_are_sent(
    bench: GuiBench, dark: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEELITE_OPERATOR", "anna")
    arrive(bench, dark, "run", "running", **RUNNING)
    done = lambda: [bench.serve(), not dark.console.pending][-1]  # noqa: E731
    press(dark, "P", control=True)
    assert dark.controls.pause_button.text() == "Pausing…"
    wait_until(done)
    dark.controls.text.setText("the pump is loud")
    dark.controls.text.returnPressed.emit()
    wait_until(done)
    dark.controls.labels.setCurrentText("ignore")
    dark.controls.labels.activated.emit(4)
    wait_until(done)
    arrive(bench, dark, "run", "paused", **{**RUNNING, "verbs": ["resume", "stop"]})
    assert dark.strip.state.text() == "‖ PAUSED"
    assert dark.controls.pause_button.text() == "Resume"
    dark.controls.pause_button.click()
    wait_until(done)
    asked = [(r.verb, r.arguments) for r in bench.asked]
    comment = {"text": "the pump is loud", "who": "anna"}
    assert asked == [
        ("pause", {}), ("comment", comment), ("label", {"label": "ignore"}), ("resume", {}),
    ]  # fmt: skip


def test_an_alarm_is_seen_acknowledged_and_over(
    bench: GuiBench, dark: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEELITE_OPERATOR", "anna")
    arrive(bench, dark, "run", "running", **RUNNING, alarms=[ALARM])
    assert dark.strip.alarms.text() == "▲ 1 alarm"
    assert dark.strip.alarms.property("tone") == "alarm"
    dark.strip.alarms.click()
    wait_until(lambda: "Log" in dark.docks.front())
    dark.show_panels()
    dark.log_panel.alarm_buttons["warm"].click()
    wait_until(bench.serve)
    press(dark, "K", control=True)
    wait_until(lambda: [bench.serve(), len(bench.asked) == 2][-1])
    assert {r.verb for r in bench.asked} == {"alarm-acknowledge"}
    assert bench.asked[0].arguments == {"name": "warm", "who": "anna"}
    arrive(bench, dark, "run", "running", **RUNNING, alarms=[])
    assert dark.strip.alarms.text() == "no alarm"
    assert "alarm warm is over" in dark.log.toPlainText()


def test_the_log_is_filtered_and_the_doctor_answers(bench: GuiBench, dark: MainWindow) -> None:
    shown(dark, "Log")
    dark.console.note("digitizer.targets: no news for 3 s", "attention")
    dark.console.note("run started", "normal")
    panel = dark.log_panel
    panel.level.setCurrentText("attention")
    dark.show_panels()
    assert "no news" in panel.lines.toPlainText()
    assert "run started" not in panel.lines.toPlainText()
    panel.level.setCurrentText("everything")
    panel.words.setText("STARTED")
    dark.show_panels()
    assert panel.lines.toPlainText().count("\n") == 0
    link = {"link": "digitizer targets", "ok": False, "said": "sends nothing", "mend": "its clock?"}
    dark.receive([Examined([{"link": "services", "ok": True, "said": "up"}, link])])
    dark.show_panels()
    assert panel.findings.text() == "■ digitizer targets: sends nothing → its clock?"
    panel.doctor_button.click()  # the real one, of a config that is not there
    wait_until(lambda: "doctor: he could not be asked" in dark.log.toPlainText(), 120)


def test_the_lease_is_taken_and_given_back(
    bench: GuiBench, dark: MainWindow, monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    monkeypatch.setenv("SCHEELITE_OPERATOR", "anna")
    held = {"who": "anna", "until_ns": T0_NS + 10**12, "seal": "s", "since_ns": T0_NS}
    arrive(bench, dark, "run", "idle", verbs=["start"], lease=held)
    shown(dark, "Run")
    assert dark.strip.lease.text() == "lease anna (you)"
    dark.run_panel.take_button.click()
    wait_until(bench.serve)
    dark.run_panel.release_button.click()
    wait_until(lambda: [bench.serve(), len(bench.asked) == 2][-1])
    take, release = bench.asked
    assert (take.arguments["who"], take.arguments["for_s"]) == ("anna", 3600.0)
    assert take.arguments["ticket"] == release.arguments["ticket"] == take.ticket != ""


def test_arrows_and_clicks_choose_the_channel_for_every_panel(
    bench: GuiBench, dark: MainWindow
) -> None:
    press(dark, "Right")
    assert dark.table.selected == "C12"
    assert dark.array.button("C12").isChecked()
    press(dark, "Right")
    press(dark, "Right")
    assert dark.table.selected == "C13"
    dark.array.button("C11").click()
    assert dark.channel.title.text() == "C11"


def test_a_lost_service_turns_grey_and_comes_back(
    bench: GuiBench, dark: MainWindow, clock: Clock
) -> None:
    whole_system(bench, dark, clock)
    shown(dark, "SQUID/TES")
    bench.end("instruments")
    clock.now_s += 2.1
    wait_until(lambda: dark.strip.cold.property("tone") == "stale")
    assert "instruments: no news" in dark.log.toPlainText()
    dark.show_panels()
    assert not dark.forms.fields["squids1.squid 1.phib"].send.isEnabled()
    assert "no news, so nothing can be sent" in dark.forms.hint.text()
    bench.begin("instruments")
    arrive(bench, dark, "instruments", "running", boot="c", **INSTRUMENTS)
    dark.show_panels()
    assert dark.strip.cold.property("tone") == "normal"
    assert "instruments: speaks again" in dark.log.toPlainText()


def test_the_arrangement_is_remembered_and_can_be_reset(
    bench: GuiBench, clock: Clock, app: Any
) -> None:
    first = opened(bench, clock)
    first.docks.docks["Messages"].hide()
    first.docks.docks["Fridge"].setFloating(True)
    first.close()
    second = opened(bench, clock)
    assert second.docks.docks["Fridge"].isFloating()
    assert second.docks.docks["Messages"].isHidden()
    second.docks.reset()
    assert not second.docks.docks["Fridge"].isFloating()
    assert not second.docks.docks["Messages"].isHidden()
    second.close()


def test_every_key_is_bound_and_told(dark: MainWindow) -> None:
    from PySide6.QtGui import QShortcut

    bound = {shortcut.key().toString() for shortcut in dark.findChildren(QShortcut)}
    assert bound == {key.key for key in KEYS}
    press(dark, "Question")
    assert dark.help is not None
    dark.help.reject()
    asked: list[None] = []
    dark.theme_asked.connect(lambda: asked.append(None))
    press(dark, "T", control=True)
    assert asked == [None]
    page = Path(__file__).parents[2] / "docs" / "howto" / "console.md"
    assert table() in page.read_text(encoding="utf-8"), "run: python -m gui.keys"


def test_a_window_that_stood_still_blames_nobody(bench: GuiBench, clock: Clock, app: Any) -> None:
    stall = [0.0]
    window = opened(bench, clock)
    window._turned = lambda: stall[0]
    arrive(bench, window, "run", "idle", verbs=["start"])
    clock.now_s += 10
    stall[0] += 10
    window.receive([])
    assert window.console.run.is_fresh(clock.now_s)
    window.close()


def test_both_themes_have_all_tones() -> None:
    for palette in PALETTES.values():
        tones = {palette.tone(tone) for tone in ("stale", "normal", "attention", "alarm")}
        assert len(tones) == 4


def test_channels_are_those_of_the_config(dark: MainWindow) -> None:
    assert tuple(dark.console.channels) == CHANNELS


def tuned(step: str, y: list[float], state: str = "runs", **more: Any) -> Progress:
    """A step of C11 with what was measured so far."""
    curves = [Curve("measured", [float(i) for i in range(len(y))], y, points=True)]
    return Progress(
        at="C11", step=step, state=state, t_ns=T0_NS, title="V-phi at 12 uA", fraction=0.4,
        x_label="current in the flux line [uA]", y_label="output [mV]", curves=curves, **more,
    )  # fmt: skip


def test_v_phi_and_iv_grow_while_somebody_tunes(bench: GuiBench, dark: MainWindow) -> None:
    shown(dark, "SQUID/TES")
    curves = dark.curves
    assert curves.squid.said == "no V-phi of C11 yet:\nTune measures one"
    bench.progress.show("C11 v-phi", tuned("v-phi", [1.0, 3.0]))
    heard = lambda: [bench.serve(), dark.console.tunings.drawn("C11", ["v-phi"])][-1]  # noqa: E731
    wait_until(heard)
    dark.show_panels()
    assert curves.squid.data("measured")[1].tolist() == [1.0, 3.0]
    assert curves.squid.title.text() == "C11  V-phi at 12 uA  ◌  40 %"
    assert curves.squid.plot.getAxis("bottom").labelText == "current in the flux line [µA]"
    assert dark.forms.tune_said.text() == "◌ C11: v-phi 40 %"
    fit = Curve("fit", [0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    done = tuned("v-phi", [1.0, 3.0, 2.0], "passed")
    dark.receive([msgspec.structs.replace(done, curves=[*done.curves, fit])])
    dark.receive([tuned("proof", [1.0, 2.0], "passed")])  # the V-phi stays
    dark.receive([tuned("iv", [0.5], "failed")])
    dark.show_panels()
    assert curves.squid.data("fit")[0].size == 3
    assert "✓" in curves.squid.title.text()
    assert "■ failed" in curves.sensor.title.text()
    dark.choose("C12")
    assert curves.squid.data("measured")[0].size == 0
    assert curves.squid.said.startswith("no V-phi of C12")
