"""The sensor through the wires: what drivers set, and what the digitizer's stream then shows.

The predictions come from the analytic model (operating point, linear response, noise densities);
the samples from the non-linear equations, the SQUID's loop and the converter.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import curve_fit, least_squares
from scipy.signal import oaconvolve, welch

from sim_hardware.laboratory import TUNED_SHARE
from sim_hardware.world.materials import EV_J
from sim_hardware.world.squid import SquidElectronics
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import BATH_K, BIAS_A, TesParameters, heater_for, operating_point
from sim_hardware.world.tes_linear import Linear
from tests.wired_bench import AMPERES_PER_COUNT, Wired, spec, wired

P, SQUID = TesParameters(), SquidParameters()
RATE_HZ = 50e3
SETTLED_S = 0.35
IV_KOHM = 3.0  # feedback of an IV: a range of 25 uA, and 0.76 nA per count
NINE = tuple(f"C{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3))
Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def tuned() -> Iterator[Wired]:
    with wired(spec(RATE_HZ)) as bench:
        yield bench


@cache
def linear() -> Linear:
    """Around the working point that the bench is tuned to: the nearest bias it can be told."""
    bias_a = SquidElectronics.nearest_aux_a(BIAS_A)
    heater_w = heater_for(P, r_ohm=TUNED_SHARE * P.r_normal_ohm, bias_a=bias_a, bath_k=BATH_K)
    return Linear(P, operating_point(P, bias_a=bias_a, bath_k=BATH_K, heater_w=heater_w))


# --- IV


def swept(bench: Wired, biases_ua: Floats) -> tuple[Floats, Floats]:
    """(bias, current of the sensor up to whole quanta) in uA."""
    told, counts = [], []
    for bias_ua in biases_ua.tolist():
        told.append(bench.bias(bias_ua))
        counts.append(bench.counts(SETTLED_S)[-2000:].mean())
    per_count = AMPERES_PER_COUNT * 30.0 / IV_KOHM * 1e6
    return np.array(told), -np.array(counts) * per_count


@cache
def iv() -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Down from normal to zero, and up again, without heater: zero current is at zero bias."""
    with wired(spec(20e3, initial="detuned", tes={"all": {"heater_w": 0.0}})) as bench:
        squid = bench.squid()
        squid.ib.write(21.0)
        squid.vb.write(float(SQUID.middle_v(21e-6) * 1e6))
        squid.feedback.write(IV_KOHM)
        squid.mode.write("LOCKED")
        bench.bias(30.0)
        bench.counts(SETTLED_S)
        wide, fine = np.arange(8.0, 4.9, -1.0), np.arange(3.6, 2.0, -0.1)
        down_ua, down_i = swept(bench, np.concatenate([wide, fine, [1.5, 1.0, 0.5, 0.0]]))
        up = np.concatenate([[0.0, 1.0, 5.0, 10.0, 20.0], np.arange(21.0, 25.0, 0.5)])
        up_ua, up_i = swept(bench, up)
        return (down_ua, down_i - down_i[-1]), (up_ua, up_i - up_i[0])


def slope(x: Floats, y: Floats) -> float:
    return float(np.polyfit(x, y, 1)[0])


def test_an_iv_has_a_normal_and_a_superconducting_slope() -> None:
    (bias, current), _ = iv()
    normal, superconducting = bias > 4.9, bias < 1.8
    # a count is 0.76 nA; noise averages to less
    assert slope(bias[normal], current[normal]) == pytest.approx(0.08969, rel=3e-3)
    assert slope(bias[superconducting], current[superconducting]) == pytest.approx(
        0.86957, rel=3e-3
    )


def test_in_the_transition_the_current_rises_where_the_bias_falls_as_the_model_says() -> None:
    (bias, current), _ = iv()
    within = (bias < 3.5) & (bias > 2.45)
    assert slope(bias[within], current[within]) < 0  # constant power: the third slope
    for bias_ua, current_ua in zip(bias[within], current[within], strict=True):
        op = operating_point(P, bias_a=bias_ua * 1e-6, bath_k=BATH_K)
        assert current_ua == pytest.approx(op.current_a * 1e6, rel=5e-3)


def test_it_snaps_where_the_resistance_falls_to_that_of_the_load() -> None:
    (bias, current), _ = iv()
    r_ohm = P.r_shunt_ohm * (bias[:-1] / current[:-1]) - P.r_load_ohm
    snapped = int(np.flatnonzero(current[1:-1] > 1.5 * current[:-2])[0])
    # 23.2 mohm; steps of 0.1 uA end up to 9 mohm above it, or a little below: near it all is slow
    assert 0.0215 < r_ohm[snapped] < 0.033
    assert bias[snapped] == pytest.approx(2.3, abs=0.11)
    # more than three quanta at once, which the loop counted: zero is at zero, and the slope holds
    assert current[snapped + 1] / current[snapped] > 1.8


