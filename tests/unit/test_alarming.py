"""Alarms in run control: who is told, what is written, what is done, and what is remembered."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from daq.errors import UsageError
from daq.run.quantities import Quantity
from daq.services import alarming
from daq.services.alarming import AcknowledgeAlarm, Alarming, SilenceAlarm
from daq.settings.loader import parse

BENCH = Path("config/bench.toml").read_text(encoding="utf-8")
MXC = "fridge.input 6.temperature"
NS = 10**9
RULES = """
[alarms.warm]
watch = "fridge.input 6.temperature"
above = "15 mK"
severity = "critical"
tell = ["shift"]
escalate_to = ["boss"]
escalate_after = "1 min"
do = ["end-run"]
orders = [{{ instrument = "fridge", parameter = "heater_range", value = "OFF" }}]
[alarms.jumpy]
watch = "channels.C11.jumps"
above = 5.0
do = ["relock", "pause"]
[notify.shift]
kind = "command"
command = [{python!r}, "-c", {code!r}]
[notify.boss]
kind = "command"
command = ["/nowhere/boss"]
"""


class Control:
    """Run control around the alarms, with a clock of the test's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code = f"import sys; open({str(folder / 'told')!r}, 'a').write(sys.argv[1] + '|')"
        text = BENCH + RULES.format(python=sys.executable, code=code)
        self.settings = parse(text, folder / "x.toml")
        self.folder, self.now_s = folder, 0.0
        self.said: list[tuple[str, str]] = []
        self.done: list[tuple[str, str]] = []
        self.written: list[tuple[str, str, dict[str, object]]] = []
        monkeypatch.setattr(alarming.sockets, "calling", self.calling)
        self.alarms = self.made()

    def made(self) -> Alarming:
        return Alarming(
            self.settings,
            self.folder,
            SimpleNamespace(tell=lambda text, level="info": self.said.append((level, text))),
            act=lambda action, why: self.done.append((action, why)),
            ticket=lambda: "t1cket",
            now_ns=lambda: round((1_000_000 + self.now_s) * NS),
            clock=lambda: self.now_s,
        )

    @contextmanager
    def calling(self, endpoint, service, operator):
        yield SimpleNamespace(call=self.call(operator))

    def call(self, operator):
        def call(verb, timeout_s, **arguments):
            self.written.append((operator.who, operator.ticket, {"verb": verb, **arguments}))

        return call

    def look(self, now_s: float, **values: float) -> None:
        self.now_s = now_s
        names = {"mxc": MXC, "jumps": "channels.C11.jumps"}
        found = {names[name]: Quantity(value, "") for name, value in values.items()}
        self.alarms.look(lambda: found, well=True)

    def close(self) -> None:
        self.alarms.close()


@pytest.fixture
def control(tmp_path, monkeypatch):
    made = Control(tmp_path, monkeypatch)
    yield made
    made.close()


def told(control: Control) -> str:
    path = control.folder / "told"
    return path.read_text() if path.exists() else ""


def test_a_raised_alarm_is_told_written_and_acted_upon_once(control):
    control.look(1.0, mxc=0.02)
    assert control.said == []  # nobody was heard yet after the start
    control.look(6.0, mxc=0.02)
    control.look(7.0, mxc=0.02)
    control.alarms.close()
    assert [action for action, _ in control.done] == ["end-run"]
    who, ticket, asked = control.written[0]
    assert (who, ticket, asked["value"]) == ("alarm warm", "t1cket", "OFF")
    assert len(control.written) == 1
    assert told(control).count("alarm warm (critical)") == 1
    assert control.said == [("error", control.alarms.table[0]["sentence"])]


def test_a_channels_alarm_relocks_that_channel_and_pauses_the_run(control):
    control.look(6.0, jumps=9.0)
    assert [action for action, _ in control.done] == ["relock C11", "pause"]


def test_what_was_seen_is_seen_after_a_restart_and_not_escalated(control):
    control.look(6.0, mxc=0.02)
    control.alarms._acknowledge(AcknowledgeAlarm("warm", "anna"))
    with pytest.raises(UsageError, match="is well"):
        control.alarms._acknowledge(AcknowledgeAlarm("jumpy", "anna"))
    control.close()
    control.alarms = control.made()
    assert control.alarms.table[0]["acknowledged_by"] == "anna"
    control.look(500.0, mxc=0.02)
    assert not any("nobody acknowledged" in text for _, text in control.said)
    assert [action for action, _ in control.done] == ["end-run"]


def test_who_was_silenced_hears_nothing_and_nothing_is_done(control):
    control.alarms._silence(SilenceAlarm("warm", 100.0, "anna"))
    control.look(6.0, mxc=0.02)
    assert control.done == []
    assert control.said[0][1] == "alarm warm: silenced by anna"
    assert any("alarm warm (critical)" in text for _, text in control.said)  # logged all the same
    control.close()
    assert told(control) == ""


def test_who_cannot_be_told_is_named_in_the_log(control, monkeypatch):
    monkeypatch.setattr(control.alarms._notices, "_pauses_s", (0.0,))
    control.look(6.0, mxc=0.02)
    control.look(70.0, mxc=0.02)
    control.alarms._notices._pool.shutdown()
    control.look(71.0, mxc=0.02)
    assert any(
        level == "error" and "boss could not be told" in text for level, text in control.said
    )
