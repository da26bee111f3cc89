"""A Red Pitaya's streaming server: packets of one channel each, over plain TCP.

The header is the one of Red Pitaya's public sources, where it grew: 56 bytes, then 57 and 64, and
128 where it is padded. So its length is not taken for granted: it is what `bufferSize` holds more
than the channel's part of `sizeOfAllChannels`. Tested against a server that plays such packets;
not confirmed on a board: that lost samples lie before the packet that counts them, that packets
of 56 and 57 bytes count `sizeOfAllChannels` as the later ones do, and that counts reach from
- to + the range over 16 bits whatever the converter has.

Nothing in a packet guards its samples. So one counts once another packet begins where it ends:
what was cut short is a gap, and the last pack before a lost connection is lost with it.

What is to be streamed is set on the board (its web page: network, TCP, 16 bits, these channels,
this rate). It stamps no time: the anchors are estimates by this computer's clock. Every
connection is a new stream, for the board does not keep what nobody took.
"""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import numpy as np
from pydantic import AfterValidator, Field

from daq.errors import NotConnectedError, ReplyError, SilentError
from daq.model.block import Samples as SampleArray
from drivers.digitizer.digitizer import Digitizer, Event, Facts
from drivers.digitizer.numbering import Numbering
from drivers.digitizer.settings import Address, DigitizerSettings, Inputs, own

logger = logging.getLogger(__name__)

ID = bytes.fromhex("ffffffffa0a0a0a0ffffffffa0a0a0a0")
HEADER = struct.Struct("<16sQQQQIBBBB")  # what all versions have in common: 56 bytes
HEADER_LENGTHS = (56, 57, 64, 128)
MAX_PACKET = 16 << 20  # bytes
MAX_LOST = 1 << 48  # samples
RATE_TOLERANCE = 1e-3  # a rate may be written in a few digits
CHUNK = 1 << 18  # bytes to receive at once
RECEIVE_BUFFER = 4 << 20  # bytes the kernel holds while we do something else
CONNECT_S = 3.0  # to connect, and then for the first samples


def _four(inputs: list[int]) -> list[int]:
    if max(inputs) > 3:
        raise ValueError(f"expected inputs from 0 to 3, found {max(inputs)}")
    return inputs


class RedpitayaSettings(DigitizerSettings):
    """One Red Pitaya; channels, rate and range as they are set on the board."""

    resource: Address = Field(description="tcp://HOST:18900 of its streaming server.")
    channels: Annotated[Inputs, AfterValidator(_four)] = Field(
        description="The inputs that it streams: 0 is IN1."
    )
    rate_hz: float = Field(ge=1e3, le=250e6, description="Samples of each input per second [Hz].")
    range_v: float = Field(
        1.0, gt=0, le=100, description="Inputs reach from - to + this [V]: 1 (LV) or 20 (HV)."
    )


@dataclass(frozen=True, slots=True)
class _Packet:
    """One channel of one pack. `lost` samples are missing before it."""

    pack: int
    channel: int
    lost: int
    base_hz: int
    samples: SampleArray