def test_it_leaves_the_superconducting_branch_far_above() -> None:
    (down, falling), (up, rising) = iv()
    left = float(up[int(np.flatnonzero(np.diff(rising) < 0)[0])])
    assert left == pytest.approx(22.0, abs=0.6)
    at_5_ua = rising[np.argmin(abs(up - 5))] / falling[np.argmin(abs(down - 5))]
    assert at_5_ua == pytest.approx(0.86957 / 0.08969, rel=0.01)


# --- dI/dV


@pytest.mark.parametrize("f_hz", [10.0, 100.0, 1e3, 5e3])
def test_didv_by_a_square_wave_is_that_of_the_linear_model(tuned: Wired, f_hz: float) -> None:
    output = tuned.pulser.outputs[2]
    output.square_wave(amplitude_vpp=0.02, frequency_hz=f_hz, offset_v=0.0, load="INF")
    output.on.write(True)
    begun = tuned.at
    tuned.counts(SETTLED_S)
    start, n = tuned.at - begun, round(2.0 * RATE_HZ)
    current_a = -tuned.counts(2.0) * AMPERES_PER_COUNT
    output.on.write(False)
    for harmonic in (1, 3) if f_hz < 5e3 else (1,):
        turns = (start + np.arange(n)) * (harmonic * f_hz / RATE_HZ)
        found = 2 * np.mean((current_a - current_a.mean()) * np.exp(-2j * np.pi * turns))
        # a square from +A/2 to -A/2 in samples: the sum of its samples, not the integral
        told_a = np.where(np.mod(turns / harmonic + 1e-9, 1.0) < 0.5, 0.5, -0.5) * 0.02e-6
        told = 2 * np.mean((told_a - told_a.mean()) * np.exp(-2j * np.pi * turns))
        assert abs(found / told / held_response(harmonic * f_hz) - 1) < 0.02


def held_response(f_hz: float) -> complex:
    """dI/dIb in samples, where the bias is held from each sample to the next, with its aliases."""
    aliases_hz = f_hz + RATE_HZ * np.arange(-300, 301)
    response = linear().bias_response(np.abs(aliases_hz))
    response = np.where(aliases_hz < 0, np.conj(response), response)
    turns = aliases_hz / RATE_HZ
    return complex(np.sum(response * np.sinc(turns) * np.exp(-1j * np.pi * turns)))


# --- noise

BANDS = [(18, 43), (57, 93), (160, 190), (400, 900), (900, 3e3), (3e3, 1e4), (1e4, 24e3)]
SECONDS = {"streamed": 8.0, "integrated": 12.0}  # of each of nine; pools begin anew after 8 s
# pools of its own for each chain, whose sensors differ in nothing that can be seen
UNALIKE = {"spread": 1e-9}


