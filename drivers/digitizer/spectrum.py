"""Spectrum Instrumentation cards (M2p, M4i) in FIFO mode: a ring that the card fills by itself.

Registers, commands and the order of calls are those of the Python packages spcm 1.13 and
spcm_core 1.0. Tested against a stand-in of spcm; not confirmed on a card: the pretrigger that
every model takes, that counts reach from - to + the register of the largest value, and what the
driver still answers after an overrun (we ask only its status).

The card numbers no samples for us: they count from 0 at its start, and the anchors are estimates
by this computer's clock. After an overrun, or any other error of the driver, the card is opened
anew: what came between is a gap of estimated length, and a new stream begins.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from daq.errors import (
    InstrumentError,
    NotConnectedError,
    ReplyError,
    SilentError,
    WrongInstrumentError,
)
from drivers.digitizer import vendor
from drivers.digitizer.digitizer import Digitizer, Event, Facts
from drivers.digitizer.numbering import Numbering
from drivers.digitizer.settings import DigitizerSettings, Inputs, own, spectrum_card

DRIVER = "the driver spcm4 of Spectrum Instrumentation"
PIECE_S = 0.01  # the card tells us of samples that last this long
PAGE = 4096  # bytes; what the card tells us of is a multiple
PRETRIGGER = 16  # samples; the shortest that both families take

# registers: spcm_core's regs.py
CARD_MODE, FIFO_SINGLE = 9500, 0x10
LOOPS, PRETRIGGER_SAMPLES, TIMEOUT_MS = 10020, 10030, 295130
ENABLED, SAMPLE_RATE = 11000, 20000
CLOCK_MODE, INTERNAL_PLL = 20200, 1
TRIGGER_OR, TRIGGER_AND, SOFTWARE = 40410, 40430, 1
RANGE_MV, TERMINATION_50_OHM, PER_INPUT = 30010, 30030, 100
BYTES_PER_SAMPLE, LARGEST_COUNT = 1120, 1126
STATUS, OVERRUN = 110, 0x400
ENABLE_TRIGGER, START_DMA = 0x8, 0x10000
ALL_STOP = 0x440060


def _power_of_two(inputs: list[int]) -> list[int]:
    if len(inputs) not in (1, 2, 4, 8, 16):
        raise ValueError(f"expected 1, 2, 4, 8 or 16 inputs, found {len(inputs)}")
    if inputs != sorted(inputs) or inputs[-1] > 15:
        raise ValueError(f"expected inputs from 0 to 15 in rising order, found {inputs}")
    return inputs


class SpectrumSettings(DigitizerSettings):
    """One Spectrum card; `device`, where given, is the product it must be: M2p.5968-x4."""

    resource: Annotated[str, AfterValidator(spectrum_card)] = Field(
        description="/dev/spcm0, or TCPIP::HOST::inst0::INSTR of a netbox."
    )
    channels: Annotated[Inputs, AfterValidator(_power_of_two)] = Field(
        description="Numbers of its inputs, in rising order."
    )
    rate_hz: float = Field(ge=1e3, le=1e10, description="Samples of each input per second [Hz].")
    range_v: float = Field(
        1.0, ge=0.05, le=50, description="Inputs reach from - to + this [V], in whole mV."
    )
    termination: Literal["1 Mohm", "50 ohm"] = Field("1 Mohm", description="Of the inputs.")
    memory_s: float = Field(
        1.0, ge=0.1, le=60, description="The ring that the card fills, while nobody reads [s]."
    )


class SpectrumDigitizer(Digitizer):
    """The inputs of one card, sampled together; samples lie interleaved in the ring."""

    settings = SpectrumSettings

    @classmethod
    def from_settings(cls, name: str, settings: DigitizerSettings) -> SpectrumDigitizer:
        return cls(name, settings.resource, own(settings, SpectrumSettings))

    def __init__(
        self,
        name: str,
        resource: str,
        settings: SpectrumSettings,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._name, self._resource, self._own = name, resource, settings
        self._now_ns = now_ns
        # Any: spcm's own objects; the package may not be installed
        self._card: Any = None
        self._transfer: Any = None
        self._spcm: ModuleType | None = None
        self._timeout_ms = 0  # what the card holds
        self._numbering = Numbering(settings.rate_hz, now_ns)
        self._ready: deque[Event] = deque()
        self._failed: InstrumentError | None = None

    def connect(self) -> Facts:
        self.close()
        self._spcm = spcm = vendor.load("spcm", DRIVER)
        try:
            self._card = card = spcm.Card(self._resource)
            card.open()
            self._check_product(card)
            self._set_up(card)
            return self._begun(spcm, card)
        except spcm.SpcmException as error:
            self.close()
            raise self._lost("cannot be used", error) from error

    def start(self, sample: int) -> None:
        """A card has no samples but those that come; whatever is asked, they begin at 0."""

    def read(self, timeout_s: float) -> Event:
        if not self._ready:
            self._ready.extend(self._events(timeout_s))
        return self._ready.popleft()

    def close(self) -> None:
        card, self._card, self._transfer = self._card, None, None
        self._ready.clear()
        if card is None or self._spcm is None:
            return
        with suppress(self._spcm.SpcmException):  # the error that ended it may stand again
            card.cmd(ALL_STOP)
        try:
            card.close()
        except self._spcm.SpcmException:
            card.close_handle()

    # --- the card ---------------------------------------------------------------------------

    def _check_product(self, card: Any) -> None:  # Any: spcm's objects
        if self._own.device and (found := card.product_name()) != self._own.device:
            raise WrongInstrumentError(
                f"expected a {self._own.device} at {self._resource}, found a {found}"
            )
        if (found := card.get_i(BYTES_PER_SAMPLE)) != 2:
            raise ReplyError(f"expected samples of 2 bytes at {self._resource}, found {found}")

    def _set_up(self, card: Any) -> None:  # Any: spcm's objects
        """One endless acquisition, begun by ourselves."""
        chosen = self._own
        for register, value in (
            (CARD_MODE, FIFO_SINGLE),
            (LOOPS, 0),
            (PRETRIGGER_SAMPLES, PRETRIGGER),
            (CLOCK_MODE, INTERNAL_PLL),
            (TRIGGER_OR, SOFTWARE),
            (TRIGGER_AND, 0),
            (ENABLED, sum(1 << number for number in chosen.channels)),
            (SAMPLE_RATE, round(chosen.rate_hz)),
        ):
            card.set_i(register, value)
        for number in chosen.channels:
            card.set_i(RANGE_MV + PER_INPUT * number, round(1000 * chosen.range_v))
            card.set_i(TERMINATION_50_OHM + PER_INPUT * number, int(chosen.termination == "50 ohm"))

    def _begun(self, spcm: ModuleType, card: Any) -> Facts:  # Any: spcm's objects
        """Give the card its ring, start it, and say what it really does."""
        rate_hz = float(card.get_i(SAMPLE_RATE))
        volts_per_count = self._own.range_v / card.get_i(LARGEST_COUNT)
        notify, ring = self._lengths(rate_hz)
        self._transfer = transfer = spcm.DataTransfer(card)
        transfer.allocate_buffer(ring)
        transfer.start_buffer_transfer(START_DMA, notify_samples=notify)
        card.start(ENABLE_TRIGGER)
        self._numbering, self._failed = Numbering(rate_hz, self._now_ns), None
        self._timeout_ms = 0
        return Facts(
            name=self._name,
            channels=tuple(f"ch{number}" for number in self._own.channels),
            rate_hz=rate_hz,
            volts_per_count=volts_per_count,
            stream=self._numbering.stream,
            can_wait=False,
            oldest=0,
            next=0,
            anchor=self._numbering.begin(),
        )

    def _lengths(self, rate_hz: float) -> tuple[int, int]:
        """Samples after which the card tells us, and those of the ring: a multiple of them."""
        page = PAGE // (2 * len(self._own.channels))
        notify = page * max(1, round(PIECE_S * rate_hz / page))
        return notify, notify * max(4, round(self._own.memory_s * rate_hz / notify))

    # --- the samples ------------------------------------------------------------------------

    def _events(self, timeout_s: float) -> list[Event]:
        if self._failed is not None:
            raise self._failed
        if self._card is None or self._spcm is None:
            raise NotConnectedError(f"the card {self._resource} is closed")
        try:
            self._wait(timeout_s)
            return self._taken()
        except self._spcm.SpcmTimeout as error:
            raise SilentError(f"{self._resource} sends nothing") from error
        except self._spcm.SpcmException as error:
            return self._broken(error)

    def _wait(self, timeout_s: float) -> None:
        timeout_ms = max(1, round(1000 * timeout_s))  # 0 would be for ever
        if timeout_ms != self._timeout_ms:
            self._card.set_i(TIMEOUT_MS, timeout_ms)
            self._timeout_ms = timeout_ms
        self._transfer.wait_dma()

    def _taken(self) -> list[Event]:
        """What there is up to the end of the ring, copied before the card may write there again."""
        available = int(self._transfer.avail_user_len())
        at = int(self._transfer.avail_user_pos())
        ring = self._transfer.buffer
        n_samples = min(available, ring.shape[1] - at)
        if n_samples < 1:
            raise SilentError(f"{self._resource} sends nothing")
        samples = np.array(ring[:, at : at + n_samples], np.int16, order="C")
        self._transfer.avail_card_len(n_samples)
        return self._numbering.take(samples, available - n_samples)

    def _broken(self, error: Exception) -> list[Event]:
        """The acquisition is over: name what is lost now, and fail at the next read."""
        is_overrun = self._is_overrun()
        said = "does not keep up, its memory overran" if is_overrun else "failed"
        self._failed = self._lost(said, error)
        return [self._numbering.broken("overflow" if is_overrun else "device")]

    def _is_overrun(self) -> bool:
        """By the card's status; the error itself carries a text and no code."""
        try:
            return bool(self._card.get_i(STATUS) & OVERRUN)
        except Exception as error:
            if self._spcm is None or not isinstance(error, self._spcm.SpcmException):
                raise
            return False

    def _lost(self, said: str, error: Exception) -> NotConnectedError:
        return NotConnectedError(f"the card {self._resource} {said}: {vendor.sentence(error)}")