class RedpitayaDigitizer(Digitizer):
    """The client of one board; a packet that is incomplete is continued by the next read."""

    settings = RedpitayaSettings

    @classmethod
    def from_settings(cls, name: str, settings: DigitizerSettings) -> RedpitayaDigitizer:
        return cls(name, settings.resource, own(settings, RedpitayaSettings))

    def __init__(
        self,
        name: str,
        resource: str,
        settings: RedpitayaSettings,
        *,
        timeout_s: float = CONNECT_S,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._name, self._resource, self._own = name, resource, settings
        self._timeout_s, self._clock, self._now_ns = timeout_s, clock, now_ns
        self._socket: socket.socket | None = None
        self._chunk = memoryview(bytearray(CHUNK))
        self._bytes = bytearray()  # received, and not understood yet
        self._n_passed = 0  # of them, since the last packet: no packets
        self._parts: dict[int, _Packet] = {}  # of the pack that is being received, by channel
        self._pack: int | None = None  # number of the last complete pack
        self._numbering = Numbering(settings.rate_hz, now_ns)
        self._ready: deque[Event] = deque()

    def connect(self) -> Facts:
        """Connected is who sends: the first pack tells when its samples were converted."""
        self.close()
        self._socket = self._connected()
        self._pack = None
        parts = self._next_pack(self._clock() + self._timeout_s)
        rate_hz = self._rate_hz(parts[0].base_hz)
        self._numbering = Numbering(rate_hz, self._now_ns)
        anchor = self._numbering.begin(2 * parts[0].samples.size)  # the next one has begun
        self._ready.extend(self._events(parts))
        return Facts(
            name=self._name,
            channels=tuple(f"IN{number + 1}" for number in self._own.channels),
            rate_hz=rate_hz,
            volts_per_count=self._own.range_v / 32768,
            stream=self._numbering.stream,
            can_wait=False,
            oldest=0,
            next=0,
            anchor=anchor,
        )

    def start(self, sample: int) -> None:
        """The board has no samples but those that come; whatever is asked, they begin at 0."""

    def read(self, timeout_s: float) -> Event:
        deadline = self._clock() + timeout_s
        if not self._ready:
            self._ready.extend(self._events(self._next_pack(deadline)))
        return self._ready.popleft()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._bytes.clear()
        self._n_passed = 0
        self._parts.clear()
        self._ready.clear()

    # --- the connection ---------------------------------------------------------------------

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            address = urlsplit(self._resource)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            connection.settimeout(self._timeout_s)
            connection.connect((address.hostname or "", address.port or 0))
        except (OSError, ValueError) as error:  # the latter for a port beyond 65535
            connection.close()
            raise self._lost(error) from error
        return connection

    def _receive(self, deadline: float) -> None:
        """Add what has come, at least one byte; SilentError at the deadline."""
        if self._socket is None:
            raise NotConnectedError(f"the connection to {self._resource} is closed")
        try:
            self._socket.settimeout(max(deadline - self._clock(), 0.0))
            received = self._socket.recv_into(self._chunk)
        except (TimeoutError, BlockingIOError) as error:
            raise SilentError(f"{self._resource} sends nothing") from error
        except OSError as error:
            raise self._lost(error) from error
        if not received:
            raise NotConnectedError(f"{self._resource} closed the connection")
        self._bytes += self._chunk[:received]

    def _lost(self, error: Exception) -> NotConnectedError:
        reason = getattr(error, "strerror", None) or error
        return NotConnectedError(f"cannot reach {self._resource}: {reason}")

    # --- the packs --------------------------------------------------------------------------

    def _next_pack(self, deadline: float) -> list[_Packet]:
        """All channels of the next pack that comes whole, in the order of the settings."""
        while len(self._parts) < len(self._own.channels):
            packet = self._packet(deadline)
            if any(part.pack != packet.pack for part in self._parts.values()):
                self._parts.clear()  # the rest of that pack never came: its number will be missing
            if packet.channel in self._parts:
                raise self._nonsense(f"pack {packet.pack} once", f"channel {packet.channel} twice")
            self._parts[packet.channel] = packet
        parts = [self._parts[number] for number in self._own.channels]
        self._parts.clear()
        self._check_pack(parts)
        return parts

    def _events(self, parts: list[_Packet]) -> list[Event]:
        """What one pack is: what was lost before it, and its samples."""
        samples = np.stack([part.samples for part in parts])
        n_missing = 0 if self._pack is None else parts[0].pack - self._pack - 1
        n_lost = max(part.lost for part in parts) + n_missing * samples.shape[1]
        is_first, self._pack = self._pack is None, parts[0].pack
        if not n_lost or is_first:  # what was lost before the first one was not ours
            return self._numbering.take(samples, samples.shape[1])
        gap = self._numbering.skip(n_lost, exact=not n_missing)
        return [gap, *self._numbering.take(samples, samples.shape[1])]

    def _check_pack(self, parts: list[_Packet]) -> None:
        lengths = {part.samples.shape[0] for part in parts}
        if len(lengths) > 1:
            raise self._nonsense("channels of equal length", f"{sorted(lengths)} samples")
        if self._pack is not None and parts[0].pack <= self._pack:
            raise self._nonsense(f"a pack after {self._pack}", f"pack {parts[0].pack}")

    def _packet(self, deadline: float) -> _Packet:
        """The next packet; what is none is passed over.

        Nothing but its place guards a sample, so a packet counts when another begins where it ends.
        """
        while (packet := self._candidate(deadline)) is None:
            del self._bytes[: len(ID)]
            self._n_passed += len(ID)
        return packet

    def _candidate(self, deadline: float) -> _Packet | None:
        """What begins with the next ID; None where it does not end where another one begins."""
        while not self._is_synchronized():
            self._receive(deadline)
        while len(self._bytes) < HEADER.size:
            self._receive(deadline)
        _, size, pack, lost, size_of_all, base_hz, _, channel, bits, _ = HEADER.unpack_from(
            self._bytes
        )
        if not HEADER.size < size <= MAX_PACKET or lost > MAX_LOST:
            raise self._nonsense(f"packets up to {MAX_PACKET} bytes", f"{size} bytes, {lost} lost")
        header = self._header_length(size, size_of_all)
        self._check_channel(channel, bits)
        while len(self._bytes) < size + len(ID):
            self._receive(deadline)
        if not self._bytes.startswith(ID, size):
            return None
        samples = np.frombuffer(bytes(memoryview(self._bytes)[header:size]), "<i2")
        del self._bytes[:size]
        return _Packet(pack, channel, lost, base_hz, samples)

    def _is_synchronized(self) -> bool:
        """Whether the bytes begin with an ID; drops those that cannot belong to one."""
        at = self._bytes.find(ID)
        n_passed = at if at >= 0 else max(0, len(self._bytes) - len(ID) + 1)
        if n_passed and self._pack is not None:
            logger.warning("Passed over %d bytes of %s between packets.", n_passed, self._resource)
        del self._bytes[:n_passed]
        self._n_passed = 0 if at >= 0 else self._n_passed + n_passed
        if self._n_passed > MAX_PACKET:
            raise self._nonsense("packets", f"{self._n_passed} bytes without one")
        return at >= 0

    def _header_length(self, size: int, size_of_all: int) -> int:
        """What a packet of `size` bytes has before its samples."""
        n_channels = len(self._own.channels)
        header = size - size_of_all // n_channels
        if header not in HEADER_LENGTHS or not size_of_all or size_of_all % (2 * n_channels):
            raise self._nonsense(
                f"headers of {HEADER_LENGTHS} bytes and samples of {n_channels} channels",
                f"{size_of_all} bytes of samples in packets of {size}",
            )
        return header

    def _check_channel(self, channel: int, bits: int) -> None:
        if channel not in self._own.channels:
            raise self._nonsense(f"the channels {self._own.channels}", f"channel {channel}")
        if bits != 16:
            raise self._nonsense("samples of 16 bits", f"{bits} bits")

    def _rate_hz(self, base_hz: int) -> float:
        """The exact rate: the board's own clock divided by the whole number that fits best."""
        rate_hz = base_hz / max(1, round(base_hz / self._own.rate_hz))
        if abs(rate_hz - self._own.rate_hz) > RATE_TOLERANCE * self._own.rate_hz:
            raise self._nonsense(
                f"a clock that {self._own.rate_hz:g} Hz divides", f"one of {base_hz} Hz"
            )
        return rate_hz

    def _nonsense(self, expected: str, found: str) -> ReplyError:
        return ReplyError(f"expected {expected} from {self._resource}, found {found}")
