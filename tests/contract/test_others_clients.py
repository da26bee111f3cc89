"""Other people's software: their clients drive our faces, our drivers drive their simulators."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path

import lakeshore
import pytest
import qcodes.instrument.sims
from lakeshore.model_372 import Model372AlarmParameters, Model372ControlLoopZoneSettings
from lakeshore.temperature_controllers import CurveHeader
from qcodes.instrument_drivers.Keysight import Keysight33512B
from qcodes.instrument_drivers.Lakeshore import LakeshoreModel372
from qcodes.instrument_drivers.oxford import OxfordTriton

from daq.errors import NoReplyError, NotConnectedError, OutOfRangeError
from drivers.fridge.triton import Triton
from drivers.source.keysight33500b import Keysight33500b
from drivers.temperature.lakeshore372 import HeaterRange, Lakeshore372, OutputMode
from drivers.transport import LibraryLink
from tests.served_bench import serving

HOST, WAIT_S = "127.0.0.1", 10.0


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    models = {"bridge": "lakeshore372", "triton": "triton", "generator": "keysight33500b"}
    with serving(models, tmp_path_factory.mktemp("bench")) as resources:
        yield resources


@pytest.fixture
def ours(bench):
    """Our driver on the bridge that their client speaks to: it sees what they have done."""
    with contextlib.closing(Lakeshore372(bench["bridge"], channels=[6])) as instrument:
        yield instrument


def port_of(resource):
    return int(resource.split("::")[2])


def eventually(read, expected):
    """An instrument may show the value of before for a while; their clients do not wait for it."""
    deadline = time.monotonic() + WAIT_S
    while (found := read()) != pytest.approx(expected) and time.monotonic() < deadline:
        pass
    assert found == pytest.approx(expected)


# --- lakeshore, the manufacturer's own


@pytest.fixture
def official(bench):
    client = lakeshore.Model372(57600, ip_address=HOST, tcp_port=port_of(bench["bridge"]))
    yield client
    client.disconnect_tcp()


def test_the_manufacturer_s_client_knows_our_bridge(official):
    assert (official.model_number, official.serial_number) == ("MODEL372", "SIM0372")


def test_the_manufacturer_s_client_reads_the_temperature_that_we_read(official, ours):
    read = ours.inputs[6].temperature.read()
    assert official.get_kelvin_reading(6) == pytest.approx(read, rel=0.05)
    assert official.get_all_input_readings(6)["kelvin"] == pytest.approx(read, rel=0.05)


def test_the_manufacturer_s_client_sets_the_point_to_hold(official, ours):
    official.set_setpoint_kelvin(0, 0.0321)
    eventually(lambda: official.get_setpoint_kelvin(0), 0.0321)
    assert ours.setpoint.read() == 0.0321


def test_the_manufacturer_s_client_sets_the_heater_range(official, ours):
    ranges = official.SampleHeaterOutputRange
    official.set_heater_output_range(0, ranges.RANGE_1_MILLI_AMP)
    assert official.get_heater_output_range(0) == ranges.RANGE_1_MILLI_AMP
    assert ours.heater_range.read() is HeaterRange.MA_1
    official.all_off()
    assert ours.heater_range.read() is HeaterRange.OFF


def test_the_manufacturer_s_client_sets_the_control_loop(official, ours):
    official.set_heater_pid(0, 12, 34, 5)
    assert official.get_heater_pid(0) == {"gain": 12.0, "integral": 34.0, "derivative": 5.0}
    held = ours.control.read()
    assert held == {"proportional": 12.0, "integral": 34.0, "derivative": 5.0}


def test_the_manufacturer_s_client_ramps_the_setpoint(official, ours):
    official.set_setpoint_ramp_parameter(0, True, 0.5)
    eventually(lambda: official.get_setpoint_ramp_parameter(0)["rate_value"], 0.5)
    assert ours.setpoint_ramp.read() == {"on": True, "rate": 0.5}
    assert official.get_setpoint_ramp_status(0) is ours.ramping.read() is False
    ours.setpoint.write(1.9)
    assert official.get_setpoint_ramp_status(0) is ours.ramping.read() is True
    official.set_setpoint_ramp_parameter(0, False, 0.0)
    assert ours.ramping.read() is False


def test_the_manufacturer_s_client_sets_a_zone(official, ours):
    ranges = official.SampleHeaterOutputRange
    zone = Model372ControlLoopZoneSettings(
        1.5, 11, 22, 3, 40, ranges.RANGE_1_MILLI_AMP.value, 0.25, True, False
    )
    official.set_control_loop_parameters(0, 7, zone)
    found = official.get_control_loop_zone_parameters(0, 7)
    assert (found.upper_bound, found.p_value, found.i_value, found.d_value) == (1.5, 11, 22, 3)
    assert (found.heater_range, found.ramp_rate) == (ranges.RANGE_1_MILLI_AMP, 0.25)
    assert (found.relay_1, found.relay_2) == (True, False)
    assert ours.zones[7].settings.read() == {
        "up_to": 1.5, "proportional": 11.0, "integral": 22.0, "derivative": 3.0,
        "manual_output": 40.0, "range": HeaterRange.MA_1, "rate": 0.25,
        "relay_1": True, "relay_2": False,
    }  # fmt: skip


def test_the_manufacturer_s_client_sets_an_alarm(official, ours):
    official.set_alarm_parameters(6, True, Model372AlarmParameters(300, 2, 1, True, False, True))
    found = official.get_alarm_parameters(6)
    assert found["alarm_enable"] is True
    settings = found["alarm_settings"]
    assert (settings.high_value, settings.low_value, settings.deadband) == (300, 2, 1)
    held = ours.inputs[6].alarm.read()
    assert (held["on"], held["high"], held["low"], held["latching"]) == (True, 300.0, 2.0, True)
    status = official.get_alarm_status(6)
    assert status == {"high_state_enabled": False, "low_state_enabled": True}  # it is colder
    assert ours.inputs[6].alarms.read() == {"high": False, "low": True}


def test_the_manufacturer_s_client_names_a_curve(official):
    formats, slopes = official.CurveFormat, official.CurveTemperatureCoefficient
    header = CurveHeader("CX-1050", "X12345", formats.LOGOHM_PER_KELVIN, 40.0, slopes.NEGATIVE)
    official.set_curve_header(21, header)
    found = official.get_curve_header(21)
    assert (found.curve_name, found.serial_number) == ("CX-1050", "X12345")
    assert (found.temperature_limit, found.coefficient) == (40.0, slopes.NEGATIVE)


# --- qcodes


@pytest.fixture
def their_bridge(bench):
    resource, name = bench["bridge"], f"bridge_{time.monotonic_ns()}"
    client = LakeshoreModel372(name, resource, visalib="@py", timeout=WAIT_S)
    yield client
    client.close()


@contextlib.contextmanager
def their_triton(bench):
    """Not while ours is connected: the device talks with one at a time."""
    name = f"triton_{time.monotonic_ns()}"
    client = OxfordTriton(name, HOST, port_of(bench["triton"]), timeout=WAIT_S)
    with contextlib.closing(client):
        yield client


def our_triton(bench, *names):
    """What our driver reads of these parameters."""
    with contextlib.closing(Triton(bench["triton"])) as ours:
        read = {bound.name: bound.read for bound in ours.parameters()}
        return [read[name]() for name in names]


def test_qcodes_reads_our_bridge(their_bridge, ours):
    read = ours.inputs[6].temperature.read()
    assert their_bridge.ch06.temperature() == pytest.approx(read, rel=0.05)
    assert their_bridge.ch06.sensor_name() == ours.inputs[6].name.read()
    assert their_bridge.ch06.dwell() == ours.inputs[6].scanning.read()["dwell"]
    assert their_bridge.sample_heater.output() == pytest.approx(ours.heater_output.read())


def test_qcodes_holds_a_temperature_with_our_bridge(their_bridge, ours):
    heater = their_bridge.sample_heater
    heater.setpoint(0.025)
    heater.P(15)
    heater.output_range("1mA")
    heater.mode("closed_loop")
    assert (heater.setpoint(), heater.P(), heater.output_range()) == (0.025, 15.0, "1mA")
    assert ours.setpoint.read() == 0.025
    assert ours.control.read()["proportional"] == 15.0
    assert ours.output.read()["mode"] is OutputMode.CLOSED_LOOP
    heater.output_range("off")
    assert ours.heater_range.read() is HeaterRange.OFF


def test_qcodes_reads_what_we_read_of_our_triton(bench):
    with their_triton(bench) as theirs:
        assert theirs.get_idn()["vendor"] == "OXFORD INSTRUMENTS"
        assert (theirs.status(), theirs.T1_state()) == ("OK", "on")
        names = (theirs.MC, theirs.T1, theirs.P3, theirs.turb1_speed)
        found = [read() for read in names]
    read = our_triton(bench, "temperature.mxc", "temperature.t1", "pressure.p3", "pump.turb1.speed")
    read[2] *= 1e3  # it takes millibar times 1000, and calls that bar
    assert found == pytest.approx(read, rel=0.05)


def test_qcodes_is_told_what_our_triton_has_not(bench):
    with their_triton(bench) as theirs:
        assert not theirs.magnet_available
        assert theirs.parameters["T16"]() is None


def test_we_read_what_qcodes_sets_in_the_loop_of_our_triton(bench):
    with their_triton(bench) as theirs:
        theirs.pid_p(7)
        theirs.pid_setpoint(0.03)
        assert (theirs.pid_p(), theirs.pid_setpoint()) == (7.0, 0.03)
    setpoint, pid = our_triton(bench, "control.setpoint", "control.pid")
    assert (setpoint, pid["proportional"]) == (pytest.approx(0.03), 7.0)


@pytest.fixture
def their_generator(bench):
    name = f"generator_{time.monotonic_ns()}"
    client = Keysight33512B(name, bench["generator"], visalib="@py", timeout=WAIT_S)
    yield client
    client.close()


def test_qcodes_finds_every_parameter_of_our_generator(their_generator):
    assert their_generator.get_idn()["model"] == "33512B"
    for output in (their_generator.ch1, their_generator.ch2):
        for name, parameter in output.parameters.items():
            assert parameter() is not None, name
    assert their_generator.sync.output() in ("ON", "OFF")
    assert their_generator.error() == (0, "No error")


def test_we_read_the_square_wave_that_qcodes_sets_on_our_generator(their_generator, bench):
    output = their_generator.ch1
    output.function_type("SQU")
    output.frequency(37.5)
    output.amplitude(0.2)
    output.offset(0.05)
    output.output("ON")
    assert their_generator.error() == (0, "No error")
    assert (output.function_type(), output.output()) == ("SQU", "ON")
    assert (output.frequency(), output.amplitude(), output.offset()) == (37.5, 0.2, 0.05)
    with contextlib.closing(Keysight33500b(bench["generator"])) as ours:
        read = {bound.name: bound.read for bound in ours.parameters()}
        assert read["output 1.frequency"]() == 37.5
        assert read["output 1.amplitude"]() == 0.2
        assert read["output 1.offset"]() == 0.05


def test_qcodes_is_told_what_our_generator_cannot_do(their_generator):
    output = their_generator.ch2
    output.amplitude(1.0)
    output.offset(4.9)  # and with the amplitude it would leave 5 V
    code, message = their_generator.error()
    assert code == -221, message
    assert their_generator.error() == (0, "No error")


# --- pyvisa-sim, with the Lake Shore that qcodes wrote for its own tests

SCRIPT = Path(qcodes.instrument.sims.__file__).parent / "lakeshore_model372.yaml"


class TheirBridge(Lakeshore372):
    """Our driver, for their simulator: it names itself otherwise and has no event register."""

    identity = r"QCoDeS, m0d3l, 372,"

    def _command(self, text: str) -> None:
        self.link.tell(text)


@pytest.fixture
def link():
    line = dataclasses.replace(TheirBridge.line, send_end="\r\n", timeout_s=0.2)
    return LibraryLink(f"{SCRIPT}@sim", "GPIB::3::INSTR", line)


@pytest.fixture
def simulated(link):
    with contextlib.closing(TheirBridge(link.resource, wire=link, channels=[1])) as instrument:
        yield instrument


def test_our_driver_reads_their_simulator(simulated):
    assert simulated.inputs[1].temperature.read() == 4.0
    assert simulated.inputs[1].resistance.read() == 100.0
    assert simulated.inputs[1].scanning.read()["dwell"] == 100
    assert simulated.control.read() == {"proportional": 10.0, "integral": 20.0, "derivative": 30.0}


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("setpoint", 0.0125, 0.0125),
        ("heater_range", "MA_1", HeaterRange.MA_1),
        ("control", {"integral": 7}, {"proportional": 10.0, "integral": 7.0, "derivative": 30.0}),
        ("input 1.name", "still", "still"),
    ],
)
def test_their_simulator_holds_what_our_driver_writes(simulated, name, value, held):
    (bound,) = [bound for bound in simulated.parameters() if bound.name == name]
    assert bound.write(value) == held
    assert bound.read() == held


def test_what_their_simulator_does_not_answer_is_silence(simulated):
    with pytest.raises(NoReplyError, match=r"expected a reply within 0.2 s, found nothing"):
        simulated.heater_output.read()
    assert simulated.setpoint.read() > 0  # and the next question has its own answer


def test_a_value_out_of_range_never_reaches_another_library(simulated, link, monkeypatch):
    simulated.setpoint.read()
    monkeypatch.setattr(link, "_write", lambda visa, text: pytest.fail(f"{text} was sent"))
    with pytest.raises(OutOfRangeError, match="300 K is outside 0 to 2 K"):
        simulated.setpoint.write(300)


@pytest.mark.parametrize(
    ("library", "resource", "sentence"),
    [
        (f"{SCRIPT}@sim", "nonsense", "cannot reach nonsense: nothing that takes messages is"),
        ("/no/such.so", "GPIB::3::INSTR", "cannot reach GPIB::3::INSTR: .* /no/such.so"),
    ],
)
def test_what_another_library_cannot_open_is_one_sentence(library, resource, sentence):
    link = LibraryLink(library, resource, TheirBridge.line)
    with pytest.raises(NotConnectedError, match=sentence):
        link.open()
