"""The answer of a sensor's current to a wave of its bias: dI/dIb, harmonic by harmonic.

A square wave has all odd harmonics at once. When its edges come is not known, so that a delay
remains to be fitted; sines of different frequencies have phases of their own, so that of them the
magnitudes alone are used. The wave's frequency is taken from the samples where the generator's
clock is a little off theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq.errors import CheckError, UsageError
from daq.readout.circuit import C128, F64, Estimate

LEAST_BLOCKS = 4
LEAST_SNR = 5.0  # of the fundamental
HIGHEST_PER_RATE = 1 / 20  # beyond, what folds back at the digitizer is more than 1 %
DENSEST, WIDTHS_OFF = 0.4, 5.0  # of blocks, and how many of their widths (each a sigma) count
MOST_HARMONICS = 100  # of a square wave
WRONG_SCALE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Response:
    """dI/dIb [frequency], complex128, and the standard deviation of its real or imaginary part.

    `phased` says whether the phases are those of one wave; `even_share` is the second harmonic in
    the fundamental, which a small signal does not have.
    """

    f_hz: F64
    values: C128
    sigma: F64
    phased: bool
    even_share: float = 0.0

    @property
    def lowest(self) -> Estimate:
        """The magnitude at the lowest frequency."""
        k = int(np.argmin(self.f_hz))
        return Estimate(float(abs(self.values[k])), float(self.sigma[k]))


def by_square_wave(
    current_a: F64,
    rate_hz: float,
    *,
    frequency_hz: float,
    bias_pp_a: float,
    highest_hz: float | None = None,
) -> Response:
    """dI/dIb at the odd harmonics of a square wave of `bias_pp_a` of bias, peak to peak.

    The frequency is taken from the samples where the generator's clock is a little off theirs.
    """
    highest_hz = min(highest_hz or np.inf, rate_hz * HIGHEST_PER_RATE)
    f_hz = refined_hz(current_a, rate_hz, frequency_hz)
    orders = _odd_orders(int(highest_hz / f_hz))
    found, sigma = _amplitudes(current_a, rate_hz, f_hz, orders)
    even, _ = _amplitudes(current_a, rate_hz, f_hz, np.array([2]))
    _refuse_silence(found[0], sigma[0], bias_pp_a, frequency_hz)
    told = 2 * bias_pp_a / (1j * np.pi * orders)
    at_hz = np.asarray(orders * f_hz, np.float64)
    values = _without_delay(at_hz, found / told, 1 / f_hz)
    return Response(
        f_hz=at_hz,
        values=values,
        sigma=sigma / np.abs(told),
        phased=True,
        even_share=float(abs(even[0]) / abs(found[0])),
    )


def by_sine(
    current_a: F64, rate_hz: float, *, frequency_hz: float, bias_pp_a: float
) -> tuple[float, complex, float, float]:
    """(frequency, dI/dIb, its sigma, share of the second harmonic) of one sine."""
    f_hz = refined_hz(current_a, rate_hz, frequency_hz)
    found, sigma = _amplitudes(current_a, rate_hz, f_hz, np.array([1, 2]))
    _refuse_silence(found[0], sigma[0], bias_pp_a, frequency_hz)
    scale = bias_pp_a / 2
    return f_hz, complex(found[0] / scale), float(sigma[0] / scale), float(abs(found[1] / found[0]))


def of_sines(measured: list[tuple[float, complex, float, float]]) -> Response:
    """The response by sines of different frequencies, measured one after the other."""
    if not measured:
        raise UsageError("expected sines at some frequencies, found none")
    f_hz, values, sigma, even = zip(*sorted(measured, key=lambda one: one[0]), strict=True)
    return Response(
        f_hz=np.array(f_hz),
        values=np.abs(np.array(values)).astype(np.complex128),
        sigma=np.array(sigma),
        phased=False,
        even_share=max(even),
    )


def refined_hz(current_a: F64, rate_hz: float, frequency_hz: float) -> float:
    """The wave's frequency by the digitizer's clock: from the phase's drift over the samples."""
    blocks, length = _blocks(len(current_a), rate_hz, frequency_hz)
    turns = np.arange(blocks * length) * (frequency_hz / rate_hz)
    tone = np.exp(-2j * np.pi * turns) * (current_a[: len(turns)] - current_a.mean())
    quiet = undisturbed(current_a[: len(turns)].reshape(blocks, length).mean(1))
    phases = np.unwrap(np.angle(tone.reshape(blocks, length).mean(1)[quiet]))
    at_s = np.arange(blocks)[quiet] * length / rate_hz
    line = np.polyfit(at_s, phases, 1)
    slope = line[0]
    off_hz = float(slope / (2 * np.pi))
    # a block's own scatter looks like a drift, too: believe what is beyond it
    scatter = float(np.std(phases - np.polyval(line, at_s)))
    sure_hz = scatter / (2 * np.pi) * np.sqrt(12 / blocks**3) * rate_hz / length
    return frequency_hz + off_hz if abs(off_hz) > 3 * sure_hz else frequency_hz


def mean_period(current_a: F64, rate_hz: float, frequency_hz: float) -> tuple[F64, F64]:
    """(time in s, current) of the mean period, for eyes; begins at the steepest rise."""
    f_hz = refined_hz(current_a, rate_hz, frequency_hz)
    n = max(8, int(rate_hz / f_hz))
    at = np.minimum(
        (np.mod(np.arange(len(current_a)) * (f_hz / rate_hz), 1.0) * n).astype(int), n - 1
    )
    sums = np.bincount(at, weights=current_a, minlength=n)
    mean = sums / np.maximum(1, np.bincount(at, minlength=n))
    rise = int(np.argmax(np.roll(mean, -1) - mean))
    return np.arange(n) / (n * f_hz), np.roll(mean, -rise - 1)


