"""One output of a waveform generator: what it is set to give, and how settings limit each other."""

from __future__ import annotations

from math import inf, log10, sqrt

SOURCE_OHM = 50.0
PEAK_V = 10.0  # without a load; half of it into 50 ohm
LEAST_V = 2e-3  # peak to peak, without a load
LEAST_S = 16e-9  # width of a pulse, and of the pause after it
HIGHEST_HZ = {"SIN": 20e6, "SQU": 20e6, "PULS": 20e6, "RAMP": 200e3, "TRI": 200e3}
VPP_PER_VRMS = {"SIN": 2 * sqrt(2), "SQU": 2.0, "RAMP": 2 * sqrt(3), "TRI": 2 * sqrt(3)}


class GeneratorOutput:
    """Volts are those that a load as declared would see: another load changes all of them.

    What is set returns whether something had to give way to it, or it to something.
    """

    def __init__(self) -> None:
        self.function, self.unit = "SIN", "VPP"
        self.frequency_hz, self.width_s, self.load_ohm = 1e3, 100e-6, SOURCE_OHM
        self.open_vpp, self.open_offset_v = 0.2, 0.0  # without a load

    @property
    def vpp(self) -> float:
        """Peak to peak."""
        return self.open_vpp * self._share

    @property
    def offset_v(self) -> float:
        """The mean."""
        return self.open_offset_v * self._share

    @property
    def amplitude(self) -> float:
        """The amplitude in its unit."""
        if self.unit == "VPP":
            return self.vpp
        rms_v = self.vpp / VPP_PER_VRMS[self.function]
        return rms_v if self.unit == "VRMS" else 10 * log10(rms_v**2 / self.load_ohm / 1e-3)

    def put_amplitude(self, value: float) -> bool:
        """The amplitude in its unit."""
        if self.unit == "DBM":
            value = sqrt(1e-3 * self.load_ohm * 10 ** (value / 10))
        factor = 1.0 if self.unit == "VPP" else VPP_PER_VRMS[self.function]
        asked = value * factor / self._share
        most = 2 * (PEAK_V - abs(self.open_offset_v))
        self.open_vpp = min(max(LEAST_V, asked), max(LEAST_V, most))
        return not _same(self.open_vpp, asked)

    def put_offset(self, volt: float) -> bool:
        """The mean."""
        asked, most = volt / self._share, PEAK_V - self.open_vpp / 2
        self.open_offset_v = min(max(-most, asked), most)
        return not _same(self.open_offset_v, asked)

    def put_high(self, volt: float) -> bool:
        """The upper level, the lower one staying where it can."""
        return self._put_levels(self.offset_v - self.vpp / 2, volt, keep_high=True)

    def put_low(self, volt: float) -> bool:
        """The lower level, the upper one staying where it can."""
        return self._put_levels(volt, self.offset_v + self.vpp / 2, keep_high=False)

    def put_load(self, ohm: float) -> bool:
        """What is declared to be connected; what comes out stays as it was."""
        self.load_ohm = ohm
        return self._plain_unit()

    def put_unit(self, unit: str) -> bool:
        """The unit of the amplitude."""
        self.unit = unit
        return self._plain_unit()

    def put_function(self, function: str) -> bool:
        """The shape."""
        self.function = function
        given = [self._plain_unit(), self.put_frequency(self.frequency_hz)]
        return any(given)

    def put_frequency(self, hertz: float) -> bool:
        """The repetition rate, to which the width of a pulse gives way."""
        self.frequency_hz = min(hertz, HIGHEST_HZ.get(self.function, inf))
        narrowed = self.function == "PULS" and self.put_width(self.width_s)
        return self.frequency_hz != hertz or narrowed

    def put_width(self, second: float) -> bool:
        """The width of a pulse."""
        most = 1 / self.frequency_hz - LEAST_S
        self.width_s = min(max(LEAST_S, second), max(LEAST_S, most))
        return not _same(self.width_s, second)

    @property
    def _share(self) -> float:
        """The part of the open voltage that the declared load sees."""
        return 1.0 if self.load_ohm == inf else self.load_ohm / (self.load_ohm + SOURCE_OHM)

    def _put_levels(self, low: float, high: float, *, keep_high: bool) -> bool:
        least, peak = LEAST_V * self._share, PEAK_V * self._share
        asked = (low, high)
        low, high = max(low, -peak), min(high, peak)
        if high - low < least:
            low, high = (high - least, high) if keep_high else (low, low + least)
        self.open_vpp = (high - low) / self._share
        self.open_offset_v = (high + low) / 2 / self._share
        return (low, high) != asked

    def _plain_unit(self) -> bool:
        """Go back to VPP where the unit has no meaning."""
        no_power = self.unit == "DBM" and self.load_ohm == inf
        if self.unit == "VPP" or (self.function in VPP_PER_VRMS and not no_power):
            return False
        self.unit = "VPP"
        return True


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-12 * max(abs(one), abs(other))
