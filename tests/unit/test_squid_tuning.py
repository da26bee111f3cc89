"""Tuning a SQUID against its equations: what was put in is found, what is wrong is said."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from daq.errors import CheckError, NotConnectedError
from daq.readout import guide, squid, squid_curve, vphi
from daq.readout.procedures import run, undone_if_failed
from daq.readout.requests import Offer, Offered, Silence
from daq.readout.squid import Tuned
from daq.readout.steps import StepFailedError
from daq.settings.detectors import Detector
from sim_hardware.world.squid_parameters import SquidParameters
from tests.squid_answering import OFFERS, Answering, SquidDevice

P = SquidParameters()
DEAD = SquidParameters(critical_current_a=1e-7)


@dataclass(frozen=True)
class Plan:
    feedback_a_per_phi0: float = 38e-6  # of the design, which is 5 % off
    squid_bias_a: tuple[float, float] = (8e-6, 40e-6)
    feedback_ohm: float | None = None


def tuned(device: SquidDevice, plan: Plan = Plan()) -> tuple[Tuned, Answering]:
    answering = Answering({"C11": device})
    return run(undone_if_failed(squid.tune_squid("C11", plan)), answering), answering


def failing(device: SquidDevice) -> tuple[str, Answering]:
    answering = Answering({"C11": device})
    with pytest.raises(StepFailedError) as caught:
        run(undone_if_failed(squid.tune_squid("C11", Plan())), answering)
    return str(caught.value), answering


# --- the curve


def slope_share(found_a: float, external_phi0: float, bias_a: float, side: int) -> float:
    """The true slope at a current, as a share of the steepest on that side."""
    phi0 = np.linspace(-0.5, 0.5, 20_001)
    slopes = side * np.gradient(P.v_phi(phi0, bias_a), phi0)
    at = (found_a / P.feedback_a_per_phi0 + external_phi0 + 0.5) % 1 - 0.5
    return float(np.interp(at, phi0, slopes) / slopes.max())


@pytest.mark.parametrize("bias_ua", [21.0, 23.0, 28.0, 36.0])
@pytest.mark.parametrize("external_phi0", [0.0, 0.13, 0.4])
def test_a_curve_gives_its_period_and_the_steepest_points(
    bias_ua: float, external_phi0: float
) -> None:
    flux = np.linspace(-122e-6, 122e-6, 41)
    bias_a = bias_ua * 1e-6
    volts = 2e3 * P.v_phi(flux / 40e-6 + external_phi0, bias_a)
    volts += np.random.default_rng(1).normal(0, 1e-4, 41)
    found = vphi.fit(flux, volts, 36e-6)
    assert found.period_a == pytest.approx(40e-6, rel=5e-3)
    assert abs(found.period_a - 40e-6) < 6 * found.period_sigma_a + 1e-9
    assert found.depth_v == pytest.approx(2e3 * P.depth_v(bias_a), rel=0.03)
    assert found.middle_v == pytest.approx(2e3 * P.middle_v(bias_a), rel=0.01)
    rising, falling = found.lock_points(-122e-6, 122e-6)
    assert slope_share(rising, external_phi0, bias_a, 1) > 0.97
    assert slope_share(falling, external_phi0, bias_a, -1) > 0.97


def test_lock_points_lie_in_the_range_of_the_flux_line() -> None:
    flux = np.linspace(0.0, 98e-6, 41)
    found = vphi.fit(flux, 2e3 * P.v_phi(flux / 40e-6 + 0.13, 23e-6), 40e-6)
    for point, side in zip(found.lock_points(0.0, 98e-6), (1, -1), strict=True):
        assert 0.0 <= point <= 40e-6
        assert slope_share(point, 0.13, 23e-6, side) > 0.97


def test_electronics_whose_flux_has_one_sign_are_tuned_as_well() -> None:
    offered = Offered(OFFERS | {"flux": Offer(0.0, 100e-6)}, ("reset_loop",))
    found, _ = tuned(SquidDevice(offered=offered))
    assert min(found.point.flux_a) >= 0.0
    assert found.locked.volts_per_phi0 == pytest.approx(1.2, rel=0.01)


def test_too_few_points_of_a_curve_are_refused() -> None:
    with pytest.raises(CheckError, match="expected 12 points of V-phi over 4e-05 A or more, found"):
        vphi.fit(np.linspace(0, 20e-6, 30), np.zeros(30), 40e-6)


# --- the whole


def test_a_squid_is_tuned_and_what_is_found_is_what_was_put_in() -> None:
    found, answering = tuned(SquidDevice())
    curve, point = found.curve, found.point
    assert curve.period_a == pytest.approx(P.feedback_a_per_phi0, rel=5e-3)
    assert curve.gain == pytest.approx(P.open_gain, rel=0.02)
    assert curve.depth_v == pytest.approx(P.depth_v(curve.best.bias_a), rel=0.03)
    for flux, side in zip(point.flux_a, (1, -1), strict=True):
        assert slope_share(flux, 0.13, curve.best.bias_a, side) > 0.97
    assert found.locked.volts_per_phi0 == pytest.approx(30e3 * 40e-6, rel=0.01)
    assert [end.step for end in answering.ended] == list(guide.SQUID_STEPS)
    assert all(end.passed for end in answering.ended)
    assert answering.devices["C11"].held["mode"] == "LOCKED"


def test_the_bias_is_the_deepest_where_a_loop_can_hold() -> None:
    found, _ = tuned(SquidDevice())
    sweeps = found.curve.coarse
    assert found.curve.best.fit.is_even
    assert 20e-6 < found.curve.best.bias_a < 24e-6
    assert len(sweeps) >= 7


def test_a_dead_squid_is_named_with_what_was_seen_and_left_as_it_was() -> None:
    device = SquidDevice(p=DEAD)
    before = dict(device.held)
    text, answering = failing(device)
    assert text.startswith(
        "C11, v-phi: expected a modulation above 1e-06 V whose period is 3.8e-05"
    )
    assert "found a modulation of" in text
    assert "for bias currents from 8e-06 to 4e-05 A" in text
    assert device.held == before
    assert [end.passed for end in answering.ended] == [True, False]


def test_flux_that_is_trapped_is_heated_away() -> None:
    device = SquidDevice(depth=0.0)
    found, answering = tuned(device)
    assert (device.heatings, found.curve.heated) == (1, 1)
    assert answering.waited_s == squid_curve.COOLING_S


def test_a_squid_that_cannot_be_heated_is_tried_again_all_the_same() -> None:
    device = SquidDevice(p=DEAD, offered=Offered(OFFERS, ("reset_loop",)))
    _, answering = failing(device)
    assert (device.heatings, answering.waited_s) == (0, 0.0)


def test_a_loop_that_does_not_follow_its_flux_is_no_lock() -> None:
    text, _ = failing(SquidDevice(gain_error=0.8))
    assert re.search(r"C11, proof: expected 1\.[12]\d* V per quantum within 5%", text)
    assert re.search(r"found 0\.9\d* V per quantum", text)


def test_electronics_without_what_is_needed_are_named() -> None:
    fewer = {name: offer for name, offer in OFFERS.items() if name not in ("offset", "flux")}
    text, _ = failing(SquidDevice(offered=Offered(fewer, ())))
    assert "expected the electronics to have flux, offset, found none" in text


def test_a_frozen_output_is_no_lock() -> None:
    device = SquidDevice()
    found, answering = tuned(device)
    device.frozen = True
    with pytest.raises(StepFailedError, match=r"C11, verify: .* found an output that is frozen"):
        run(squid.verify("C11", found.locked, {"mode": "LOCKED"}), answering)


def test_a_value_that_somebody_changed_meanwhile_is_seen_in_the_end() -> None:
    device = SquidDevice()
    found, answering = tuned(device)
    meant = dict(device.held)
    device.held["bias"] = 5e-6
    with pytest.raises(StepFailedError, match="found bias at 5e-06 where"):
        run(squid.verify("C11", found.locked, meant), answering)


def test_what_was_kept_is_brought_back() -> None:
    device = SquidDevice()
    tuned(device)
    kept = dict(device.held)
    other = Answering({"C11": SquidDevice()})
    plans = {"C11": Detector.model_validate({"squid": "squids:1", "bias": "pulser:2"})}
    held = run(guide.restore({"C11": kept}, plans), other)["C11"].result
    assert held == kept
    assert other.devices["C11"].held["mode"] == "LOCKED"
    assert other.silenced == [Silence("C11", "bias")]  # a tuning that was killed may have left it


def test_a_line_that_is_cut_ends_the_procedure_by_its_name() -> None:
    answering = Answering({"C11": SquidDevice()})
    answering.cut = True
    with pytest.raises(NotConnectedError, match="the line is cut"):
        run(undone_if_failed(squid.tune_squid("C11", Plan())), answering)


def test_the_bias_never_goes_beyond_what_the_electronics_offer() -> None:
    offered = Offered(OFFERS | {"bias": Offer(0.0, 25e-6)}, ("reset_loop",))
    found, _ = tuned(SquidDevice(offered=offered))
    assert max(sweep.bias_a for sweep in found.curve.coarse) <= 25e-6
