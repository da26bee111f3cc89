"""The bench's time, what changes in it, and waves as functions of it; no sockets, no waiting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from sim_hardware.face import Chunk
from sim_hardware.pace import PacedFace, ReadClock, RunningClock, Unhurried, WaitingClock
from sim_hardware.source import ForgottenError
from sim_hardware.world.bath import GRID_S, LAG, Bath
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.drive import Drives, Lines, Tracks
from sim_hardware.world.pulser import HeaterPulses, Sync
from sim_hardware.world.readout_settings import ReadoutSettings
from sim_hardware.world.timeline import Change, Timeline, Track
from sim_hardware.world.waves import OFF, Wave


@dataclass(frozen=True, slots=True)
class Knob:
    turn: float = 0.0
    on: bool = False


# --- the timeline


def test_a_change_is_stamped_after_everything_that_was_converted() -> None:
    now, said = [1.0], list[Change]()
    timeline = Timeline(lambda: now[0], said.append)
    track = Track("knob", Knob())
    timeline.enter(track, lambda *_: Knob(1.0))
    timeline.reach(5.0)
    timeline.enter(track, lambda *_: Knob(2.0, True))
    now[0] = 7.0
    timeline.enter(track, lambda *_: Knob(2.0, False))
    assert [entry.t_s for entry in track.entries] == [0.0, 1.0, 5.0, 7.0]
    assert said == [
        Change(1.0, "knob", "turn", 1.0),
        Change(5.0, "knob", "turn", 2.0),
        Change(5.0, "knob", "on", True),
        Change(7.0, "knob", "on", False),
    ]


def test_what_changes_nothing_is_no_change() -> None:
    said = list[Change]()
    timeline, track = Timeline(lambda: 1.0, said.append), Track("knob", Knob(3.0))
    timeline.enter(track, lambda *_: Knob(3.0))
    assert (said, len(track.entries)) == ([], 1)


def test_a_track_knows_what_it_gave_at_any_time() -> None:
    timeline, track = Timeline(lambda: 2.0, lambda _: None), Track("knob", Knob())
    timeline.enter(track, lambda *_: Knob(1.0))
    assert [track.at(t_s).turn for t_s in (-1.0, 0.0, 1.999, 2.0, 9.0)] == [0, 0, 0, 1, 1]


def test_a_drive_applies_from_the_sample_on_at_which_it_was_told() -> None:
    clock = SampleClock(1e3, ppm=0.0, start_ns=0)
    now = [0.0]
    timeline = Timeline(lambda: now[0], lambda _: None)
    readout = Track("squid", ReadoutSettings(gain=1.0))
    off = Track("", OFF)
    drives = Drives(Tracks(readout=readout, bias=off, heater=off, flux=off), clock)
    timeline.reach(clock.time_s(777))
    timeline.enter(readout, lambda _, before: replace(before, tes_bias_a=1e-6))
    drives.refresh()
    assert [drives.at(n)[0].readout.tes_bias_a for n in (0, 776, 777)] == [0.0, 0.0, 1e-6]
    assert drives.at(0)[1] == 777


def test_a_heated_squid_gives_nothing_until_it_is_cold() -> None:
    clock = SampleClock(1e3, ppm=0.0, start_ns=0)
    readout = Track("squid", ReadoutSettings(gain=1.0, squid_bias_a=1.0, warm_until_s=0.5))
    off = Track("", OFF)
    drives = Drives(Tracks(readout=readout, bias=off, heater=off, flux=off), clock)
    drives.refresh()
    assert [drives.at(n)[0].readout.squid_bias_a for n in (0, 499, 500)] == [0.0, 0.0, 1.0]


# --- the bench's time


class Told:
    """A face that notes the times it hears."""

    model, max_clients, refusal, over = "told", 1, b"", False

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.times: list[float] = []

    def connect(self, now_s: float) -> Told:
        self.times.append(now_s)
        return self

    def receive(self, received: bytes, now_s: float) -> None:
        self.times.append(now_s)

    def send(self, now_s: float) -> Sequence[Chunk]:
        self.times.append(now_s)
        return []

    def wait_s(self, now_s: float) -> float | None:
        return 5.0


def test_a_fast_bench_waits_less_on_the_wall() -> None:
    told = Told()
    talk = PacedFace(told, RunningClock(100.0)).connect(1.0)
    talk.receive(b"", 2.0)
    talk.send(3.0)
    assert told.times == [100.0, 200.0, 300.0]
    assert talk.wait_s(3.0) == 0.05


def test_flat_out_time_is_what_was_read_and_waits_are_short_looks() -> None:
    reached = [3.0]
    told = Told()
    talk = PacedFace(told, ReadClock(lambda: reached[0])).connect(0.0)
    reached[0] = 9.0
    talk.receive(b"", 0.001)
    assert told.times == [3.0, 9.0]
    assert 0 < (talk.wait_s(0.0) or 0.0) < 0.1


def test_a_clock_that_waits_goes_no_farther_than_what_is_made_and_never_back() -> None:
    wall = [0.0]
    clock = WaitingClock(1.0, lambda: wall[0])
    assert clock.bench_s(1.0) == 1.0  # nobody reads
    wall[0] = 1.0
    clock.begin("targets")
    assert clock.bench_s(3.0) == 1.0  # nothing is made yet
    wall[0] = 3.0
    clock.end("targets", 1.0)
    assert clock.bench_s(3.05) == pytest.approx(1.05)  # it goes on where it stood
    wall[0] = 3.05
    clock.begin("targets")
    assert clock.bench_s(9.0) == pytest.approx(1.0 + clock.ahead_s)
    wall[0] = 9.0
    clock.end("targets", 1.02)
    later = [clock.bench_s(9.0 + 0.1 * k) for k in range(10)]
    assert later == sorted(later)
    assert later[-1] > 1.8  # a reader that is away is not waited for


def test_a_source_tells_the_clock_what_it_made() -> None:
    class Made:
        name, channels, rate_hz, volts_per_count, length = "d", ("a",), 1000.0, 1.0, None

        def samples(self, start: int, stop: int) -> npt.NDArray[np.int16]:
            wall[0] += 2.0
            return np.zeros((1, stop - start), np.int16)

        def t_ns(self, sample: int) -> int:
            return 7 + sample * 10**6

    wall = [0.0]
    clock = WaitingClock(1.0, lambda: wall[0])
    source = Unhurried(Made(), clock)
    for stop in (100, 200, 300):
        source.samples(stop - 100, stop)
    assert clock.bench_s(wall[0]) == pytest.approx(0.3 + clock.ahead_s)


# --- the bath


def test_the_bath_is_late() -> None:
    bath = Bath(lambda t_s: (0.01 + 1e-6 * t_s, 1.0))
    assert bath.at_k(1.234) == pytest.approx(0.01 + 1e-6 * (1.234 - LAG * GRID_S), abs=1e-12)
    assert bath.at_k(0.1) == 0.01


def test_orders_never_change_what_the_bath_was() -> None:
    cryostat = Cryostat(1)
    bath, times = Bath(cryostat.look), (0.0, 0.5, 1.234, 2.0, 2.0 + 0.99 * GRID_S)
    cryostat.look(2.0)
    before = [bath.at(t_s) for t_s in times]
    cryostat.heat(1e-3, 1.0)
    cryostat.run_pulse_tubes(False, 1.95)
    assert [Bath(cryostat.look).at(t_s) for t_s in times] == before
    assert [each.at_s for each in cryostat.log] == [2.0, 2.0]
    assert bath.at(300.0)[0] > 0.011
    assert bath.at(300.0)[1] == 0.0


def test_a_bath_that_the_cryostat_forgot_is_refused_by_name() -> None:
    cryostat = Cryostat(1)
    cryostat._oldest_s = 100.0
    with pytest.raises(ForgottenError, match=r"expected a time from 100.0 s on, found 5"):
        Bath(cryostat.look).at(5.2)


# --- waves

PULSE = Wave(
    on=True, function="PULS", frequency_hz=10.0, vpp=1.0, offset_v=0.5, width_s=1e-4, begun_s=2.0
)


@pytest.mark.parametrize(
    ("wave", "at_quarters"),
    [
        (Wave(on=True, vpp=2.0, frequency_hz=1.0), [0.0, 1.0, 0.0, -1.0]),
        (Wave(on=True, vpp=2.0, frequency_hz=1.0, function="SQU"), [1.0, 1.0, -1.0, -1.0]),
        (Wave(on=True, vpp=2.0, frequency_hz=1.0, function="SQU", inverted=True),
         [-1.0, -1.0, 1.0, 1.0]),
        (Wave(on=True, vpp=2.0, frequency_hz=1.0, function="TRI"), [-1.0, 0.0, 1.0, 0.0]),
        (Wave(on=True, vpp=2.0, frequency_hz=1.0, function="RAMP"), [-1.0, -0.5, 0.0, 0.5]),
        (Wave(on=True, vpp=2.0, frequency_hz=1.0, function="RAMP", symmetry=0.0),
         [1.0, 0.5, 0.0, -0.5]),
        (Wave(on=True, vpp=2.0, frequency_hz=1.0, phase=0.25), [1.0, 0.0, -1.0, 0.0]),
        (Wave(on=True, vpp=2.0, offset_v=0.3, function="DC"), [0.3] * 4),
        (Wave(on=True, vpp=2.0, offset_v=0.3, function="NOIS"), [0.3] * 4),
        (Wave(on=False, vpp=2.0, offset_v=0.3), [0.0] * 4),
    ],
)  # fmt: skip
def test_a_wave_has_its_shape(wave: Wave, at_quarters: list[float]) -> None:
    quarters = np.array([0.0, 0.25, 0.5, 0.75])
    assert wave.volts(quarters + 7.0) == pytest.approx(at_quarters, abs=1e-7)


def test_a_wave_goes_on_where_only_its_size_changed() -> None:
    larger = replace(PULSE, vpp=2.0, begun_s=0.0)
    assert larger.stamped(9.0, PULSE).begun_s == 2.0
    assert replace(PULSE, frequency_hz=5.0).stamped(9.0, PULSE).begun_s == 9.0
    assert replace(PULSE, on=False).stamped(9.0, PULSE).begun_s == 9.0


def test_heater_pulses_are_deposits_at_their_middle_as_long_as_the_output_is_on() -> None:
    now = [2.0]
    timeline, track = Timeline(lambda: now[0], lambda _: None), Track("pulser:1", OFF)
    timeline.enter(track, PULSE.stamped)
    now[0] = 2.55
    timeline.enter(track, OFF.stamped)
    pulses = HeaterPulses(track, Lines(heater_ohm=1e4, heater_share=1e-4), ("A", "B"))
    hits = pulses.truth(0.0, 100.0)
    assert [hit.channel for hit in hits] == ["A", "B"] * 6
    assert [hit.true_s for hit in hits[::2]] == pytest.approx(
        [2.0 + 0.1 * k + 5e-5 for k in range(6)]
    )
    assert hits[0].energy_ev == pytest.approx(1e-8 / 1e4 * 1e-4 / 1.602176634e-19)
    assert len({hit.event for hit in hits}) == 6
    pieces = [hit for k in range(40) for hit in pulses.truth(0.1 * k, 0.1 * (k + 1))]
    assert pieces == hits


def test_a_long_pulse_is_none_of_them_and_a_pulse_that_cools_leaves_nothing() -> None:
    lines = Lines()
    long = HeaterPulses(Track("p", replace(PULSE, width_s=1e-3)), lines, ("A",))
    assert long.truth(0.0, 10.0) == []
    down = HeaterPulses(Track("p", replace(PULSE, inverted=True)), lines, ("A",))
    assert {hit.energy_ev for hit in down.truth(2.0, 3.0)} != {0.0}
    back = HeaterPulses(Track("p", replace(PULSE, offset_v=-0.5)), lines, ("A",))
    assert {hit.energy_ev for hit in back.truth(2.0, 3.0)} == {0.0}


def test_the_sync_is_high_as_long_as_the_pulse_whoever_asks() -> None:
    sync = Sync(Track("p", replace(PULSE, width_s=0.05)))
    assert sync.openings(2.0, 2.2) == [(pytest.approx(2.0), 2.05), (pytest.approx(2.1), 2.15)]
    assert sync.openings(2.04, 2.06) == [(pytest.approx(2.0), 2.05)]
