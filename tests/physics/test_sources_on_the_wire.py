"""Every source in what a digitizer streams: how many pulses, how high, where, with which others.

One bench in a process of its own, seed 20261126, three crystals, both vetoes and the beam's gate at
10 kS/s: after each other a trigger storm of each kind for 29 s, in which the others are a hundred
thousand times rarer, then heater pulses that a driver commands. Pulses are sought in the samples
alone; then they are compared with rates, shapes and the truth file.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import ceil, exp
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from drivers.source.keysight33500b import Keysight33500b
from sim_hardware.world.detectors import DETECTORS
from sim_hardware.world.materials import EV_J, MATERIALS
from sim_hardware.world.neutrinos import rate, rate_model
from sim_hardware.world.reactor import Reactor
from tests.physics.test_particles import DAY_S, FACE_CM2, within_999
from tests.sensor import pulse
from tests.served_bench import served_apart
from tests.stream_client import Stream, read_stream
from tests.truth import Row, newest_truth, read_truth
from tests.wired_bench import AMPERES_PER_COUNT

SEED, RATE_HZ = 20261126, 10e3
TARGETS = ("C11", "C12", "C13")
CHANNELS = (*TARGETS, "SI", "CWO", "GATE")
KG = len(TARGETS) * 0.75e-3
EVERY_S, STORM_S, QUIET_S = 30.0, 29.0, 0.5  # from storm to storm; its length; before it
FACTOR = 1e5
LEAST_EV = 150.0  # of CEvNS and of the excess: a pulse that no noise hides
HEATER_EV, HEATER_S, HEATERS_S = 500.0, 0.2, 20.0

# in a storm, per second in all; a second of what saturates a crystal holds fewer
CEVNS_MULTIPLIER = 4e7
PER_SECOND = {
    "cevns": CEVNS_MULTIPLIER
    * KG
    / DAY_S
    * rate(
        rate_model("best"),
        Reactor(power_gw=4.6, distance_m=30),
        MATERIALS["CaWO4"],
        mass_g=1000,
        threshold_ev=LEAST_EV,
    ).per_day,
    "excess": 6.0, "flat": 5.0, "beta": 2.0, "surface": 2.0, "gamma": 6.0, "muon": 2.0,
    "neutron": 4.0, "capture": 6.0, "iron55": 6.0, "copper": 6.0, "tungsten": 6.0, "xrf": 6.0,
    "thallium": 6.0, "beam": 5.0,
}  # fmt: skip
KINDS = tuple(PER_SECOND)
EXCESS_E0_EV = 100.0
# of one unit of a setting, per second in the array: what is integrated over mass, surface, energy
UNIT_HZ = {
    "excess_per_kg_kev_d": KG * EXCESS_E0_EV * 1e-3 * exp(-LEAST_EV / EXCESS_E0_EV) / DAY_S,
    "flat_per_kg_kev_d": KG * 40 / DAY_S,
    "beta_per_kg_d": KG / DAY_S,
    "surface_per_cm2_d": len(TARGETS) * 6 * FACE_CM2 / DAY_S,
    "gamma_rate_hz": 1.0,
    "muon_target_rate_hz": 1.0,
    "neutron_rate_hz": 1.0,
    "capture_rate_hz": len(TARGETS),
    "iron55_rate_hz": len(TARGETS),
    "copper_rate_hz": len(TARGETS),
    "tungsten_rate_hz": len(TARGETS),
    "xrf_rate_hz": len(TARGETS),
    "thallium_rate_hz": 1.0,
    "beam_nu_rate_hz": 1.0,
}
SOURCES = {
    name: PER_SECOND[next(k for k in KINDS if name.startswith(k))] / unit_hz / FACTOR
    for name, unit_hz in UNIT_HZ.items()
} | {
    "muon_rate_hz": 0.0,
    "gamma_target_share": 0.1,
    "cevns_multiplier": CEVNS_MULTIPLIER / FACTOR,
    "cevns_min_ev": LEAST_EV,
    "excess_min_ev": LEAST_EV,
    "excess_e0_ev": EXCESS_E0_EV,
}

# a pulse: the mean of so many samples rises by so many counts, five times its noise and more
WIDTH = dict.fromkeys(TARGETS, 15) | {"SI": 3, "CWO": 3}
RISE = dict.fromkeys(TARGETS, 20.0) | {"SI": 15.0, "CWO": 10.0}
BLIND = 1000.0  # counts above rest, where a crystal is near its full swing and hides what comes
TOGETHER = 20  # samples
ENDED_S = dict.fromkeys(TARGETS, 0.3) | {"SI": 0.05, "CWO": 0.05}  # any pulse
MOST = 2**15 - 1
# what is left to be seen: above some 60 eV in a crystal, 104 to 156 keV in the outer veto
SEEN = {
    "flat": 1 - 60 / 40e3,
    "beam": 1 - 2 * 60 / 9e3,
    "neutron": exp(-60 / 10e3),
    "gamma": 0.82,  # by Klein and Nishina, 0.85 above 100 keV and 0.81 above 130
}
COUNTED_IN = {"gamma": ("CWO",), "thallium": ("CWO",), "muon": ("CWO",)}

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Read:
    """All that came over the wire, and the truth file of it."""

    stream: Stream
    rows: list[Row]
    heaters_from: int

    def span(self, kind: str) -> tuple[int, int]:
        """The samples of a kind's storm, and of what is left of it after."""
        at = KINDS.index(kind) * EVERY_S
        return round(at * RATE_HZ), round((at + EVERY_S) * RATE_HZ)

    def of(self, kind: str, channel: str | None = None) -> list[Row]:
        """The hits of a kind in its storm, in the order of time."""
        start, stop = self.span(kind)
        rows = [r for r in self.rows if r.kind == kind and start <= r.sample < stop]
        return sorted((r for r in rows if channel in (None, r.channel)), key=lambda r: r.sample)


