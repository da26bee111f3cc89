"""What a simulated digitizer digitizes: samples as a pure function of their numbers."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]


class ForgottenError(ValueError):
    """Samples from so long ago that they cannot be made again."""


class Source(Protocol):
    """The signal at the inputs of one digitizer, from sample 0 on.

    Because every sample is a function of its number alone, any stretch can be had again: a
    digitizer's memory needs no storage, and where a stretch is cut makes no difference.
    """

    @property
    def name(self) -> str:
        """The digitizer's name."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels, in the order of the rows of `samples`."""

    @property
    def rate_hz(self) -> float:
        """Nominal samples per second."""

    @property
    def volts_per_count(self) -> float:
        """Volts at the input per ADC count."""

    @property
    def length(self) -> int | None:
        """Samples there are; None where there is no end."""

    def samples(self, start: int, stop: int) -> Samples:
        """The samples [start, stop), int16, [channel, sample], C-contiguous.

        Raises ValueError where the stretch is not within [0, length), and ForgottenError where it
        lies farther back than what a digitizer's memory holds.
        """

    def t_ns(self, sample: int) -> int:
        """UTC at which a sample is converted, in ns: the digitizer's hardware stamp."""
