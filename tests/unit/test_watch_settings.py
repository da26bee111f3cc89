"""What a config may watch, whom it may tell and what it may order; every refusal by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.errors import SettingsError
from daq.settings.loader import parse
from daq.settings.watch import quantities_of

BENCH = Path("config/bench.toml").read_text(encoding="utf-8")


def problems(text: str) -> str:
    with pytest.raises(SettingsError) as found:
        parse(BENCH + text, Path("x.toml"))
    return "\n".join(found.value.problems)


def test_a_limit_may_have_its_unit():
    text = """
[alarms.warm]
watch = "fridge.input 6.temperature"
above = "15 mK"
hysteresis = "1 mK"
grace = "2 min"
tell = ["shift"]
orders = [{ instrument = "fridge", parameter = "heater_range", value = "OFF" }]
do = ["end-run"]
[notify.shift]
kind = "command"
command = ["true"]
"""
    rule = parse(BENCH + text, Path("x.toml")).sections["alarms"].root["warm"]
    assert (rule.above, rule.hysteresis, rule.grace_s) == (0.015, 0.001, 120.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('watch = "fridge.input 6.temp"\nabove = 1.0',
         "alarms.a.watch: expected one of fridge.input 6.temperature,"),
        ('watch = "nothing.x"\nabove = 1.0', "found 'nothing.x'"),
        ('watch = "fridge.input 6.temperature"\nabove = "1 Hz"',
         "fridge.input 6.temperature is in K, found limits in Hz"),
        ('watch = "run.gaps"', "expected stale, or above or below, found neither"),
        ('watch = "run.gaps"\nabove = 1.0\nstale = true', "found both"),
        ('watch = "run.gaps"\nabove = 1.0\nbelow = 2.0', "expected below under above 1, found 2"),
        ('watch = "run.gaps"\nabove = 1.0\ntell = ["bob"]',
         "alarms.a.tell: expected one of [notify] (none), found 'bob'"),
        ('watch = "run.gaps"\nabove = 1.0\ndo = ["dance"]', "alarms.a.do.0"),
        ('watch = "run.gaps"\nabove = 1.0\ndo = ["relock"]',
         "alarms.a.do: expected relock for a quantity of a channel with a squid and a guard"),
        ('watch = "run.gaps"\nabove = 1.0\norders = [{ instrument = "fridge", parameter = '
         '"heater_range", value = "OF" }]', "alarms.a.orders.0: fridge.heater_range:"),
        ('watch = "run.gaps"\nabove = 1.0\norders = [{ instrument = "frigde", parameter = '
         '"heater_range", value = "OFF" }]', "expected an instrument, found 'frigde'"),
        ('watch = "run.gaps"\nabove = 1.0\norders = [{ instrument = "fridge", parameter = '
         '"input 6.temperature", value = 1.0 }]', "that can be written"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_at_load(text, said):
    assert said in problems(f"\n[alarms.a]\n{text}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[heartbeat]\nevery_s = 1.0", "expected one of url, file and command, found 0"),
        ('[heartbeat]\nfile = "x"\nurl = "http://a"', "found 2"),
        ('[web]\nhost = "0.0.0.0"', "or a token_file for who comes from beyond this machine"),
        ('[notify.a]\nkind = "pigeon"', "notify.a"),
        ('[notify.a]\nkind = "email"\nhost = "x"\nsender = "me"\nto = []', "notify.a.email.sender"),
    ],
)
def test_who_is_told_and_who_may_look_is_checked(text, said):
    assert said in problems(f"\n{text}\n")


def test_every_reading_and_ledger_entry_of_the_bench_can_be_watched():
    names = quantities_of(parse(BENCH, Path("x.toml")).sections)
    assert names["fridge.input 6.temperature"] == "K"
    assert names["squids1.squid 1.overloads.reset_up"] == ""
    assert names["channels.CWO.dead_s.unlocked"] == "s"
    assert names["services.digitizer.vetoes.lost"] == ""
