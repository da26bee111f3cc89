"""Bluefors logs: followed as they grow, with lines as public readers of such logs have them."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest

from daq.errors import NotConnectedError, OutOfRangeError, ReplyError, UsageError
from drivers.fridge.bluefors_logs import BlueforsLogs
from drivers.fridge.fridge import view
from drivers.fridge.log_folder import LogFolder
from drivers.parameter import AbsentError, NoValueError

NOW = datetime(2021, 5, 27, 10, 35, tzinfo=UTC).timestamp()
GAUGES = (
    "CH1,        ,1,1.83e-06,0,1,CH2,        ,1,9.62e-03,0,1,CH3,P3,0,2.0e-02,1,1,"
    "CH4,P4,1,3.71e+02,0,1,CH5,P5,1,3.70e+00,0,1,CH6,P6,1,9.50e+00,0,1,"
)


class Logs:
    """A folder of logs that grows."""

    def __init__(self, root):
        self.root = root

    def write(self, name, text, day="21-05-27"):
        folder = self.root / day
        folder.mkdir(exist_ok=True)
        separator = "_" if name == "Status" else " "
        with (folder / f"{name}{separator}{day}.log").open("a") as log:
            log.write(text)


@pytest.fixture
def logs(tmp_path):
    return Logs(tmp_path)


@pytest.fixture
def fridge(tmp_path):
    clock = [0.0]
    made = BlueforsLogs(
        str(tmp_path), zone="Europe/Vienna", now=lambda: NOW, clock=lambda: clock[0]
    )
    made.test_clock = clock
    with contextlib.closing(made):
        yield made


def named(fridge, name):
    (bound,) = [b for b in fridge.parameters() if b.name == name]
    return bound


@pytest.mark.parametrize("space", ["", " "])
def test_the_last_line_is_the_value_at_its_time_in_utc(logs, fridge, space):
    logs.write("CH6 T", f"{space}27-05-21,12:33:56,2.0E-2\r\n{space}27-05-21,12:34:56,1.234E-2\r\n")
    held = named(fridge, "temperature.mxc").read()
    assert held.value == 0.01234
    assert held.t_ns == datetime(2021, 5, 27, 10, 34, 56, tzinfo=UTC).timestamp() * 10**9


def test_a_half_written_line_is_waited_for(logs, fridge):
    mxc = named(fridge, "temperature.mxc")
    logs.write("CH6 T", "27-05-21,12:33:56,2.0E-2\n27-05-21,12:34:56,1.2")
    assert mxc.read().value == 0.02
    logs.write("CH6 T", "34E-2")
    assert mxc.read().value == 0.02
    logs.write("CH6 T", "\n")
    assert mxc.read().value == 0.01234


def test_a_log_with_no_whole_line_is_a_gap(logs, fridge):
    logs.write("CH6 T", "27-05-21,12:34:56,1.2")
    with pytest.raises(NoValueError, match="the log of 'CH6 T' has no whole line yet"):
        named(fridge, "temperature.mxc").read()


def test_midnight_is_passed(logs, fridge):
    mxc, still = named(fridge, "temperature.mxc"), named(fridge, "temperature.still")
    logs.write("CH6 T", "27-05-21,23:59:30,2.0E-2\n")
    logs.write("CH5 T", "27-05-21,23:59:40,0.7\n")
    assert mxc.read().value == 0.02
    logs.write("CH6 T", "28-05-21,00:00:30,3.", day="21-05-28")
    assert mxc.read().value == 0.02  # the new log has no whole line yet
    logs.write("CH6 T", "0E-2\n", day="21-05-28")
    assert mxc.read().value == 0.03
    assert still.read().value == 0.7  # and this one no log of today yet


def test_a_log_that_is_replaced_or_cut_is_read_anew(logs, fridge, tmp_path):
    mxc = named(fridge, "temperature.mxc")
    logs.write("CH6 T", "27-05-21,12:33:56,2.0E-2\n27-05-21,12:34:56,3.0E-2\n")
    assert mxc.read().value == 0.03
    path = tmp_path / "21-05-27" / "CH6 T 21-05-27.log"
    path.write_text("27-05-21,12:35:56,4.0E-2\n")
    assert mxc.read().value == 0.04
    other = path.with_suffix(".new")
    other.write_text("27-05-21,12:36:56,5.0E-2\n")
    other.rename(path)
    assert mxc.read().value == 0.05


def test_of_a_long_log_the_tail_is_enough(logs, fridge):
    logs.write("CH6 T", "27-05-21,12:33:56,2.0E-2\n" * 10_000 + "27-05-21,12:34:56,3.0E-2\n")
    assert named(fridge, "temperature.mxc").read().value == 0.03


def test_all_logs_together_are_a_fridge(logs, fridge):
    for channel, kelvin in ((1, 46.9), (2, 3.6), (5, 0.7), (6, 0.01)):
        logs.write(f"CH{channel} T", f"27-05-21,12:34:56,{kelvin:.6E}\n")
    logs.write("Flowmeter", "27-05-21,12:34:56,0.243\n")
    logs.write("maxigauge", f"27-05-21,12:34:56,{GAUGES}\n")
    logs.write("Channels", "27-05-21,12:34:56,v1,1,v2,0,turbo1,1,pulsetube,0,hs-still,1,ext,0\n")
    logs.write("heaters", "27-05-21,12:34:56,a1_u,0.0,htr,1.5e-3,htr_range,4\n")
    logs.write("Status", "27-05-21,12:34:56,cpatempwi,18.6,tc400errorcode,not one\n")
    now_ns = int(NOW * 1e9)
    seen = view(fridge.readings(lambda: now_ns), now_ns=now_ns, good_for_s=120.0)
    kelvin = {name: q.value for name, q in seen.temperature.items()}
    assert kelvin == {"50k": 46.9, "4k": 3.6, "still": 0.7, "mxc": 0.01}
    assert {name: q.value for name, q in seen.valve.items()} == {"v1": True, "v2": False}
    assert {name: q.value for name, q in seen.pump.items()} == {"turbo1": True, "pulsetube": False}
    assert {name: q.value for name, q in seen.switch.items()} == {"hs-still": True, "ext": False}
    assert seen.flow["circulation"].value == 0.243
    assert seen.pressure["p4"].value == 371.0
    assert (seen.pressure["p3"].value, seen.pressure["p3"].source) == (None, "error")
    assert "gauge CH3 is not on" in seen.pressure["p3"].text
    assert seen.heater["htr"].value == 0.0015
    assert dict(seen.resistance) == {}  # never logged
    assert list(seen.status) == ["cpatempwi"]
    assert not seen.temperature["mxc"].stale


def test_a_number_before_the_pairs_is_not_one_of_them(logs, fridge):
    logs.write("Channels", "27-05-21,12:34:56,0,v1,1,v2,0\n")
    readings = {r.name: r.value for r in fridge.readings(lambda: 0)}
    assert (readings["valve.v1"], readings["valve.v2"]) == (True, False)


def test_what_begins_to_be_logged_later_is_found(logs, fridge):
    list(fridge.readings(lambda: 0))
    logs.write("Channels", "27-05-21,12:34:56,v1,1\n")
    assert not any(r.name == "valve.v1" for r in fridge.readings(lambda: 0))
    fridge.test_clock[0] = 61.0
    list(fridge.readings(lambda: 0))
    assert any(r.name == "valve.v1" for r in fridge.readings(lambda: 0))


def test_old_lines_keep_their_time(logs, fridge):
    logs.write("CH6 T", "27-05-21,09:34:56,1.234E-2\n")
    now_ns = int(NOW * 1e9)
    seen = view(fridge.readings(lambda: now_ns), now_ns=now_ns, good_for_s=120.0)
    assert seen.temperature["mxc"].stale


@pytest.mark.parametrize(
    ("now", "utc"),
    [
        (datetime(2021, 10, 31, 0, 31, tzinfo=UTC), datetime(2021, 10, 31, 0, 30, tzinfo=UTC)),
        (datetime(2021, 10, 31, 1, 31, tzinfo=UTC), datetime(2021, 10, 31, 1, 30, tzinfo=UTC)),
    ],
)
def test_the_hour_that_comes_twice_is_the_one_nearer_to_now(logs, tmp_path, now, utc):
    logs.write("CH6 T", "31-10-21,02:30:00,1.0E-2\n", day="21-10-31")
    fridge = BlueforsLogs(str(tmp_path), zone="Europe/Vienna", now=now.timestamp)
    assert named(fridge, "temperature.mxc").read().t_ns == utc.timestamp() * 10**9


@pytest.mark.parametrize("value", ["0.000000E+0", "nan", "NaN"])
def test_a_temperature_that_is_none_is_a_gap(logs, fridge, value):
    logs.write("CH6 T", f"27-05-21,12:34:56,{value}\n")
    with pytest.raises(NoValueError, match="there is none"):
        named(fridge, "temperature.mxc").read()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("27-05-21;12:34:56;1.0", "expected date, time and value, found '27-05-21;"),
        ("2021-05-27,12:34:56,1.0", "expected dd-mm-yy,HH:MM:SS, found '2021-05-27,12:34:56'"),
        ("27-05-21,12:34:56,cold", "expected a number of K, found 'cold'"),
        ("27-05-21,12:34:56,\u00b5", "expected ASCII in CH6 T 21-05-27.log"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused(logs, fridge, line, sentence):
    logs.write("CH6 T", f"{line}\n")
    with pytest.raises(ReplyError, match=sentence):
        named(fridge, "temperature.mxc").read()


def test_a_log_that_is_not_there_is_absent(logs, fridge):
    logs.write("CH5 T", "27-05-21,12:34:56,0.7\n")
    with pytest.raises(AbsentError, match="there is no log of 'CH6 T' in the last 2 days"):
        named(fridge, "temperature.mxc").read()


def test_a_folder_that_is_not_there_is_not_connected(tmp_path):
    fridge = BlueforsLogs(str(tmp_path / "none"))
    with pytest.raises(NotConnectedError, match="there is no folder"):
        named(fridge, "temperature.mxc").read()


def test_a_folder_that_goes_away_is_lost_and_found_again(logs, fridge, tmp_path):
    logs.write("CH6 T", "27-05-21,12:34:56,1.0E-2\n")
    mxc = named(fridge, "temperature.mxc")
    mxc.read()
    (tmp_path).rename(tmp_path.with_name("away"))
    with pytest.raises(NotConnectedError, match=r"cannot read the logs in|there is no folder"):
        mxc.read()
    (tmp_path.with_name("away")).rename(tmp_path)
    fridge.test_clock[0] += 10.0
    assert mxc.read().value == 0.01


def test_logs_are_only_read(fridge, tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        named(fridge, "temperature.mxc").write(1.0)
    with pytest.raises(UsageError, match="logs are only read"):
        LogFolder(str(tmp_path)).tell("CH6 T")


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(UsageError, match="expected a time zone such as Europe/Vienna, found 'Nope"):
        BlueforsLogs(str(tmp_path), zone="Nope/Town")
    with pytest.raises(OutOfRangeError, match="stage mxc: 17 is outside 1 to 16"):
        BlueforsLogs(str(tmp_path), stages={"mxc": 17})
    with pytest.raises(UsageError, match="expected the absolute path of a folder"):
        BlueforsLogs("logs")