@cache
def read() -> Read:
    """Fifteen storms and twenty seconds of heater pulses: 470 s of the bench."""
    storms = [
        {
            "kind": "trigger_storm",
            "at_s": number * EVERY_S + QUIET_S,
            "for_s": STORM_S,
            "factor": FACTOR,
            "particles": [kind],
        }
        for number, kind in enumerate(KINDS)
    ]
    with TemporaryDirectory() as folder:
        table = {
            "seed": SEED,
            "pace": "flat-out",
            "start_utc": "2026-07-01T00:00:00Z",
            "digitizers": {"all": {"port": 0, "sample_rate_hz": RATE_HZ, "channels": CHANNELS}},
            "instruments": {"pulser": {"model": "keysight33500b"}},
            "wiring": {"heater": "pulser:1"},
            "sources": SOURCES,
            "scenario": storms,
            "truth_dir": folder,
        }
        heaters_from = round(len(KINDS) * EVERY_S * RATE_HZ)
        stop = heaters_from + round(HEATERS_S * RATE_HZ)
        with served_apart(table, Path(folder)) as resources:
            stream = read_stream(resources["all"], 0, heaters_from, exactly=True)
            _pulse_heaters(resources["pulser"])
            more = read_stream(resources["all"], heaters_from, stop, exactly=True)
        stream.samples = np.concatenate([stream.samples, more.samples], axis=1)
        assert stream.gaps == more.gaps == []
        return Read(stream, read_truth(newest_truth(Path(folder))), heaters_from)


def _pulse_heaters(resource: str) -> None:
    """Of 10 kohm behind 80 dB, for as long as somebody reads."""
    with closing(Keysight33500b(resource)) as pulser:
        height_v = (HEATER_EV * EV_J / 20e-6 * 10e3) ** 0.5 * 10 ** (80 / 20)
        output = pulser.outputs[1]
        output.heater_pulse(height_v=height_v, width_s=20e-6, period_s=HEATER_S, load="INF")
        output.on.write(True)


# --- pulses, from the samples alone


@cache
def rises(channel: str) -> Floats:
    """By how much the mean of the samples from each one on is above that of those before it."""
    width, samples = WIDTH[channel], read().stream.row(channel)
    sums = np.cumsum(np.concatenate([[0], samples]))
    means = (sums[width:] - sums[:-width]) / width
    found = np.zeros(len(samples))
    found[width : len(means)] = means[width:] - means[:-width]
    return found


