"""From heights to energies: known curves come back, and what cannot be one is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.errors import CheckError, FormatError, UsageError
from daq.readout.calibration import Calibration, Peaks, Point, find_points, fit

LADDER = (20.0, 100.0, 300.0, 1000.0, 2000.0, 5899.0)


def tes(energy_ev: float) -> float:
    """Counts of a TES that is 6 % non-linear at 1 keV and 33 % at 5.9 keV."""
    x = energy_ev / 1000
    return 5.0 * energy_ev * (1 - 0.0612 * x + 0.0012 * x * x / (1 + x))


def ladder(*energies: float, sigma: float = 0.2) -> list[Point]:
    return [Point(e, tes(e), sigma, 100) for e in energies]


def test_a_ladder_gives_the_energies_of_a_tes_within_half_a_percent_all_the_way():
    curve = fit("A", "amplitude", ladder(*LADDER))
    energies = np.linspace(10, 5899, 500)
    found = curve.energy_ev([tes(e) for e in energies])
    assert np.abs(found / energies - 1).max() < 0.005
    assert curve.counts_per_ev == pytest.approx(5.0, rel=0.005)


@given(st.floats(0.1, 20_000))
def test_counts_and_energy_are_each_others_inverse(energy):
    curve = fit("A", "amplitude", ladder(*LADDER))
    assert curve.energy_ev(curve.counts(energy)) == pytest.approx(energy, rel=1e-9)


def test_a_linear_channel_gets_a_straight_line():
    points = [Point(e, 2 * e, 0.1, 10) for e in (100.0, 500.0, 900.0)]
    curve = fit("A", "height", points)
    assert len(curve.gain) == 1
    assert curve.energy_ev([-2.0, 0.0, 2.0]).tolist() == pytest.approx([-1, 0, 1])


def test_the_uncertainty_is_the_scatter_of_fits_to_scattered_points():
    rng = np.random.default_rng(5)
    points = ladder(*LADDER, sigma=2.0)
    found = []
    for _ in range(300):
        moved = [Point(p.energy_ev, p.counts + rng.normal(0, 2), 2.0, 1) for p in points]
        found.append(float(fit("A", "amplitude", moved).energy_ev(tes(500))))
    told = float(fit("A", "amplitude", points).sigma_ev(tes(500)))
    assert np.std(found) == pytest.approx(told, rel=0.5)  # degrees differ from fit to fit


def test_above_the_highest_point_the_curve_goes_on_along_its_tangent():
    curve = fit("A", "amplitude", ladder(*LADDER))
    top = float(curve.counts(curve.highest_ev))
    a, b, c = curve.energy_ev([top, top + 100, top + 200])
    assert c - b == pytest.approx(b - a)
    slope = float(curve.energy_ev(top) - curve.energy_ev(top - 1e-3)) / 1e-3
    assert (b - a) / 100 == pytest.approx(slope, rel=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1.0, 100.0), min_size=1, max_size=6))
def test_a_fitted_curve_always_rises_or_is_refused(steps):
    counts = np.cumsum(steps)
    points = [Point(100.0 * (i + 1), float(c), 0.5, 1) for i, c in enumerate(counts)]
    try:
        curve = fit("A", "height", points)
    except CheckError as error:
        assert "found one that falls" in str(error)  # noqa: PT017
        return
    energies = curve.energy_ev(np.linspace(-10, 2 * counts[-1], 500))
    assert (np.diff(energies) > 0).all()


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ([], "expected one point or more, found none"),
        ([Point(0.0, 1.0, 1.0)], "expected energy, counts and their sigma above 0, found 0 eV"),
        ([Point(1.0, 1.0, 0.0)], "found 1 eV at 1 \\+- 0"),
        ([Point(1.0, 5.0, 1.0), Point(2.0, 4.0, 1.0)], "expected more counts for more energy"),
    ],
)
def test_points_that_make_no_sense_are_refused(points, sentence):
    with pytest.raises((CheckError, UsageError), match=sentence):
        fit("A", "height", points)


def test_a_new_curve_takes_the_place_of_what_was_valid_in_its_time():
    old = fit("A", "height", ladder(*LADDER))
    new = fit("A", "height", ladder(20.0, 100.0), from_ns=100, to_ns=200)
    both = Calibration([old]).with_curve(new)
    assert [(c.from_ns, c.to_ns) for c in both.curves] == [(0, 100), (100, 200), (200, 2**62)]
    assert both.at("A", 150) is new
    assert both.at("A", 200).points == old.points
    assert both.at("B", 150) is None


def test_energies_are_by_the_curve_that_was_valid():
    a = fit("A", "height", [Point(100.0, 100.0, 1.0)], from_ns=0, to_ns=10)
    b = fit("A", "height", [Point(200.0, 100.0, 1.0)], from_ns=10, to_ns=20)
    t_ns = np.array([5, 15, 25])
    found = Calibration([b, a]).energies("A", t_ns, {"height": np.full(3, 50.0)})
    assert found[:2].tolist() == [50.0, 100.0]
    assert np.isnan(found[2])


def test_a_file_comes_back_and_a_bad_one_is_refused():
    calibration = Calibration([fit("A", "amplitude", ladder(*LADDER))])
    stored = calibration.to_json()
    assert Calibration.from_json(stored).curves == calibration.curves
    for bad, sentence in (
        (b"{", "expected a calibration"),
        (stored.replace(b'"version": 1', b'"version": 7'), "version 1, found .* version 7"),
        (stored.replace(b'"scale_ev"', b'"skale_ev"'), "expected a calibration"),
    ):
        with pytest.raises(FormatError, match=sentence):
            Calibration.from_json(bad)


def test_two_curves_at_one_time_are_refused():
    curve = fit("A", "height", ladder(20.0))
    with pytest.raises(FormatError, match="expected one curve at a time, found two"):
        Calibration([curve, curve])


def test_peaks_among_a_continuum_are_found_with_their_uncertainty():
    rng = np.random.default_rng(3)
    sigma, n = 12.0, 400
    heights = np.concatenate([
        rng.uniform(0, 30_000, 3000),
        rng.normal(tes(5899), sigma, n),
        rng.normal(tes(6490), sigma, n // 5),
    ])  # fmt: skip
    low, high = find_points(heights, [6490.0, 5899.0], Peaks(bin_counts=sigma / 2))
    assert (low.energy_ev, high.energy_ev) == (5899.0, 6490.0)
    for point in (low, high):
        assert abs(point.counts - tes(point.energy_ev)) < 4 * point.sigma_counts


def test_too_few_pulses_make_no_point():
    with pytest.raises(CheckError, match="expected 20 pulses or more, found 3"):
        find_points(np.array([1.0, 2.0, 3.0]), [100.0], Peaks(1.0))
    with pytest.raises(CheckError, match="expected 2 peaks among the heights, found 1"):
        find_points(np.full(50, 7.0), [100.0, 200.0], Peaks(1.0))
