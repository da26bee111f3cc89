"""The SQUID through the wires: V-phi, the locked loop, quanta in volts, slipping, a lost lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import curve_fit

from drivers.squid.starcryo import StarCryo
from sim_hardware.world.squid_parameters import SquidParameters
from tests.wired_bench import LSB_V, VOLTS_PER_PHI0, Wired, spec, wired

SQUID = SquidParameters()
PHI0_UA = 40.0  # through the feedback coil
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def tuned() -> Iterator[Wired]:
    with wired(spec(20e3)) as bench:
        yield bench


def volts(bench: Wired, seconds: float = 0.05) -> float:
    return float(bench.counts(seconds).mean()) * LSB_V


# --- V-phi


@cache
def v_phi() -> tuple[Floats, Floats]:
    """(current in the flux line in uA, volts at the open output) of an unbiased sensor."""
    with wired(spec(20e3, initial="detuned")) as bench:
        squid = bench.squid()
        squid.ib.write(21.0)
        currents, found = [], []
        for ua in np.arange(-60.0, 60.1, 1.5):
            currents.append(squid.phib.write(float(ua)))
            found.append(volts(bench, 0.02))
        return np.array(currents), np.array(found)


def test_open_loop_shows_v_phi_with_the_period_of_one_quantum() -> None:
    current_ua, found = v_phi()

    def model(ua: Floats, period: float, shift: float, scale: float, offset: float) -> Floats:
        return offset + scale * SQUID.v_phi(ua / period + shift, 21e-6)

    (period, *_), _ = curve_fit(model, current_ua, found, (41.0, 0.02, 1.9e3, -0.1))
    assert period == pytest.approx(PHI0_UA, rel=5e-3)


def test_v_phi_has_the_depth_of_the_junctions() -> None:
    _, found = v_phi()
    # a point each 0.04 quanta misses the sharp lower extreme by at most 2 % of the depth
    assert np.ptp(found) == pytest.approx(SQUID.open_gain * SQUID.depth_v(21e-6), rel=0.02)


def test_without_bias_current_the_open_output_is_flat() -> None:
    with wired(spec(20e3, initial="detuned")) as bench:
        squid = bench.squid()
        seen = set()
        for ua in (-30.0, 0.0, 10.0, 20.0, 30.0):
            squid.phib.write(ua)
            seen |= set(bench.counts(0.02).tolist())
        assert len(seen) == 1


# --- locked


def test_the_locked_output_follows_the_flux_with_the_feedbacks_gain(tuned: Wired) -> None:
    squid = tuned.squid()
    found = []
    currents = [squid.phib.write(0.0)]
    found.append(volts(tuned))
    for ua in (10.0, 20.0, 40.0, 60.0, 100.0):
        currents.append(squid.phib.write(ua))
        tuned.counts(0.01)
        found.append(volts(tuned))
    squid.phib.write(0.0)
    tuned.counts(0.5)
    gain = np.polyfit(currents, found, 1)[0]
    assert gain == pytest.approx(VOLTS_PER_PHI0 / PHI0_UA, rel=5e-3)


def test_a_reset_drops_whole_quanta(tuned: Wired) -> None:
    squid = tuned.squid()
    before = volts(tuned, 0.2)
    squid.phib.write(2.2 * PHI0_UA)
    tuned.counts(0.05)
    shifted = volts(tuned, 0.2)
    squid.reset_loop()
    tuned.counts(0.05)
    dropped = shifted - volts(tuned, 0.2)
    assert dropped / VOLTS_PER_PHI0 == pytest.approx(round(dropped / VOLTS_PER_PHI0), abs=0.01)
    assert round(dropped / VOLTS_PER_PHI0) in (2, 3)
    squid.phib.write(0.0)
    squid.reset_loop()
    tuned.counts(0.5)
    assert volts(tuned, 0.2) == pytest.approx(before, abs=0.01 * VOLTS_PER_PHI0)


def test_a_smaller_feedback_resistor_lowers_the_gain(tuned: Wired) -> None:
    squid = tuned.squid()
    noise = tuned.counts(0.5).std()
    squid.feedback.write(10.0)
    tuned.counts(0.5)
    lower = tuned.counts(0.5).std()
    squid.feedback.write(30.0)
    tuned.counts(0.5)
    assert lower / noise == pytest.approx(1 / 3, rel=0.1)


# --- slipping

F1_HZ, SLIP_RATE_HZ, SLIP_KOHM = 2e4, 500e3, 0.70


@pytest.mark.parametrize("times_f1", [1.25, 2.5])
def test_beyond_the_slew_limit_it_slips_at_the_rate_of_the_formula(times_f1: float) -> None:
    """A generator's ramp of whole quanta in the flux line: its falls change nothing, modulo one."""
    table = spec(
        SLIP_RATE_HZ,
        squid={"all": {"bandwidth_hz": F1_HZ * SLIP_KOHM / 30.0, "flux_noise_phi0_rthz": 0.0}},
    )
    table["wiring"] |= {"bias": None, "flux": "pulser:2", "flux_ohm": 100e3}
    with wired(table) as bench:
        squid = bench.squid()
        squid.feedback.write(SLIP_KOHM)
        f_hz = times_f1 * F1_HZ / 5  # five quanta up per period
        output = bench.pulser.outputs[2]
        output.load.write("INF")
        output.function.write("RAMP")
        output.frequency.write(f_hz)
        output.amplitude.write(5 * PHI0_UA * 1e-6 * 100e3)
        bench.counts(0.02)
        output.on.write(True)
        found = bench.counts(0.04) * LSB_V / (VOLTS_PER_PHI0 * SLIP_KOHM / 30.0)
    n = round(SLIP_RATE_HZ / f_hz * 20)  # twenty whole periods
    followed_hz = (found[2 * n] - found[n]) / n * SLIP_RATE_HZ
    slipped_hz = times_f1 * F1_HZ - followed_hz
    assert slipped_hz == pytest.approx(F1_HZ * np.sqrt(times_f1**2 - 1), rel=0.03)


