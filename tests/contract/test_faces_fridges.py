"""The simulated Leiden and Bluefors refrigerators that need no HTTP, against their literals."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from sim_hardware.faces.bluefors_logs import BlueforsLogs, FolderError
from sim_hardware.faces.ghs import Ghs
from sim_hardware.faces.leiden_bridge import LeidenBridge
from sim_hardware.recorder import Recorder
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import PUMPS, VALVES, GasHandling

DEADLINE_S = 20.0


# --- Bluefors log files


def logs(folder: Path, start: str = "2024-12-03T12:00:00Z", **changes: bool) -> BlueforsLogs:
    start_ns = int(datetime.fromisoformat(start).timestamp()) * 10**9
    return BlueforsLogs(
        Cryostat(1),
        GasHandling(),
        Calendar(start_ns),
        folder=folder,
        every_s=60.0,
        zone=UTC,
        **changes,
    )


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("CH1 T", r"03-12-24,12:00:00,4\.\d{6}e\+01"),
        ("CH6 T", r"03-12-24,12:00:00,\d\.\d{6}e-0[23]"),
        ("CH6 R", r"03-12-24,12:00:00,\d\.\d{6}e\+04"),
        ("CH6 P", r"03-12-24,12:00:00,0\.000000e\+00"),
        ("Flowmeter", r"03-12-24,12:00:00,0\.243000"),
        (
            "maxigauge",
            r"03-12-24,12:00:00,CH1,        ,1,1\.83e-06,0,1,CH2,        ,1,9\.62e-03,0,1,"
            r"CH3,        ,1,3\.51e\+02,0,1,CH4,        ,1,3\.71e\+02,0,1,"
            r"CH5,        ,1,3\.70e\+00,0,1,CH6,        ,1,9\.50e\+00,0,1,",
        ),
        ("Channels", r"03-12-24,12:00:00,0,v1,1,v2,0,v3,0,v4,1,.*,turbo1,1,.*,pulsetube,1,ext,1"),
        ("heaters", r"03-12-24,12:00:00,a1_u,.*,htr,0\.000000e\+00,htr_range,0\.000000e\+00"),
    ],
)
def test_each_file_has_lines_like_the_device_s(tmp_path: Path, file: str, line: str) -> None:
    logs(tmp_path).write(0.0)
    text = (tmp_path / "24-12-03" / f"{file} 24-12-03.log").read_bytes().decode()
    assert re.fullmatch(line + "\r\n", text)


def test_the_status_file_has_an_underscore_and_pairs(tmp_path: Path) -> None:
    logs(tmp_path).write(0.0)
    text = (tmp_path / "24-12-03" / "Status_24-12-03.log").read_text()
    _, _, *pairs = text.strip().split(",")
    status = dict(zip(pairs[::2], map(float, pairs[1::2]), strict=True))
    assert status["tc400actualspd_3"] == 820.0
    assert status["cparun"] == 1.0


def test_older_versions_write_a_space_and_short_exponents(tmp_path: Path) -> None:
    logs(tmp_path, leading_space=True).write(0.0)
    text = (tmp_path / "24-12-03" / "CH1 T 24-12-03.log").read_text()
    assert re.fullmatch(r" 03-12-24,12:00:00,4\.\d{6}E\+1\n", text)


def test_lines_are_appended_when_they_are_due_and_at_midnight_to_a_new_folder(
    tmp_path: Path,
) -> None:
    writer = logs(tmp_path, "2024-12-03T23:58:30Z")
    old = tmp_path / "24-12-03" / "Flowmeter 24-12-03.log"
    new = tmp_path / "24-12-04" / "Flowmeter 24-12-04.log"
    writer.write(0.0)
    writer.write(59.0)
    assert writer.wait_s(59.0) == 1.0
    assert old.read_text().count("\n") == 1
    writer.write(60.0)
    assert old.read_text().count("\n") == 2
    assert not new.exists()
    writer.write(190.0)
    assert old.read_text().count("\n") == 2
    assert [line[:17] for line in new.read_text().splitlines()] == [
        "04-12-24,00:00:30",
        "04-12-24,00:01:30",
    ]


def test_the_times_are_local(tmp_path: Path) -> None:
    writer = BlueforsLogs(
        Cryostat(1), GasHandling(), Calendar(0), folder=tmp_path, every_s=1.0,
        zone=timezone(timedelta(hours=-1)),
    )  # fmt: skip
    writer.write(0.0)
    text = (tmp_path / "69-12-31" / "Flowmeter 69-12-31.log").read_text()
    assert text.startswith("31-12-69,23:00:00,")


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    with pytest.raises(FolderError, match="cannot write the logs: Not a directory"):
        logs(blocked).write(0.0)


def test_a_recorder_writes_until_it_is_stopped() -> None:
    class Counter:
        n, enough = 0, threading.Event()

        def wait_s(self, now_s: float) -> float:
            return 0.0

        def write(self, now_s: float) -> None:
            self.n += 1
            if self.n == 3:
                self.enough.set()

    counter = Counter()
    recorder = Recorder(counter, lambda: 0.0)
    thread = threading.Thread(target=recorder.run)
    thread.start()
    assert counter.enough.wait(DEADLINE_S)
    recorder.stop()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


# --- gas handling


def test_parts_there_are_not_are_refused_and_nothing_is_switched() -> None:
    gas = GasHandling()
    with pytest.raises(KeyError, match=r"found .*v99"):
        gas.switch({"v1": False, "v99": True}, 0.0)
    assert gas.on("v1")
    assert len(VALVES) + len(PUMPS) == 29


def test_one_closed_valve_stops_the_flow_with_its_time_constant() -> None:
    gas = GasHandling()
    gas.switch({"v9": False}, 100.0)
    assert not gas.circulating
    assert gas.flow_mmol_s(145.0) == pytest.approx(0.243 / 2.718281828, rel=1e-6)
    assert gas.pressure_mbar("p5", 5000.0) == pytest.approx(620.0)
    gas.switch({"v9": True}, 5000.0)
    assert gas.flow_mmol_s(6000.0) == pytest.approx(0.243)


# --- Leiden: bridge


@pytest.fixture
def bridge() -> Iterator[LeidenBridge]:
    face = LeidenBridge(Cryostat(1), GasHandling())
    yield face
    assert face.complaints == []


def told(face: LeidenBridge, command: bytes) -> bytes:
    """What a connection gives, which then is over."""
    connection = face.connect(0.0)
    connection.receive(command, 0.0)
    answer = b"".join(bytes(chunk) for chunk in connection.send(0.0))
    assert connection.over
    assert connection.send(0.0) == []
    return answer


def test_all_temperatures_are_in_mk_with_commas(bridge: LeidenBridge) -> None:
    millikelvin = [float(value) for value in told(bridge, b"all_temperatures").split(b",")]
    assert millikelvin == pytest.approx([3600.0, 700.0, 10.0, 47000.0], rel=0.02)
    assert float(told(bridge, b"temperature3")) == millikelvin[3]
    assert float(told(bridge, b"Temperature0\r\n")) == millikelvin[0]


def test_resistances_currents_and_pressures_can_be_asked(bridge: LeidenBridge) -> None:
    assert told(bridge, b"pressure5") == b"3.7"
    assert told(bridge, b"pressure7") == b"1.2"
    assert len(told(bridge, b"all_currents").split(b",")) == 4
    ohm = told(bridge, b"all_resistances\n").split(b",")
    assert told(bridge, b"resistance3") == ohm[3]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"hello", b"command not recognized"),
        (b"temperature9", b"error executing command, see server log"),
        (b"temperature", b"error executing command, see server log"),
        (b"pressure0", b"error executing command, see server log"),
        (b"pressure8", b"error executing command, see server log"),
    ],
)
def test_what_the_bridge_does_not_know(command: bytes, answer: bytes) -> None:
    face = LeidenBridge(Cryostat(1), GasHandling())
    assert told(face, command) == answer
    assert len(face.complaints) == 1


# --- Leiden: gas handling


@pytest.fixture
def ghs() -> Iterator[Ghs]:
    face = Ghs(GasHandling())
    yield face
    assert face.complaints == []


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ("STATUS?", "0\t4\n"),
        ("ID?", "0\tGHS-2T-1T-700 SIM\n"),
        ("SETTINGS?", "0\t200000,600000,200000,600000\n"),
        ("SETTINGS 1,2,3,4", "0\n"),
        ("DEVMAN 16", "0\n"),
    ],
)
def test_each_message_has_its_reply(ghs: Ghs, message: str, reply: str) -> None:
    assert ghs.answer(message, 0.0) == reply


@pytest.mark.parametrize(
    ("message", "acknowledgment"),
    [
        ("HELLO", "1"),
        ("", "1"),
        ("SETTINGS 1,2,3", "2"),
        ("SETTINGS a,b,c,d", "2"),
        ("DEVMAN", "2"),
        ("DEVMAN 0", "2"),
        ("DEVMAN 65", "2"),
        ("DEVMAN 8", "4"),
    ],
)
def test_what_is_wrong_is_acknowledged_by_its_number(message: str, acknowledgment: str) -> None:
    face = Ghs(GasHandling())
    assert face.answer(message, 0.0) == acknowledgment + "\n"
    assert len(face.complaints) == 1


def lamps(face: Ghs, query: str) -> list[str]:
    acknowledgment, _, data = face.answer(query, 0.0).rstrip("\n").partition("\t")
    assert acknowledgment == "0"
    return data.split(",")


def test_a_button_turns_its_valve_and_its_lamp(ghs: Ghs) -> None:
    assert len(lamps(ghs, "KEYS?")) == len(lamps(ghs, "LEDS?")) == 64
    assert lamps(ghs, "LEDS?")[31 - 1] == "2"
    assert ghs.answer("DEVMAN 31", 0.0) == "0\n"
    assert lamps(ghs, "LEDS?")[31 - 1] == "1"


def test_settings_are_kept_and_keys_stay_pressed(ghs: Ghs) -> None:
    ghs.answer("SETTINGS 1,2,3,4", 0.0)
    assert ghs.answer("SETTINGS?", 0.0) == "0\t1,2,3,4\n"
    ghs.answer("DEVMAN 16", 0.0)
    assert lamps(ghs, "KEYS?")[16 - 1] == "2"
    ghs.answer("DEVMAN 16", 0.0)
    assert lamps(ghs, "KEYS?")[16 - 1] == "1"


def test_recovery_ends_the_flow(ghs: Ghs) -> None:
    values = [int(value) for value in lamps(ghs, "ADC?")]
    assert len(values) == 8
    assert values[7] == 24_300
    ghs.answer("DEVMAN 64", 0.0)
    assert ghs.answer("STATUS?", 0.0) == "0\t5\n"
    later = ghs.answer("ADC?", 3000.0).rstrip("\n").split(",")
    assert later[7] == "0"
