"""The optimum filter of one channel: template and noise in, kernel, resolution and rates out.

With S the template's spectrum and J the one-sided noise density, the filter is S*/J without the
constant, and the resolution of the amplitude is (sum of 4 |S|^2 / J df)^-1/2 (Gatti & Manfredi
1986; Szymkowiak et al. 1993). All frequencies are those of a record's real FFT. The formula takes
frequencies to be independent. Strong lines between them leak into all alike and make it too
large, by a fifth and more: what the filter made of the noise records themselves then counts.

Pulses that rise within a few samples look different with the time within a sample at which they
come: what lies near the Nyquist frequency is folded. Heights then depend on that time, by more
than the noise for large pulses. A low-pass that costs 1 % of the resolution takes most of it away.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import scipy.fft

from daq.acquire.kernels import C128, F32, F64
from daq.errors import FormatError, UsageError

SCHEMA, VERSION = "scheelite.filter", 1
LEAST_MEASURED = 200  # records of noise: sigma is then known to 5 %
SURELY = 3.0  # standard errors


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    """What stands in the bytes of a filter, in this order."""

    schema: str
    version: int
    template: bytes  # little-endian float32
    psd: bytes  # little-endian float64
    pretrigger: int
    rate_hz: float
    falling: bool
    counts_per_ev: float | None
    provenance: list[tuple[str, str]]
    low_pass_hz: float | None = None
    measured: tuple[float, int] | None = None


class Measured(NamedTuple):
    """What a filter made of noise: standard deviation of the heights [counts], of how many."""

    sigma: float
    n: int

    @property
    def error(self) -> float:
        """Relative standard error of sigma, for independent records of Gaussian noise."""
        return 1 / math.sqrt(2 * self.n)


@dataclass(frozen=True, eq=False, kw_only=True)
class Filter:
    """Template and noise of one channel at its record rate.

    `template` is float32 [sample], of unit height and positive also for falling pulses, without
    baseline; its sample `pretrigger` stands at the trigger. `psd` is float64 [frequency],
    one-sided, counts^2/Hz, at the frequencies of the template's real FFT.
    `counts_per_ev` is the pulse height of 1 eV, where that is known. `low_pass_hz` is where a
    Gaussian low-pass within the filter has fallen to 1/e, None for the filter of least noise.
    `measured` is what it made of records of noise, None where there were too few.
    """

    template: F32
    psd: F64
    pretrigger: int
    rate_hz: float
    falling: bool = False
    counts_per_ev: float | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    low_pass_hz: float | None = None
    measured: Measured | None = None

    def __post_init__(self) -> None:
        template = np.array(self.template, np.float32)
        psd = np.array(self.psd, np.float64)
        _refuse(template, psd, self.pretrigger, self.rate_hz)
        measured = None if self.measured is None else self.measured.sigma
        _refuse_not_above_0(
            counts_per_ev=self.counts_per_ev, low_pass_hz=self.low_pass_hz, measured=measured
        )
        for name, values in (("template", template), ("psd", psd)):
            values.flags.writeable = False
            object.__setattr__(self, name, values)

    @property
    def length(self) -> int:
        """Samples of the template."""
        return int(self.template.size)

    @property
    def sign(self) -> float:
        """What turns a pulse upright."""
        return -1.0 if self.falling else 1.0

    @cached_property
    def sides(self) -> F64:
        """How many frequencies of a full FFT each one of the real FFT stands for."""
        return frequency_sides(self.length)

    @cached_property
    def frequencies_hz(self) -> F64:
        """Frequencies of the PSD."""
        return np.asarray(np.arange(self.psd.size) * (self.rate_hz / self.length), np.float64)

    @cached_property
    def power(self) -> F64:
        """Expected |FFT of a record of noise|^2 [counts^2]."""
        total: F64 = self.psd * (self.rate_hz * self.length)
        power: F64 = np.divide(total, self.sides, dtype=np.float64)
        power[0] = np.inf  # the constant says nothing: the baseline is unknown
        return power

    @cached_property
    def spectrum(self) -> C128:
        """The template's real FFT."""
        return np.asarray(scipy.fft.rfft(self.template.astype(np.float64)))

    @cached_property
    def weights(self) -> C128:
        """The filter at each frequency, the complex conjugate of it; of no particular scale."""
        weights = self.spectrum / self.power
        if self.low_pass_hz is not None:
            weights *= np.exp(-((self.frequencies_hz / self.low_pass_hz) ** 2))
        weights[0] = 0.0
        return np.asarray(weights)

    @cached_property
    def noise_shares(self) -> F64:
        """Share of each frequency in the variance of the filtered noise, of the weights' scale."""
        shares = np.zeros(self.psd.size)
        shares[1:] = (self.sides * np.abs(self.weights) ** 2)[1:] * self.power[1:]
        return shares

    @cached_property
    def signal_shares(self) -> F64:
        """Share of each frequency in the filtered pulse's height, of the weights' scale."""
        return np.asarray(self.sides * (np.conj(self.weights) * self.spectrum).real)

    @cached_property
    def kernel(self) -> F64:
        """h [sample]: sum of h times a record is the height of the pulse in it; sum of h is 0."""
        h = np.asarray(scipy.fft.irfft(self.weights, self.length))
        h -= h.mean()
        return np.asarray(h / np.dot(h, self.template.astype(np.float64)))

    @cached_property
    def response(self) -> F64:
        """The filter's output [shift] for one pulse of unit height, from -length to +length.

        Of the template as it is: with nothing before it, and its last value held after it.
        """
        n = self.length
        pulse = np.concatenate([np.zeros(n), self.template, np.full(n, self.template[-1])])
        size = scipy.fft.next_fast_len(pulse.size + n, real=True)
        product = scipy.fft.rfft(pulse, size) * np.conj(scipy.fft.rfft(self.kernel, size))
        return np.asarray(scipy.fft.irfft(product, size)[: 2 * n + 1])

    @cached_property
    def sigma(self) -> float:
        """Resolution of the height, as a standard deviation [counts]."""
        return float(np.sqrt(self.noise_shares.sum()) / self.signal_shares.sum())

    @cached_property
    def noise_sigma(self) -> float:
        """The resolution that thresholds count in [counts]: the measured one where the formula is
        surely wrong, else the formula's, which is the more exact."""
        if self.measured is None:
            return self.sigma
        away = abs(self.measured.sigma / self.sigma - 1)
        return self.measured.sigma if away > SURELY * self.measured.error else self.sigma

    @property
    def sigma_ev(self) -> float | None:
        """The same [eV], where the calibration is known."""
        return None if self.counts_per_ev is None else self.noise_sigma / self.counts_per_ev

    @cached_property
    def f_rms_hz(self) -> float:
        """Root mean square frequency of the filtered noise; without low-pass that of |S|^2 / J."""
        return self._rms_hz(self.noise_shares)

    def noise_rate_hz(self, threshold: float) -> float:
        """Upward crossings of `threshold` [counts] by filtered noise alone (Rice 1945)."""
        return self.f_rms_hz * math.exp(-((threshold / self.noise_sigma) ** 2) / 2)

    def measured_on(self, records: npt.NDArray[np.number]) -> Filter:
        """The filter with what it makes of records of noise [record, sample], where these are
        enough to know it to a few per cent."""
        if len(records) < LEAST_MEASURED:
            return self
        # one by one: all of them as floats would be gigabytes
        heights = np.array([np.dot(record.astype(np.float64), self.kernel) for record in records])
        return replace(self, measured=Measured(float(heights.std(ddof=1)), len(records)))

    def time_sigma_s(self, amplitude: float) -> float:
        """Resolution of the time of a pulse of `amplitude` [counts]: noise slope over curvature."""
        curvature = self._rms_hz(self.signal_shares) ** 2
        return self.sigma * self.f_rms_hz / (2 * math.pi * curvature * amplitude)

    def affordable_low_pass_hz(self, cost: float = 0.01) -> float:
        """The low-pass that makes the resolution worse by this share and no more."""
        from scipy.optimize import brentq  # here: it takes a second, and only training needs it

        most = self.sigma * (1 + cost)

        def excess(hz: float) -> float:
            return replace(self, low_pass_hz=hz).sigma - most

        lowest, highest = self.frequencies_hz[1], self.rate_hz * 8  # the latter as good as none
        if excess(lowest) < 0:
            return float(lowest)
        return float(brentq(excess, lowest, highest, rtol=1e-3))

    def counts(self, *, sigmas: float | None = None, ev: float | None = None) -> float:
        """A threshold in sigmas or in eV, as the height in counts that the search takes."""
        if (sigmas is None) == (ev is None):
            raise UsageError("expected a threshold in sigmas or in eV, found both or neither")
        if sigmas is not None:
            return sigmas * self.noise_sigma
        if self.counts_per_ev is None:
            raise UsageError(
                "expected a filter with counts_per_ev for a threshold in eV, found none"
            )
        return float(ev or 0.0) * self.counts_per_ev

    def to_bytes(self) -> bytes:
        """The same bytes for the same filter, always."""
        stored = _Stored(
            SCHEMA,
            VERSION,
            self.template.astype("<f4").tobytes(),
            self.psd.astype("<f8").tobytes(),
            self.pretrigger,
            float(self.rate_hz),
            self.falling,
            None if self.counts_per_ev is None else float(self.counts_per_ev),
            sorted(self.provenance.items()),
            None if self.low_pass_hz is None else float(self.low_pass_hz),
            None if self.measured is None else (self.measured.sigma, self.measured.n),
        )
        fields = [getattr(stored, name) for name in _Stored.__struct_fields__]
        # filters that measured nothing have the bytes, and the hash, that they had before
        return msgspec.msgpack.encode(fields if self.measured else fields[:-1])

    @classmethod
    def from_bytes(cls, stored: bytes) -> Filter:
        """Raises FormatError where the bytes are no filter of this version."""
        found = _decode(stored)
        return cls(
            template=np.frombuffer(found.template, "<f4").astype(np.float32),
            psd=np.frombuffer(found.psd, "<f8").astype(np.float64),
            pretrigger=found.pretrigger,
            rate_hz=found.rate_hz,
            falling=found.falling,
            counts_per_ev=found.counts_per_ev,
            provenance=dict(found.provenance),
            low_pass_hz=found.low_pass_hz,
            measured=None if found.measured is None else Measured(*found.measured),
        )

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the bytes, in hex."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def _rms_hz(self, shares: F64) -> float:
        return float(np.sqrt((self.frequencies_hz**2 * shares).sum() / shares.sum()))


