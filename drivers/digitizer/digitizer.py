"""What a digitizer driver does, and the events in the stream it delivers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from daq.model.block import Gap
from daq.model.block import Samples as SampleArray
from daq.model.clock import Anchor
from drivers.digitizer.settings import DigitizerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a digitizer says of itself when one connects.

    `stream` names one uninterrupted numbering of samples. Samples [oldest, next) exist now.
    `anchor` is the latest one at or before `oldest`. `can_wait`: its clock stands while nobody
    reads, so that it never loses a sample. `ahead_s`: the most that its clock is ahead of what it
    has sent, where it waits for its samples.
    """

    name: str
    channels: tuple[str, ...]
    rate_hz: float
    volts_per_count: float
    stream: str
    can_wait: bool
    oldest: int
    next: int
    anchor: Anchor
    ahead_s: float | None = None


@dataclass(frozen=True, slots=True)
class Samples:
    """Contiguous samples from `start`: int16, [channel, sample], C-contiguous, read-only."""

    start: int
    samples: SampleArray

    @property
    def stop(self) -> int:
        """One past the number of the last sample."""
        return self.start + int(self.samples.shape[1])


@dataclass(frozen=True, slots=True)
class End:
    """No sample at or after `stop` will come."""

    stop: int


Event = Samples | Anchor | Gap | End


class Digitizer(ABC):
    """One digitizer: connect, start at a sample, read events; close gives everything back.

    Samples come in order, without overlap; where they jump, a Gap comes first. A lost connection
    is NotConnectedError, nonsense ReplyError, another digitizer WrongInstrumentError; after any
    of these, close and connect again. `settings` are the keys of its section in the config.
    """

    settings: ClassVar[type[DigitizerSettings]] = DigitizerSettings

    @classmethod
    def from_settings(cls, name: str, settings: DigitizerSettings) -> Digitizer:
        """The digitizer of a section of the config; override it to take keys of your own."""
        return cls(settings.device or name, settings.resource)

    @abstractmethod
    def __init__(self, name: str, resource: str) -> None:
        """The digitizer that calls itself `name` at `resource`; nothing is opened yet."""

    @abstractmethod
    def connect(self) -> Facts:
        """Open the connection; what the digitizer says of itself."""

    @abstractmethod
    def start(self, sample: int) -> None:
        """Have it send from `sample` on, or from the oldest it still has (then a Gap comes)."""

    @abstractmethod
    def read(self, timeout_s: float) -> Event:
        """The next event; SilentError where none is complete within `timeout_s`."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back; may be called at any time."""
