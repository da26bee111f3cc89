"""A digitizer that speaks our own stream over TCP (docs/wire/digitizer-stream.md, version 1)."""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
import numpy as np
from msgspec import Meta
from pydantic import Field

from daq.errors import NotConnectedError, ReplyError, SilentError, WrongInstrumentError
from daq.model.block import Gap
from daq.model.block import Samples as SampleArray
from daq.model.clock import Anchor
from drivers.digitizer.digitizer import Digitizer, End, Event, Facts, Samples
from drivers.digitizer.settings import Address, DigitizerSettings

MAX_HELLO, MAX_PAYLOAD = 1 << 20, 8 << 20  # bytes
RECEIVE_BUFFER = 4 << 20  # bytes the kernel holds while we do something else
HEADER = struct.Struct("<4sBBHIIQqIIQ")
MAX_SAMPLE = 1 << 62
CHECKED = 36  # bytes of the header that its own CRC covers
MAGIC, VERSION = b"SCHD", 1
SAMPLES, ANCHOR, GAP, END = 1, 2, 3, 4

Count = Annotated[int, Meta(ge=0, le=MAX_SAMPLE)]
Positive = Annotated[float, Meta(gt=0, le=1e12)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class StreamSettings(DigitizerSettings):
    """One digitizer that speaks our own stream."""

    resource: Address = Field(description="tcp://HOST:PORT of it.")


class Hello(msgspec.Struct, frozen=True):
    """The first line from a digitizer."""

    protocol: Literal["scheelite-digitizer"]
    version: Literal[1]
    name: Name
    channels: Annotated[list[Name], Meta(min_length=1, max_length=1024)]
    rate_hz: Positive
    volts_per_count: Positive
    stream: Name
    can_wait: bool
    oldest: Count
    next: Count
    anchor: tuple[Count, Count]
    ahead_s: Positive | None = None


class _Sorry(msgspec.Struct, frozen=True):
    error: Annotated[str, Meta(max_length=200)]


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a packet, known to be intact."""

    kind: int
    n_channels: int
    n_samples: int
    n_bytes: int
    start: int
    value: int
    crc: int
    number: int


class StreamDigitizer(Digitizer):
    """The client of one such digitizer; what it delivers was checked, byte by byte.

    A packet that is incomplete at the end of `read` is continued by the next one.
    """

    settings = StreamSettings

    def __init__(
        self,
        name: str,
        resource: str,
        *,
        timeout_s: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._resource = name, resource
        self._timeout_s, self._clock = timeout_s, clock
        self._socket: socket.socket | None = None
        self._n_channels = 0
        self._expected: int | None = None  # number of the next sample; None where any may come
        self._packets = 0
        self._ready: deque[Event] = deque()
        self._head = memoryview(bytearray(HEADER.size))
        self._header: Header | None = None  # of the packet whose payload is being received
        self._payload: SampleArray | None = None
        self._filled = 0  # bytes that are there of the header or of the payload

    def connect(self) -> Facts:
        self.close()
        self._ready.clear()
        self._header, self._payload, self._filled = None, None, 0
        self._socket = self._connected()
        hello = self._hello(self._line())
        self._n_channels = len(hello.channels)
        return Facts(
            name=hello.name,
            channels=tuple(hello.channels),
            rate_hz=hello.rate_hz,
            volts_per_count=hello.volts_per_count,
            stream=hello.stream,
            can_wait=hello.can_wait,
            oldest=hello.oldest,
            next=hello.next,
            anchor=Anchor(*hello.anchor),
            ahead_s=hello.ahead_s,
        )

    def start(self, sample: int) -> None:
        self._expected, self._packets = (None if sample < 0 else sample), 0
        try:
            self._open_socket().sendall(b"START %d\n" % sample)
        except OSError as error:
            raise self._lost(error) from error

    def read(self, timeout_s: float) -> Event:
        deadline = self._clock() + timeout_s
        while not self._ready:
            if self._header is None:
                self._fill(self._head, deadline)
                self._header = checked_header(self._head, self._packets, self._resource)
                check_content(self._header, self._n_channels, self._resource)
                self._packets, self._filled = self._packets + 1, 0
            self._take_payload(self._header, deadline)
        return self._ready.popleft()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

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

    def _line(self) -> bytes:
        """The first line; nothing may follow it before we have answered."""
        line, deadline = bytearray(), self._clock() + self._timeout_s
        buffer = memoryview(bytearray(4096))
        while not line.endswith(b"\n"):
            line += buffer[: self._received(buffer, deadline)]
            if len(line) > MAX_HELLO:
                raise ReplyError(f"{self._resource} sent {len(line)} bytes that are no hello")
        return bytes(line)

    def _hello(self, line: bytes) -> Hello:
        hello = decoded_hello(line, self._resource)
        if hello.name != self._name:
            raise WrongInstrumentError(
                f"expected digitizer {self._name!r} at {self._resource}, found {hello.name!r}"
            )
        return hello

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise NotConnectedError(f"the connection to {self._resource} is closed")
        return self._socket

    def _fill(self, target: memoryview, deadline: float) -> None:
        """Receive until `target` is full, going on at `_filled`; SilentError at the deadline."""
        while self._filled < len(target):
            self._filled += self._received(target[self._filled :], deadline)

    def _received(self, target: memoryview, deadline: float) -> int:
        """How many bytes were received into `target`, at least one."""
        connection, remaining_s = self._open_socket(), deadline - self._clock()
        try:
            connection.settimeout(max(remaining_s, 0.0))
            received = connection.recv_into(target)
        except (TimeoutError, BlockingIOError) as error:
            raise SilentError(f"{self._resource} sends nothing") from error
        except OSError as error:
            raise self._lost(error) from error
        if not received:
            raise NotConnectedError(f"{self._resource} closed the connection")
        return received

    def _lost(self, error: Exception) -> NotConnectedError:
        reason = getattr(error, "strerror", None) or error
        return NotConnectedError(f"cannot reach {self._resource}: {reason}")

    # --- the packets ------------------------------------------------------------------------

    def _take_payload(self, header: Header, deadline: float) -> None:
        """Receive what belongs to `header`, and have the events of the packet ready."""
        if header.kind == SAMPLES:
            samples = self._received_samples(header, deadline)
            self._come_to(header.start)
            self._ready.append(Samples(header.start, samples))
            self._expected = header.start + header.n_samples
        else:
            self._take_mark(header)
        self._header, self._payload, self._filled = None, None, 0

    def _received_samples(self, header: Header, deadline: float) -> SampleArray:
        if self._payload is None:
            self._payload = np.empty((header.n_channels, header.n_samples), "<i2")
        samples = self._payload
        payload = samples.data.cast("B")
        self._fill(payload, deadline)
        if zlib.crc32(payload) != header.crc:
            raise _nonsense(
                self._resource, "intact samples", f"a wrong CRC in packet {header.number}"
            )
        samples.flags.writeable = False
        return samples

    def _take_mark(self, header: Header) -> None:
        if header.kind == ANCHOR:
            self._ready.append(Anchor(header.start, header.value))
            return
        self._come_to(header.start)
        if header.kind == GAP:
            self._ready.append(Gap(header.start, header.value))
            self._expected = header.value
        else:
            self._ready.append(End(header.start))

    def _come_to(self, start: int) -> None:
        """What is missing before `start` is a gap, exact by the digitizer's own counting."""
        if self._expected is None or start == self._expected:
            return
        if start < self._expected:
            raise _nonsense(self._resource, f"sample {self._expected} or later", f"sample {start}")
        self._ready.append(Gap(self._expected, start))


def decoded_hello(line: bytes, where: str) -> Hello:
    """The hello in the first line; ReplyError, or NotConnectedError where it says "sorry"."""
    try:
        return msgspec.json.decode(line, type=Hello)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_hello(line, where, error) from error


def checked_header(head: memoryview | bytes, number: int, where: str) -> Header:
    """The header of packet `number`; ReplyError where it is damaged or another's."""
    magic, version, kind, n_channels, n_samples, n_bytes, start, value, crc, own, found = (
        HEADER.unpack(head)
    )
    if magic != MAGIC or version != VERSION:
        raise _nonsense(where, f"{MAGIC!r} version {VERSION}", f"{magic!r} version {version}")
    if own != zlib.crc32(head[:CHECKED]):
        raise _nonsense(where, "an intact header", "a wrong CRC")
    if found != number:
        raise _nonsense(where, f"packet {number}", f"packet {found}")
    if max(start, value) > MAX_SAMPLE:
        raise _nonsense(where, f"numbers up to {MAX_SAMPLE}", f"{max(start, value)}")
    return Header(kind, n_channels, n_samples, n_bytes, start, value, crc, number)


def check_content(header: Header, n_channels: int, where: str) -> None:
    """ReplyError where a packet cannot be one of a stream with so many channels."""
    if header.kind == SAMPLES:
        _check_shape(header, n_channels, where)
    elif header.n_bytes:
        raise _nonsense(where, "no payload", f"{header.n_bytes} bytes in kind {header.kind}")
    elif not (
        (header.kind == ANCHOR and header.value >= 0)
        or (header.kind == GAP and header.value > header.start)
        or header.kind == END
    ):
        raise _nonsense(
            where,
            "an anchor, a gap or the end",
            f"kind {header.kind} from {header.start} to {header.value}",
        )


def _check_shape(header: Header, n_channels: int, where: str) -> None:
    shape = (header.n_channels, header.n_samples, header.n_bytes)
    expected = (n_channels, header.n_samples, 2 * n_channels * header.n_samples)
    if shape != expected or not 0 < header.n_bytes <= MAX_PAYLOAD:
        raise _nonsense(
            where,
            f"samples of {n_channels} channels, at most {MAX_PAYLOAD} bytes",
            f"{shape[0]} channels, {shape[1]} samples, {shape[2]} bytes",
        )


def _no_hello(line: bytes, where: str, error: Exception) -> NotConnectedError | ReplyError:
    try:
        sorry = msgspec.json.decode(line, type=_Sorry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ReplyError(f"expected the hello of a digitizer at {where}: {error}")
    return NotConnectedError(f"{where} does not serve us: {sorry.error}")


def _nonsense(where: str, expected: str, found: str) -> ReplyError:
    return ReplyError(f"expected {expected} from {where}, found {found}")
