"""What a simulated digitizer sees: readout chains, veto detectors and logic levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numba import njit

from sim_hardware.source import Samples
from sim_hardware.world import template_bank
from sim_hardware.world.chain import Chain
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.detectors import DETECTORS, VOLTS_PER_COUNT, Detector
from sim_hardware.world.gate import Levels, add_levels
from sim_hardware.world.noise import Pool, pools
from sim_hardware.world.particles import Hit, Truth
from sim_hardware.world.pulses import LONGEST_S, Renderer, Signal

MARGIN_S = 1e-3  # more than a pulse's length may be off by rounding to samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input of a digitizer: its detector, and its place in the noise pools."""

    detector: Detector
    renderer: Renderer
    noise: tuple[Pool, Pool]
    places: tuple[int, int]

    def add(self, signal: Signal, start: int, position: float, energy_ev: float) -> None:
        """Add a hit at a sample number with its fraction, before saturation."""
        self.renderer.add(signal, start, position, self.detector.height(energy_ev, position))

    def end(self, position: float, energy_ev: float) -> float:
        """After which sample a hit is forgotten."""
        return position + 1 + self.renderer.length(self.detector.height(energy_ev, position))

    def digitize(self, row: Samples, start: int, signal: Signal | None) -> None:
        """Fill a row with noise and the signal, where there is one."""
        for begin, end, first, second in self._stretches(start, len(row)):
            if signal is None:
                _mix(row[begin:end], first, second)
            else:
                _mix_signal(row[begin:end], first, second, signal[begin:end])

    def _stretches(self, start: int, length: int) -> Iterator[tuple[int, int, Pool, Pool]]:
        """[begin, end) of the row and the noise there, cut where a pool begins anew."""
        (a, b), (place_a, place_b) = self.noise, self.places
        begin = 0
        while begin < length:
            i, j = (start + begin + place_a) % len(a), (start + begin + place_b) % len(b)
            n = min(length - begin, len(a) - i, len(b) - j)
            yield begin, begin + n, a[i : i + n], b[j : j + n]
            begin += n


def inputs(digitizer: str, kinds: dict[str, str], *, seed: int, rate_hz: float) -> dict[str, Input]:
    """The inputs of a digitizer, ready for work; `kinds` is channel -> key of DETECTORS.

    Takes a second: the noise is synthesized and the kernels are compiled or loaded.
    """
    noises = {
        kind: pools(DETECTORS[kind].noise, rate_hz, _rng(seed, f"noise of {kind} on {digitizer}"))
        for kind in sorted(set(kinds.values()))
    }
    made = {
        channel: _input(DETECTORS[kind], noises[kind], rate_hz, _rng(seed, f"channel {channel}"))
        for channel, kind in kinds.items()
    }
    for each in made.values():
        _warm_up(each)
    return made


class DetectorSignals:
    """The source of one digitizer, whose inputs are detectors hit by particles.

    Each sample is a pure function of its number, of the inputs, of the truth, of the logic levels
    at those inputs that have one, and of the timeline behind the chains. `reach` is told up to
    which time samples are converted, before they are.
    """

    volts_per_count = VOLTS_PER_COUNT
    length = None

    def __init__(
        self,
        name: str,
        inputs: Mapping[str, Input | Chain],
        truth: Truth,
        clock: SampleClock,
        levels: Mapping[str, Levels] | None = None,
        reach: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.name, self.channels, self.rate_hz = name, tuple(inputs), clock.rate_hz
        self._chains = {c: each for c, each in inputs.items() if isinstance(each, Chain)}
        self._inputs = {c: each for c, each in inputs.items() if isinstance(each, Input)}
        self._truth, self._clock, self._reach = truth, clock, reach
        self._levels = dict(levels or {})
        self._longest_s = max(LONGEST_S, template_bank.LONGEST_S if self._chains else 0.0)

    def t_ns(self, sample: int) -> int:
        """UTC at which a sample is converted, in ns."""
        return self._clock.t_ns(sample)

    def samples(self, start: int, stop: int) -> Samples:
        """The samples [start, stop), int16, [channel, sample]."""
        if not 0 <= start <= stop:
            raise ValueError(f"expected samples from 0 on, found [{start}, {stop})")
        rows = np.empty((len(self.channels), stop - start), np.int16)
        first_s, stop_s = self._clock.time_s(start), self._clock.time_s(stop)
        self._reach(stop_s)
        hits: dict[str, list[Hit]] = {channel: [] for channel in self.channels}
        for hit in self._truth.truth(first_s - self._longest_s - MARGIN_S, stop_s + MARGIN_S):
            if hit.channel in hits:
                hits[hit.channel].append(hit)
        signals = self._signals(start, stop, hits)
        for channel, row in zip(self.channels, rows, strict=True):
            if channel in self._chains:
                self._chains[channel].fill(row, start, hits[channel])
            else:
                self._inputs[channel].digitize(row, start, signals.get(channel))
        rows.flags.writeable = False
        return rows

    def _signals(
        self, start: int, stop: int, hits: Mapping[str, Sequence[Hit]]
    ) -> dict[str, Signal]:
        """The pulses in [start, stop), of those inputs that have any, before saturation."""
        signals: dict[str, Signal] = {}
        for channel, each in self._inputs.items():
            for hit in hits[channel]:
                position = self._clock.position(hit.true_s)
                if each.end(position, hit.energy_ev) > start:
                    if channel not in signals:
                        signals[channel] = np.zeros(stop - start, np.float32)
                    each.add(signals[channel], start, position, hit.energy_ev)
        add_levels(signals, self._levels, self._clock, start, stop)
        return signals


def _input(
    detector: Detector, noise: tuple[Pool, Pool], rate_hz: float, rng: np.random.Generator
) -> Input:
    return Input(
        detector=detector,
        renderer=Renderer(detector.shape, rate_hz),
        noise=noise,
        places=(int(rng.integers(len(noise[0]))), int(rng.integers(len(noise[1])))),
    )


def _warm_up(each: Input) -> None:
    """Go through every kernel once, so that none is compiled while samples are waited for."""
    row, signal = np.empty(2, np.int16), np.zeros(2, np.float32)
    each.add(signal, 0, 0.5, 1.0)
    each.digitize(row, 0, None)
    each.digitize(row, 0, signal)


def _rng(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, crc32(purpose.encode())])


@njit(nogil=True, cache=True)
def _mix(out: Samples, first: Pool, second: Pool) -> None:
    for i in range(out.size):
        out[i] = np.int16(np.floor(first[i] + second[i] + np.float32(0.5)))


@njit(nogil=True, cache=True)
def _mix_signal(out: Samples, first: Pool, second: Pool, signal: Signal) -> None:
    for i in range(out.size):
        value = first[i] + second[i] + signal[i]
        value = min(max(value, np.float32(-32768)), np.float32(32767))
        out[i] = np.int16(np.floor(value + np.float32(0.5)))