def density(rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(frequency, one-sided density in A²/Hz), the mean of all rows."""
    f_hz, power = welch(rows * AMPERES_PER_COUNT, RATE_HZ, nperseg=1 << 15)
    return f_hz, power.mean(0)


@cache
def recorded() -> dict[str, tuple[Floats, Floats]]:
    """The density of nine chains that stream, and of the same whose equations are integrated."""
    with wired(spec(RATE_HZ, NINE, **UNALIKE)) as bench:
        bench.rows(SETTLED_S)
        streamed = density(bench.rows(SECONDS["streamed"]))
        # a wave that never ends, and adds nothing to the bias meanwhile
        output = bench.pulser.outputs[2]
        output.square_wave(amplitude_vpp=0.002, frequency_hz=1e-5, offset_v=-0.001, load="INF")
        output.on.write(True)
        bench.rows(SETTLED_S)
        return {"streamed": streamed, "integrated": density(bench.rows(SECONDS["integrated"]))}


def lagging(f_hz: Floats) -> Floats:
    """What is left of power where the loop lags behind straight lines from sample to sample by
    1/(2π f1) of their slopes: it takes for slopes what is folded; 2.4 % less from 10 kHz on."""
    share = RATE_HZ / (2 * np.pi * SQUID.bandwidth_hz)
    return np.asarray(np.abs(1 - share * (1 - np.exp(-2j * np.pi * f_hz / RATE_HZ))) ** 2)


@pytest.mark.parametrize("way", ["streamed", "integrated"])
@pytest.mark.parametrize(("low_hz", "high_hz"), BANDS)
def test_noise_has_the_analytic_density_folded(way: str, low_hz: float, high_hz: float) -> None:
    f_hz, found = recorded()[way]
    band = (f_hz >= low_hz) & (f_hz < high_hz)  # the lowest lie between lines
    expected = linear().sampled_psd(f_hz[band], RATE_HZ) + SQUID.current_psd(f_hz[band])
    expected += AMPERES_PER_COUNT**2 / (6 * RATE_HZ)  # rounding: 1/12 of a count over the band
    # three sigma of so many independent bins, of which windows lose a tenth: 7.4 % at most
    allowed = max(0.02, 3 * np.sqrt(1.1 / (9 * SECONDS[way] * (high_hz - low_hz))))
    if way == "integrated":
        expected *= lagging(f_hz[band])
    assert np.mean(found[band] / expected) == pytest.approx(1, abs=allowed)


# --- pulses


def heater_pulses(bench: Wired, energy_ev: float, n: int, period_s: float = 0.4025) -> Floats:
    """The mean of n heater pulses in each channel, as a rise of the output in A, from 100 samples
    before each; the first one is left out.

    Of 8 pulses, an eighth of a period of the mains apart, the mains leave nothing.
    """
    output, width_s = bench.pulser.outputs[1], 20e-6
    wiring = bench.settings.wiring
    share = 10 ** (-wiring.heater_attenuation_db / 20)
    height_v = float(np.sqrt(energy_ev * EV_J / width_s * wiring.heater_ohm) / share)
    output.heater_pulse(height_v=height_v, width_s=width_s, period_s=period_s, load="INF")
    output.on.write(True)
    rows = bench.rows(n * period_s).reshape(-1, n, round(period_s * bench.rate_hz))
    output.on.write(False)
    bench.rows(1.0)
    mean = rows[:, 1:].mean((0, 1)) * AMPERES_PER_COUNT
    return np.roll(mean - mean[-1000:].mean(), 100)


@pytest.mark.parametrize(("energy_ev", "height_na"), [(100, 2.562), (1000, 23.9), (5900, 92.6)])
def test_pulses_have_the_heights_of_the_reference_note(
    tuned: Wired, energy_ev: float, height_na: float
) -> None:
    pulse = heater_pulses(tuned, energy_ev, 81 if energy_ev < 500 else 17)
    smooth = np.convolve(pulse, np.ones(11) / 11, "same")
    # 11 samples around the flat top; 0.2 nA of noise per sample, 80 pulses of 100 eV
    assert smooth.max() * 1e9 == pytest.approx(height_na, rel=0.02)


def proebst(
    t_s: Floats, a_n: float, a_t: float, tau_in: float, tau_n: float, tau_t: float
) -> Floats:
    t_s = np.maximum(t_s, 0.0)
    fast = np.exp(-t_s / tau_in) - np.exp(-t_s / tau_n)
    return a_n * fast + a_t * (np.exp(-t_s / tau_t) - np.exp(-t_s / tau_in))


def test_pulses_have_the_time_constants_of_the_reference_note(tuned: Wired) -> None:
    pulse = heater_pulses(tuned, 300.0, 153)[100:6000] * 1e9
    t_s = np.arange(len(pulse)) / RATE_HZ - 10e-6  # the middle of 20 us
    begin = (8.0, 0.8, 4e-3, 0.2e-3, 20e-3)
    (_, _, *taus), _ = curve_fit(proebst, t_s, pulse, begin)
    tau_in, tau_n, tau_t = sorted(taus)[1], min(taus), max(taus)
    assert tau_n == pytest.approx(0.304e-3, rel=0.05)
    assert tau_in == pytest.approx(3.603e-3, rel=0.05)
    assert tau_t == pytest.approx(28.17e-3, rel=0.05)


SMALL_EV, SMALL_TAKES, SMALL_PULSES = 20.0, 7, 96


@pytest.fixture(scope="module")
def small() -> Floats:
    """The mean of 6048 pulses of 20 eV in nine channels, in nA from their sample on; seed 7."""
    with wired(spec(RATE_HZ, NINE, **UNALIKE)) as bench:
        takes = [
            heater_pulses(bench, SMALL_EV, SMALL_PULSES + 1, 0.2025) for _ in range(SMALL_TAKES)
        ]
    return np.asarray(np.roll(np.mean(takes, axis=0), -100) * 1e9)


def test_pulses_of_20_ev_have_the_height_of_the_reference_note(small: Floats) -> None:
    smooth = np.convolve(np.roll(small, 100), np.ones(11) / 11, "same")
    # 0.2 nA of noise per sample are 2.6 pA in the mean of 6048; the highest of some: 2 % are 10 pA
    assert smooth[:1000].max() == pytest.approx(0.516, rel=0.02)


def test_pulses_of_20_ev_have_the_time_constants_of_the_reference_note(small: Floats) -> None:
    """By a fit that weighs each frequency by its noise; what 6048 pulses tell of the three is, by
    the information in them, 1.4, 1.4 and 5.2 %: the crystal's is held to four of its sigma here,
    and to 5 % at 300 eV."""
    t_s = np.arange(len(small)) / RATE_HZ - 10e-6
    f_hz = np.fft.rfftfreq(len(small), 1 / RATE_HZ)[1:-1]
    sigma = np.sqrt(linear().sampled_psd(f_hz, RATE_HZ) + SQUID.current_psd(f_hz))

    def misfit(p: Floats) -> Floats:
        off = np.fft.rfft(small - proebst(t_s, *(p * begin)))[1:-1] / sigma
        return np.concatenate([off.real, off.imag])

    begin = np.array([0.55, 0.06, 4e-3, 0.25e-3, 25e-3])
    _, _, tau_in, tau_n, tau_t = least_squares(misfit, np.ones(5), x_scale="jac").x * begin
    assert tau_n == pytest.approx(0.304e-3, rel=0.05)
    assert tau_in == pytest.approx(3.603e-3, rel=0.05)
    assert tau_t == pytest.approx(28.17e-3, rel=0.21)


# --- resolution

LINES_UP_TO_HZ = 30.0  # of the pulse tube


def averaged(f_hz: Floats, n: int) -> Floats:
    """What a mean of n samples, RATE_HZ of them a second, leaves of a frequency."""
    return np.asarray(np.sinc(f_hz / RATE_HZ) / np.sinc(f_hz / (n * RATE_HZ)))


def averaged_density(f_hz: Floats, n: int) -> Floats:
    """The analytic density of such means, with what they fold, in A²/Hz."""
    found = np.zeros(len(f_hz))
    for k in range(-(n // 2), n // 2 + 1):
        at_hz = np.abs(f_hz + k * RATE_HZ)
        density = linear().sampled_psd(at_hz, n * RATE_HZ) + SQUID.current_psd(at_hz)
        density += AMPERES_PER_COUNT**2 / (6 * n * RATE_HZ)
        found += density * averaged(at_hz, n) ** 2
    return found


def test_an_optimum_filter_of_the_stream_reaches_the_resolution_of_the_formula() -> None:
    n, n_records, mean_of = 16384, 30, 5
    with wired(spec(mean_of * RATE_HZ, NINE[:3], **UNALIKE)) as bench:
        pulse = np.roll(heater_pulses(bench, 300.0, 105), -100)[: 8192 * mean_of] / 300.0
        rows = bench.rows(n * n_records / RATE_HZ) * AMPERES_PER_COUNT
    template = np.zeros(n)
    # far from the record's ends, where noise has a step
    template[4096:12288] = pulse.reshape(-1, mean_of).mean(1)
    streams = rows.reshape(3, n_records * n, mean_of).mean(2)
    records = streams.reshape(3 * n_records, n)
    f_hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    # without the bins that lines leak into, which know of each other: the filter would have to
    used = (f_hz > LINES_UP_TO_HZ) & (np.abs(np.mod(f_hz + 25, 50) - 25) > 13) & (f_hz < 10e3)
    spectrum, power = np.fft.rfft(template)[used], np.mean(np.abs(np.fft.rfft(records)) ** 2, 0)
    information = np.sum(np.abs(spectrum) ** 2 / power[used])
    weights = np.zeros(n, complex)
    weights[: len(f_hz)][used] = np.conj(spectrum) / power[used] / information
    taps = np.fft.fft(weights).real[::-1]
    # at every sample: three pools of 8 s hold some 10 000 independent heights, which is 0.7 %
    found_ev = np.concatenate([oaconvolve(stream, taps, "valid") for stream in streams])
    # sigma^-2 = integral of 4 |S|^2 / N^2
    assert found_ev.std() == pytest.approx((2 * information) ** -0.5, rel=0.03)
    seen = np.abs(linear().response(f_hz[used]) * averaged(f_hz[used], mean_of)) ** 2
    analytic = 4 * seen / averaged_density(f_hz[used], mean_of)
    bent = 1.017  # a pulse of 300 eV is 1.7 % less than linear
    sigma_ev = bent * (analytic.sum() * RATE_HZ / n) ** -0.5
    # lines pass between the bins that are used with 0.18 eV, 0.1 % of the whole
    assert found_ev.std() == pytest.approx(sigma_ev, rel=0.03)