# --- lost locks


def test_a_loop_without_its_squid_is_flat_and_one_told_to_lock_again_is_as_before(
    tuned: Wired,
) -> None:
    squid = tuned.squid()
    before = volts(tuned, 0.2)
    squid.ib.write(0.0)
    tuned.counts(0.1)
    assert tuned.counts(0.2).std() == 0.0
    squid.ib.write(21.0)
    squid.reset_loop()
    tuned.counts(0.5)
    assert volts(tuned, 0.2) == pytest.approx(before, abs=0.01)
    assert tuned.counts(0.5).std() > 5


def test_a_lock_point_outside_v_phi_drives_the_output_to_its_limit(tuned: Wired) -> None:
    squid = tuned.squid()
    held = squid.vb.read()
    squid.vb.write(held + 60.0)
    squid.reset_loop()
    tuned.counts(0.1)
    assert abs(volts(tuned)) == pytest.approx(10.0, abs=0.01)
    squid.vb.write(held)
    squid.reset_loop()
    tuned.counts(0.5)
    assert tuned.counts(0.5).std() == pytest.approx(10.0, rel=0.2)


def test_half_a_quantum_further_the_open_gain_is_inverted() -> None:
    """Open, on the falling side of V-phi, a pulse goes down; locked, the loop leaves that side."""
    heights = {}
    with wired(spec(20e3)) as bench:
        squid = bench.squid()
        output = bench.pulser.outputs[1]
        output.heater_pulse(height_v=2.0, width_s=100e-6, period_s=0.1, load="INF")
        squid.mode.write("OPEN")
        levels = {}
        for ua in np.arange(-40.0, 41.0, 2.0):
            squid.phib.write(float(ua))
            levels[float(ua)] = volts(bench, 0.01)
        middle = (max(levels.values()) + min(levels.values())) / 2
        near = sorted(levels, key=lambda ua: abs(levels[ua] - middle))
        rising = next(ua for ua in near if abs(ua) < 36 and levels[ua + 4] > levels[ua - 4])
        falling = next(ua for ua in near if abs(ua) < 36 and levels[ua + 4] < levels[ua - 4])
        output.on.write(True)
        for name, ua in (("rising", rising), ("falling", falling)):
            squid.phib.write(ua)
            bench.counts(0.1)
            rows = bench.counts(2.0).reshape(20, -1).mean(0)
            heights[name] = rows[np.argmax(abs(rows - np.median(rows)))] - np.median(rows)
        squid.mode.write("LOCKED")
        bench.counts(0.5)
        rows = bench.counts(2.0).reshape(20, -1).mean(0)
        heights["locked"] = rows.max() - np.median(rows)
        assert rows.max() - np.median(rows) > 3 * (np.median(rows) - rows.min())
    assert heights["rising"] > 5
    assert heights["falling"] < -5
    assert heights["locked"] > 100
    assert abs(rising - falling) == pytest.approx(PHI0_UA / 2, abs=5.0)


def test_a_star_cryo_reads_a_sensor_too_until_it_is_told_to_begin_anew() -> None:
    table = spec(20e3)
    table["instruments"] = {"star": {"model": "starcryo-pfl102"}}
    table["wiring"] = {"squids": {"C11": "star:1"}}
    with wired(table) as bench:
        assert bench.counts(0.5).std() == pytest.approx(10.2 / 3, rel=0.1)  # Rf is 10 kohm
        with closing(StarCryo(bench.resources["star"], channels=[1])) as loops:
            loops.squids[1].initialize()  # everything to zero, open
            bench.counts(0.1)
            assert bench.counts(0.1).std() == 0.0


# --- overloads


def counters(bench: Wired) -> dict[str, int]:
    found = bench.squid().overloads.read()
    return {name: int(str(count)) for name, count in found.items() if count}


def test_the_electronics_count_overloads_and_reset_the_loop_where_they_are_told_to() -> None:
    jump = {"kind": "flux_jump", "channel": "C11", "at_s": 8.0, "n_phi0": 3}
    limits = {"overload": 2.4, "reset": 4.0, "compensation": 0.08, "compensation_step": 1}
    with wired(spec(20e3, scenario=[jump])) as bench:
        squid = bench.squid()
        squid.auto_reset.write({**limits, "mode": "OVERLOAD"})
        rest = volts(bench, 0.5)
        assert counters(bench) == {}
        for ua in (80.0, 0.0, -100.0, 0.0):  # two quanta up, two and a half down
            squid.phib.write(ua)
            bench.counts(0.1)
        assert counters(bench) == {"overload_up": 1, "overload_down": 1}
        squid.clear_overloads()
        assert counters(bench) == {}
        bench.rows(8.0 - bench.at / bench.rate_hz + 0.1)  # past the jump of the script, streaming
        assert counters(bench) == {"overload_up": 1}
        assert volts(bench, 0.1) == pytest.approx(rest + 3 * VOLTS_PER_PHI0, abs=0.05)
        squid.auto_reset.write({**limits, "mode": "RESET"})
        squid.phib.write(40.0)  # another quantum
        bench.counts(0.1)
        assert counters(bench)["reset_up"] == 1
        assert abs(volts(bench, 0.1)) < VOLTS_PER_PHI0 / 2