def refuse_wrong_scale(response: Response, slope: float) -> None:
    """CheckError where the wave's answer at low frequency is not what an IV's slope promises."""
    if found := wrong_scale(response.lowest, slope, WRONG_SCALE):
        raise CheckError(
            f"wrong size of the test wave: expected dI/dIb = {abs(slope):.4g} as in the IV, "
            f"found {found}"
        )


def wrong_scale(seen: Estimate, slope: float, tolerance: float) -> str:
    """What was seen of dI/dIb where it is not the slope of an IV, and why that may be; or ""."""
    ratio = seen.value / abs(slope)
    if abs(ratio - 1) < tolerance + 3 * seen.sigma / abs(slope):
        return ""
    reasons = {2.0: "50 ohm but drives high impedance", 0.5: "high impedance but drives 50 ohm"}
    near = [text for factor, text in reasons.items() if abs(ratio / factor - 1) < tolerance]
    why = f": the generator is told of {near[0]}" if near else ": is the bias resistor another one?"
    return f"{seen.value:.4g}, {ratio:.2f} times that{why}"


def _blocks(n: int, rate_hz: float, frequency_hz: float) -> tuple[int, int]:
    """(number, length) of blocks of whole periods, as nearly as samples allow."""
    periods = n * frequency_hz / rate_hz
    if periods < LEAST_BLOCKS or frequency_hz > rate_hz / 2:
        raise CheckError(
            f"too few samples: expected {LEAST_BLOCKS} periods of {frequency_hz:g} Hz below half "
            f"the rate of {rate_hz:g} Hz, found {periods:.3g}"
        )
    each = max(1, int(periods) // 16)
    length = round(each * rate_hz / frequency_hz)
    return n // length, length


def _amplitudes(
    current_a: F64, rate_hz: float, f_hz: float, orders: npt.NDArray[np.int64]
) -> tuple[C128, F64]:
    """The phasors at orders of a frequency, and how far blocks scatter about them."""
    blocks, length = _blocks(len(current_a), rate_hz, f_hz)
    rows = current_a[: blocks * length].reshape(blocks, length)
    rows = rows - rows.mean()
    turns, begins = (
        np.arange(length) * (f_hz / rate_hz),
        np.arange(blocks) * length * f_hz / rate_hz,
    )
    each = np.array(
        [
            rows @ np.exp(-2j * np.pi * k * turns) * np.exp(-2j * np.pi * k * begins)
            for k in orders.tolist()
        ]
    ) * (2 / length)
    each = each[:, undisturbed(current_a[: blocks * length].reshape(blocks, length).mean(1))]
    scatter = np.sqrt((np.var(each.real, axis=1, ddof=1) + np.var(each.imag, axis=1, ddof=1)) / 2)
    return each.mean(1), scatter / np.sqrt(each.shape[1])


def undisturbed(means: F64) -> npt.NDArray[np.bool_]:
    """The blocks without a pulse: whose means are near where they lie most densely.

    Pulses move all to one side, and may be in most blocks. Of too few quiet ones it is all.
    """
    n = max(2, round(DENSEST * len(means)))
    ordered = np.sort(means)
    widths = ordered[n - 1 :] - ordered[: len(means) - n + 1]
    first = int(np.argmin(widths))
    middle = float(np.median(ordered[first : first + n]))
    quiet = np.abs(means - middle) <= WIDTHS_OFF * widths[first]
    return quiet if quiet.sum() >= LEAST_BLOCKS else np.ones_like(quiet)


def _odd_orders(most: int) -> npt.NDArray[np.int64]:
    """Odd harmonics up to one: all of the first ones, then about evenly on a logarithmic scale."""
    spread = np.geomspace(1, max(1, most), MOST_HARMONICS).astype(np.int64) // 2 * 2 + 1
    return np.unique(np.concatenate([[1], spread[spread <= most]]))


def _without_delay(f_hz: F64, values: C128, period_s: float) -> C128:
    """The values as if the wave began with an edge: with the delay that leaves least phase.

    A wave that began half a period off would change sign; that the sensor answers a faster wave
    in phase (as R (1 + beta) does) says which. What remains of the delay is fitted.
    """
    delays = np.linspace(0, period_s, 64 * f_hz.size, endpoint=False)
    turned = np.exp(2j * np.pi * np.outer(delays, f_hz)) * (values / np.abs(values))
    weight = np.abs(f_hz / f_hz.max()) ** 0.5  # the fast ones, which feedback does not turn
    best = delays[int(np.argmax((turned.real * weight).sum(1)))]
    return np.asarray(values * np.exp(2j * np.pi * f_hz * best))


def _refuse_silence(found: complex, sigma: float, bias_pp_a: float, frequency_hz: float) -> None:
    if abs(found) < LEAST_SNR * sigma or not np.isfinite(sigma):
        raise CheckError(
            f"no answer: expected the current to follow {bias_pp_a:.3g} A of bias at "
            f"{frequency_hz:g} Hz, found {abs(found):.3g} A +- {sigma:.2g} A: is the wave's output "
            f"on and connected, the loop locked, the sensor there?"
        )