def frequency_sides(length: int) -> F64:
    """How many frequencies of a full FFT each one of the real FFT stands for."""
    sides = np.full(length // 2 + 1, 2.0)
    sides[0] = 1.0
    if length % 2 == 0:
        sides[-1] = 1.0
    return sides


def _decode(stored: bytes) -> _Stored:
    try:
        found = msgspec.msgpack.decode(stored, type=_Stored)
    # msgspec documents neither of the last two, yet bytes from a stranger can raise them
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"expected the bytes of a filter, found {len(stored)} others") from error
    if (found.schema, found.version) != (SCHEMA, VERSION):
        raise FormatError(
            f"expected {SCHEMA} version {VERSION}, found {found.schema} version {found.version}"
        )
    if len(found.template) % 4 or len(found.psd) % 8:
        raise FormatError("expected whole numbers of float32 and float64 in a filter, found a part")
    return found


def _refuse(template: F32, psd: F64, pretrigger: int, rate_hz: float) -> None:
    """One sentence for what a filter cannot be made of."""
    n = template.size
    if template.ndim != 1 or n < 16:
        raise UsageError(f"expected a template of 16 samples or more, found shape {template.shape}")
    if psd.shape != (n // 2 + 1,):
        raise UsageError(f"expected a PSD of {n // 2 + 1} frequencies, found shape {psd.shape}")
    if not (np.isfinite(template).all() and np.isfinite(psd).all() and (psd[1:] > 0).all()):
        raise UsageError("expected finite numbers and a PSD above 0, found others in the filter")
    if abs(float(template.max()) - 1) > 0.01:
        raise UsageError(f"expected a template of height 1, found {float(template.max()):.4g}")
    if not 0 <= pretrigger < n:
        raise UsageError(f"expected a pretrigger within the template, found {pretrigger} of {n}")
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise UsageError(f"expected a rate above 0 Hz, found {rate_hz}")


def _refuse_not_above_0(**optional: float | None) -> None:
    for name, value in optional.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"expected {name} above 0 in a filter, found {value}")