def pulses(channel: str, start: int, stop: int) -> Numbers:
    """Where pulses begin: the steepest sample of every rise."""
    rise = rises(channel)[start:stop]
    over = np.flatnonzero(rise > RISE[channel])
    runs = np.split(over, np.flatnonzero(np.diff(over) > WIDTH[channel]) + 1) if len(over) else []
    return np.array([start + run[np.argmax(rise[run])] for run in runs], np.int64)


def events(kind: str) -> Numbers:
    """Pulses of the channels that a kind is counted in; those together are one."""
    found = [pulses(channel, *read().span(kind)) for channel in COUNTED_IN.get(kind, TARGETS)]
    at = np.sort(np.concatenate(found))
    return at[np.diff(at, prepend=-TOGETHER - 1) > TOGETHER]


def live_share(kind: str) -> float:
    """Of the storm, over all channels that it is counted in."""
    if kind in COUNTED_IN:
        return 1.0
    start, stop = read().span(kind)
    rows = [read().stream.row(channel)[start:stop] for channel in TARGETS]
    return float(np.mean([row < np.median(row) + BLIND for row in rows]))


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_pulses_are_streamed_of_every_source_as_its_rate_says(kind: str) -> None:
    """58 to 174 particles expected of each kind; two in one crystal within 3 ms, 1 % of them, are
    seen as one."""
    expected = PER_SECOND[kind] * STORM_S * SEEN.get(kind, 1.0) * live_share(kind)
    assert within_999(len(events(kind)), expected), (len(events(kind)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_file_has_as_many_particles_of_every_source_as_its_rate_says(kind: str) -> None:
    n = len({row.event for row in read().of(kind)})
    assert within_999(n, PER_SECOND[kind] * STORM_S), (n, PER_SECOND[kind] * STORM_S)


@pytest.mark.parametrize("kind", KINDS)
def test_every_streamed_pulse_is_in_the_truth_file(kind: str) -> None:
    for channel, width in WIDTH.items():
        at = pulses(channel, *read().span(kind))
        true = np.array([row.sample for row in read().rows if row.channel == channel])
        apart = [np.abs(true - pulse_at).min() for pulse_at in at]
        assert max(apart, default=0) <= width, (channel, at[np.argmax(apart)])


# --- what the truth file says, in the samples


def expected_rise(row: Row) -> float:
    """Of the mean of WIDTH samples from the first one that shows a pulse on, in counts."""
    width, first = WIDTH[row.channel], ceil(row.sample)
    after_s = (first + np.arange(width) - row.sample) / RATE_HZ
    if row.channel in TARGETS:
        current_a = pulse(row.energy_ev, round(width / RATE_HZ * 1e6) + 2)
        return float(current_a[np.round(after_s * 1e6).astype(int)].mean() / AMPERES_PER_COUNT)
    of = DETECTORS["silicon" if row.channel == "SI" else "cwo"]
    counts = of.shape.at(after_s) * of.counts_per_ev * row.energy_ev
    return float(np.minimum(counts, MOST).mean())


def alone(rows: list[Row]) -> list[Row]:
    """Those whose channel has nothing left of the pulse before, and no other one within 2 ms."""
    at = [row.sample for row in rows]
    gaps = pairwise([-np.inf, *at, np.inf])
    before = [later - earlier for earlier, later in gaps]
    return [
        row
        for row, past, to_next in zip(rows, before, before[1:], strict=False)
        if past > ENDED_S[row.channel] * RATE_HZ and to_next > TOGETHER
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_truth_file_says_is_in_the_samples_as_high_as_it_should_be(kind: str) -> None:
    """5 sigma of the noise beside 1 %; the outer veto's spread is 0.13 % of that."""
    n = 0
    for channel in WIDTH:
        noise = rises(channel)[: round(QUIET_S * RATE_HZ)].std()
        rows = [r for r in read().rows if r.channel == channel]
        for row in alone(sorted(rows, key=lambda r: r.sample)):
            if row.kind == kind and read().span(kind)[0] <= row.sample < read().span(kind)[1]:
                found, expected = rises(channel)[ceil(row.sample)], expected_rise(row)
                assert found == pytest.approx(expected, rel=0.01, abs=5 * noise), row
                n += 1
    assert n > 20


# --- what belongs together


def share_with(kind: str, veto: str) -> tuple[int, int]:
    """(pulses in crystals that a veto has a pulse with, pulses in crystals) of a storm."""
    start, stop = read().span(kind)
    crystals = np.concatenate([pulses(channel, start, stop) for channel in TARGETS])
    vetoes = pulses(veto, start, stop)
    near = [bool(len(vetoes)) and np.abs(vetoes - at).min() <= TOGETHER for at in crystals]
    return sum(near), len(crystals)


@pytest.mark.parametrize(
    "kind",
    ["cevns", "excess", "flat", "beta", "iron55", "copper", "tungsten", "xrf", "beam"],
)
def test_no_veto_sees_what_happens_within_a_crystal(kind: str) -> None:
    for veto in ("SI", "CWO"):
        tagged, n = share_with(kind, veto)
        assert n > 30
        assert tagged == 0


@pytest.mark.parametrize(
    ("kind", "veto", "least", "most"),
    [
        ("surface", "SI", 0.90, 1.0),  # betas of 17 keV leave less than 1.5 keV at times
        ("muon", "SI", 0.99, 1.0),
        ("muon", "CWO", 0.99, 1.0),
        ("gamma", "CWO", 0.80, 1.0),
        ("neutron", "CWO", 0.90, 0.90),
        ("capture", "CWO", 0.89, 0.90),
    ],
)  # fmt: skip
def test_a_veto_sees_its_share_of_what_crystals_see(
    kind: str, veto: str, least: float, most: float
) -> None:
    tagged, n = share_with(kind, veto)
    assert n > 10
    assert stats.binom.ppf(0.0005, n, least) <= tagged <= stats.binom.ppf(0.9995, n, most)


@pytest.mark.parametrize(("kind", "veto"), [("surface", "CWO"), ("neutron", "SI"), ("gamma", "SI")])
def test_a_veto_sees_nothing_of_what_does_not_reach_it(kind: str, veto: str) -> None:
    tagged, n = share_with(kind, veto)
    assert n > 10
    assert tagged == 0


def test_thallium_is_in_no_crystal() -> None:
    assert share_with("thallium", "CWO") == (0, 0)


# --- the beam's gate, and heater pulses


@cache
def gate_edges() -> Numbers:
    high = read().stream.row("GATE") > 5000  # 3.3 V are 10,813 counts
    return np.flatnonzero(high[1:] & ~high[:-1]) + 1


def test_the_gate_opens_sixty_times_a_second_for_all_the_time() -> None:
    """The first opening is sample 0, which is high already."""
    n_samples = read().stream.samples.shape[1]
    expected = [ceil(round(k / 60 * RATE_HZ, 6)) for k in range(1, ceil(60 * n_samples / RATE_HZ))]
    assert gate_edges().tolist() == expected


def test_beam_pulses_begin_in_the_gate() -> None:
    """By chance a pulse would begin within a millisecond of an opening every sixteenth time."""
    late = [np.min(np.abs(gate_edges() - at)) for at in events("beam")]
    assert len(late) > 80
    assert np.mean(np.array(late) <= 10) > 0.98


def test_every_commanded_heater_pulse_is_streamed_and_in_the_truth_file() -> None:
    start, stop = read().heaters_from, read().stream.samples.shape[1]
    heaters = [row for row in read().rows if row.kind == "heater"]
    n = round(HEATERS_S / HEATER_S)
    for channel in TARGETS:
        true = np.array([row.sample for row in heaters if row.channel == channel])
        assert abs(len(true) - n) <= 1
        at = pulses(channel, start, stop)
        assert all(np.abs(at - sample).min() <= WIDTH[channel] for sample in true[:-1])
        noise = rises(channel)[: round(QUIET_S * RATE_HZ)].std()
        own = [row for row in heaters if row.channel == channel][1:-1]
        found = [rises(channel)[ceil(row.sample)] for row in own]
        expected = np.mean([expected_rise(row) for row in own])
        assert own[0].energy_ev == pytest.approx(HEATER_EV, rel=2e-3)
        assert np.mean(found) == pytest.approx(
            expected, abs=5 * noise / np.sqrt(len(own)), rel=0.01
        )
