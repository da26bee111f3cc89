"""National Instruments cards with analog inputs, by NI-DAQmx: a continuous task, read as int16.

The calls, their order and the error codes are those of the Python package nidaqmx 1.7 and of two
public programs that read TES detectors with it. Tested against a stand-in of that package (its
signatures were compared with the package's); not confirmed on a card: which errors a property
raises once the task has failed, and that all inputs share the scaling of the first within 0.1 %
(of its polynomial the linear term is used).

The task numbers no samples for us and stamps no time: samples count from 0 at its start, and the
anchors are estimates by this computer's clock. After any error of the driver the task must be
built anew: what came between is a gap of estimated length, and a new stream begins.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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
from drivers.digitizer.settings import DigitizerSettings, Inputs, device_name, own

DRIVER = "the driver NI-DAQmx of National Instruments"
PIECE_S = 0.01  # samples are taken as soon as they last this long
PAUSE_S = 0.002  # between two looks at how many there are
MOST_BYTES = 4 << 20  # in one piece
SHORTEST_BUFFER = 10_000  # samples per channel
READ_S = 1.0  # for samples that are there already
NOT_YET_AVAILABLE = -200284
OVERFLOWS = {
    -200279: "samples no longer available",
    -200361: "onboard memory overflow",
    -200222: "stopped before the buffer was overwritten",
    -200714: "the driver cannot transfer fast enough",
}
TERMINALS = {
    "default": "DEFAULT",
    "differential": "DIFF",
    "pseudodifferential": "PSEUDO_DIFF",
    "rse": "RSE",
    "nrse": "NRSE",
}


class NidaqmxSettings(DigitizerSettings):
    """One NI card; `device`, where given, is the product it must be, such as PXIe-6358."""

    resource: Annotated[str, AfterValidator(device_name)] = Field(
        description="Its name in NI MAX or nilsdev, such as PXI1Slot2 or Dev1."
    )
    channels: Inputs = Field(description="Numbers of its analog inputs, in order: 3 is ai3.")
    rate_hz: float = Field(ge=1, le=1e8, description="Samples of each input per second [Hz].")
    range_v: float = Field(10.0, gt=0, le=100, description="Inputs reach from - to + this [V].")
    terminal: Literal["default", "differential", "pseudodifferential", "rse", "nrse"] = Field(
        "differential", description="How the inputs are wired."
    )
    clock_source: str = Field(
        "", max_length=100, description="Terminal of an external sample clock; none: its own."
    )
    memory_s: float = Field(
        4.0, ge=0.1, le=60, description="The driver's own buffer, while nobody reads [s]."
    )


@dataclass(frozen=True, slots=True)
class _Package:
    """The parts of nidaqmx in use; loaded when we connect, and not before."""

    daqmx: ModuleType
    constants: ModuleType
    errors: ModuleType
    readers: ModuleType
    system: ModuleType


class NidaqmxDigitizer(Digitizer):
    """The analog inputs of one card, sampled together."""

    settings = NidaqmxSettings

    @classmethod
    def from_settings(cls, name: str, settings: DigitizerSettings) -> NidaqmxDigitizer:
        return cls(name, settings.resource, own(settings, NidaqmxSettings))

    def __init__(
        self,
        name: str,
        resource: str,
        settings: NidaqmxSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._name, self._resource, self._own = name, resource, settings
        self._clock, self._pause, self._now_ns = clock, pause, now_ns
        self._names = tuple(f"ai{number}" for number in settings.channels)
        # Any: nidaqmx's own objects; the package may not be installed
        self._task: Any = None
        self._reader: Any = None
        self._package: _Package | None = None
        self._numbering = Numbering(settings.rate_hz, now_ns)
        self._ready: deque[Event] = deque()
        self._failed: InstrumentError | None = None

    def connect(self) -> Facts:
        self.close()
        self._package = package = _load()
        try:
            self._check_product(package)
            return self._begun(package)
        except package.errors.DaqNotFoundError as error:
            raise vendor.no_driver("nidaqmx", DRIVER, error) from error
        except package.errors.Error as error:
            self.close()
            raise self._lost(error) from error

    def start(self, sample: int) -> None:
        """A task has no samples but those that come; whatever is asked, they begin at 0."""

    def read(self, timeout_s: float) -> Event:
        deadline = self._clock() + timeout_s
        if not self._ready:
            self._ready.extend(self._events(deadline))
        return self._ready.popleft()

    def close(self) -> None:
        task, self._task = self._task, None
        self._ready.clear()
        if task is None or self._package is None:
            return
        for step in (task.stop, task.close):
            with suppress(self._package.errors.Error):  # a failed task refuses to stop
                step()

    # --- the task ---------------------------------------------------------------------------

    def _check_product(self, package: _Package) -> None:
        if not self._own.device:
            return
        found = package.system.Device(self._resource).product_type
        if found != self._own.device:
            raise WrongInstrumentError(
                f"expected a {self._own.device} at {self._resource}, found a {found}"
            )

    def _begun(self, package: _Package) -> Facts:
        """Build the task, start it, and say what it really does."""
        self._task = task = package.daqmx.Task()
        first = self._add_inputs(task, package)
        self._set_timing(task, package)
        self._reader = package.readers.AnalogUnscaledReader(task.in_stream)
        rate_hz = float(task.timing.samp_clk_rate)
        volts_per_count = self._slope(first.ai_dev_scaling_coeff)
        task.start()
        self._numbering, self._failed = Numbering(rate_hz, self._now_ns), None
        return Facts(
            name=self._name,
            channels=self._names,
            rate_hz=rate_hz,
            volts_per_count=volts_per_count,
            stream=self._numbering.stream,
            can_wait=False,
            oldest=0,
            next=0,
            anchor=self._numbering.begin(),
        )

    def _add_inputs(self, task: Any, package: _Package) -> Any:  # Any: nidaqmx's objects
        """Add the inputs, in order; the first one's channel, whose scaling stands for all."""
        terminal = package.constants.TerminalConfiguration[TERMINALS[self._own.terminal]]
        channels = [
            task.ai_channels.add_ai_voltage_chan(
                f"{self._resource}/{name}",
                terminal_config=terminal,
                min_val=-self._own.range_v,
                max_val=self._own.range_v,
            )
            for name in self._names
        ]
        return channels[0]

    def _set_timing(self, task: Any, package: _Package) -> None:  # Any: nidaqmx's objects
        """Continuous, into a buffer that is never overwritten: an overflow is an error."""
        buffer = max(SHORTEST_BUFFER, round(self._own.memory_s * self._own.rate_hz))
        task.timing.cfg_samp_clk_timing(
            self._own.rate_hz,
            source=self._own.clock_source,
            sample_mode=package.constants.AcquisitionType.CONTINUOUS,
            samps_per_chan=buffer,
        )
        task.in_stream.input_buf_size = buffer

    def _slope(self, coefficients: list[float]) -> float:
        """Volts per count: the linear term of the card's own scaling."""
        if len(coefficients) < 2 or not coefficients[1] > 0:
            raise ReplyError(
                f"expected a scaling with a positive slope from {self._resource}, "
                f"found {coefficients}"
            )
        return float(coefficients[1])

    # --- the samples ------------------------------------------------------------------------

    def _events(self, deadline: float) -> list[Event]:
        if self._failed is not None:
            raise self._failed
        if self._task is None or self._package is None:
            raise NotConnectedError(f"the task on {self._resource} is closed")
        try:
            return self._taken(deadline)
        except self._package.errors.Error as error:
            return self._broken(error)

    def _taken(self, deadline: float) -> list[Event]:
        """What there is, once it is worth the call; no more is asked for, so no read is partial."""
        n_channels, rate_hz = len(self._names), self._own.rate_hz
        enough, most = max(1, round(PIECE_S * rate_hz)), MOST_BYTES // (2 * n_channels)
        while (waiting := self._waiting()) < enough and self._clock() < deadline:
            self._pause(PAUSE_S)
        if not waiting:
            raise SilentError(f"{self._resource} sends nothing")
        rows = np.empty((n_channels, min(waiting, most)), np.int16)
        n_read = self._reader.read_int16(
            rows, number_of_samples_per_channel=rows.shape[1], timeout=READ_S
        )
        if n_read != rows.shape[1]:
            raise ReplyError(
                f"expected {rows.shape[1]} samples from {self._resource}, found {n_read}"
            )
        return self._numbering.take(rows, waiting - n_read)

    def _waiting(self) -> int:
        return int(self._task.in_stream.avail_samp_per_chan)

    def _broken(self, error: Exception) -> list[Event]:
        """The task is over: name what is lost now, and fail at the next read."""
        code = getattr(error, "error_code", 0)
        if code == NOT_YET_AVAILABLE and not getattr(error, "samps_per_chan_read", 0):
            raise SilentError(f"{self._resource} sends nothing") from error
        self._failed = self._lost(error)
        return [self._numbering.broken("overflow" if code in OVERFLOWS else "device")]

    def _lost(self, error: Exception) -> NotConnectedError:
        code = getattr(error, "error_code", 0)
        said = OVERFLOWS.get(code) or vendor.sentence(error)
        return NotConnectedError(f"the task on {self._resource} failed: {said} (NI-DAQmx {code})")


def _load() -> _Package:
    parts = ("", ".constants", ".errors", ".stream_readers", ".system")
    return _Package(*(vendor.load(f"nidaqmx{part}", DRIVER) for part in parts))
