"""The parts of the simulated world that are exact: clocks, the scanner, the SQUID's registers."""

from __future__ import annotations

import pytest

from sim_hardware.world.clock import SampleClock
from sim_hardware.world.digitizer import DetectorSignals
from sim_hardware.world.particles import Hit
from sim_hardware.world.scanner import Scanner, Visit
from sim_hardware.world.squid import SquidElectronics

# --- clocks


def test_a_clock_that_is_right_stamps_whole_seconds() -> None:
    clock = SampleClock(250e3, ppm=0.0, start_ns=5)
    assert clock.t_ns(0) == 5
    assert clock.t_ns(250_000 * 86_400 * 365) == 5 + 86_400 * 365 * 10**9


def test_a_clock_that_is_fast_reaches_a_sample_number_early() -> None:
    clock = SampleClock(1e6, ppm=1.7, start_ns=0)
    # after 1e6 s by its own count, 1e6 / (1 + 1.7e-6) s of true time: 1.69999711 s less
    assert 10**15 - clock.t_ns(10**12) == pytest.approx(1.69999711e9, rel=1e-8)


def test_positions_and_times_are_inverse() -> None:
    clock = SampleClock(250e3, ppm=-20.0, start_ns=0)
    assert clock.position(clock.time_s(123_456_789)) == pytest.approx(123_456_789, abs=1e-6)


# --- the scanner


def test_a_scanner_that_stays_measures_after_its_pause_and_for_ever() -> None:
    scanner = Scanner([Visit(channel="6", pause_s=3.0)])
    assert scanner.measured_s("6", 2.0) == 0.0
    assert scanner.measured_s("6", 3.0) == 3.0
    assert scanner.measured_s("6", 1e6) == 1e6


def test_a_scanner_that_goes_round_holds_what_it_measured_last() -> None:
    visits = [Visit(channel=n, pause_s=3.0, dwell_s=7.0) for n in ("1", "2")]
    scanner = Scanner(visits)
    times = [(5.0, "1", 5.0), (12.0, "1", 10.0), (12.0, "2", 0.0), (14.0, "2", 14.0)]
    times += [(22.0, "1", 10.0), (23.0, "1", 23.0), (22.0, "2", 20.0)]
    for now_s, channel, measured_s in times:
        assert scanner.measured_s(channel, now_s) == pytest.approx(measured_s)
    assert [scanner.channel(t) for t in (0.0, 9.9, 10.0, 19.9, 20.0)] == ["1", "1", "2", "2", "1"]


def test_a_scanner_sent_elsewhere_holds_what_it_measured_before() -> None:
    scanner = Scanner([Visit(channel="1", pause_s=3.0)])
    scanner.begin([Visit(channel="2", pause_s=3.0)], 50.0)
    assert scanner.measured_s("1", 60.0) == 50.0
    assert scanner.measured_s("2", 52.0) == 0.0
    scanner.begin([Visit(channel="1", pause_s=3.0)], 60.0)
    assert scanner.measured_s("1", 61.0) == 50.0
    assert scanner.measured_s("1", 64.0) == 64.0


# --- the SQUID electronics: currents and voltages of the encodings published


@pytest.mark.parametrize(
    ("digits", "current_ua"),
    [("20000", 0.0), ("3FE70", 125.007), ("00190", -125.007), ("3FE31", 500.013), ("228D0", 9.995)],
)
def test_auxiliary_currents_are_as_published(digits: str, current_ua: float) -> None:
    electronics = SquidElectronics()
    assert electronics.write("1", "aux", digits)
    assert electronics.aux_a("1") * 1e6 == pytest.approx(current_ua, abs=1e-3)


def test_biases_have_their_published_full_scales() -> None:
    electronics = SquidElectronics()
    electronics.write("1", "bias_current", "3FFF")
    electronics.write("1", "bias_voltage", "FFF")
    electronics.write("1", "flux", "FFF")
    assert electronics.bias_current_a("1") == pytest.approx(180.06e-6, abs=0.01e-6)
    assert electronics.bias_voltage_v("1") == pytest.approx(1700e-6, abs=0.5e-6)
    assert electronics.flux_a("1") == pytest.approx(124.5e-6, abs=0.1e-6)
    assert electronics.flux_a("2") == 0.0


@pytest.mark.parametrize(
    ("register", "digits"),
    [
        ("bias_current", "4000"),
        ("bias_current", "000"),
        ("aux", "20002"),
        ("mode", "2"),
        ("flux", "G00"),
        ("flux", "+80"),
    ],
)
def test_a_register_takes_only_what_it_can_hold(register: str, digits: str) -> None:
    electronics = SquidElectronics()
    before = electronics.read("1", register)
    assert not electronics.write("1", register, digits)
    assert electronics.read("1", register) == before


def test_a_restart_concerns_one_channel() -> None:
    electronics = SquidElectronics()
    for channel in ("1", "2"):
        electronics.write(channel, "mode", "1")
    electronics.restart("1")
    assert (electronics.locked("1"), electronics.locked("2")) == (False, True)


# --- signals


def test_samples_before_the_first_are_refused() -> None:
    source = DetectorSignals("none", {}, _Nothing(), SampleClock(1e5, ppm=0.0, start_ns=0))
    with pytest.raises(ValueError, match=r"from 0 on, found \[-1, 5\)"):
        source.samples(-1, 5)


class _Nothing:
    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        return []
