"""The lines to instruments: text out and text in, over TCP or serial; PyVISA lives here alone.

What pyvisa-py 0.8.1 does was measured, and is why this is more than `open_resource` and `query`:
a read without terminator waits for its whole timeout; a late reply answers the next question for
ever after; a closed connection spins a core until the timeout; a refused one opens without a
word; write and query in turn take 44 ms for want of TCP_NODELAY; and errors come as VisaIOError,
OSError, termios.error or a bare Exception. So this module waits on the descriptor itself and
lets PyVISA read only what has arrived; and after any failure the line is closed.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import pyvisa
from pyvisa.constants import Parity, StatusCode
from pyvisa.resources import MessageBasedResource

from daq.errors import InstrumentError, NoReplyError, NotConnectedError, ReplyError, UsageError

MAX_REPLY = 65536  # bytes; more without a terminator is no reply
_TCP = re.compile(r"\ATCPIP[0-9]*::(?P<host>[^:\s]+)::(?P<port>[0-9]{1,5})::SOCKET\Z")
_SERIAL = re.compile(r"\AASRL(?P<port>\S+)::INSTR\Z")
_making_manager = threading.Lock()  # guards that there is one resource manager in the process


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialPort:
    """How the bits are sent, where the line is a serial one."""

    baud: int
    data_bits: int
    parity: Literal["none", "even", "odd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one kind of instrument is spoken to.

    `quiet_s` is the shortest time from one message or reply to the next message. `drain_s` is how
    long a serial line is listened to and emptied after opening: there a late reply survives the
    closing.
    """

    send_end: str
    reply_end: str
    quiet_s: float = 0.0
    timeout_s: float = 1.0
    drain_s: float = 0.1
    serial: SerialPort


def check_resource(resource: str) -> str:
    """`resource`, where it is of a kind that is supported; UsageError otherwise."""
    if not _TCP.match(resource) and not _SERIAL.match(resource):
        raise UsageError(
            "expected a resource like TCPIP::192.168.0.12::7777::SOCKET, ASRL/dev/ttyUSB0::INSTR "
            f"or ASRLsocket://HOST:PORT::INSTR, found {resource!r}"
        )
    return resource


def tcp_address(resource: str) -> tuple[str, int]:
    """Host and port of a TCP resource; UsageError where it is none."""
    tcp = _TCP.match(resource)
    if tcp is None:
        raise UsageError(
            f"expected a resource like TCPIP::192.168.0.12::5611::SOCKET, found {resource!r}"
        )
    return tcp["host"], int(tcp["port"])


class Link:
    """The line to one instrument: opened on demand, closed by any failure.

    `lock` guards the line: one exchange, or one write with its readback, at a time.
    """

    def __init__(
        self,
        resource: str,
        line: Line,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.resource = self._checked(resource)
        self.lock = threading.RLock()
        self._line, self._clock, self._sleep = line, clock, sleep
        self._visa: MessageBasedResource | None = None
        self._quiet_until = clock()

    @property
    def is_open(self) -> bool:
        """Whether the line is open, as far as we know."""
        return self._visa is not None

    def open(self) -> None:
        """Open the line anew; NotConnectedError where that fails."""
        with self.lock:
            self.close()
            try:
                self._visa = self._opened()
                self._drain()
            except Exception as error:  # whatever PyVISA raises, it means only one thing here
                self.close()
                raise NotConnectedError(f"cannot reach {self.resource}: {_why(error)}") from error

    def is_in_step(self) -> bool:
        """Whether the line is open and empty, so that the next reply answers the next question."""
        if self._visa is None:
            return False
        try:
            return not _readable(self._visa, 0.0)
        except (OSError, ValueError):
            return False

    def ask(self, text: str) -> str:
        """The reply to a message, without terminators; any failure closes the line."""
        with self.lock, self._named(text) as visa:
            self._write(visa, text)
            reply = self._read(visa, text)
            self._quiet_until = self._clock() + self._line.quiet_s
            return reply

    def tell(self, text: str) -> None:
        """Send a message that has no reply; any failure closes the line."""
        with self.lock, self._named(text) as visa:
            self._write(visa, text)

    def close(self) -> None:
        """Give everything back; an open line is opened again by `open` alone."""
        with self.lock:
            visa, self._visa = self._visa, None
            if visa is not None:
                _give_back(visa)

    def _checked(self, resource: str) -> str:
        return check_resource(resource)

    def _opened(self) -> MessageBasedResource:
        return _opened(self.resource, self._line)

    def _write(self, visa: MessageBasedResource, text: str) -> None:
        wait_s = self._quiet_until - self._clock()
        if wait_s > 0:
            self._sleep(wait_s)
        visa.write_raw((text + self._line.send_end).encode("ascii"))
        self._quiet_until = self._clock() + self._line.quiet_s

    def _read(self, visa: MessageBasedResource, text: str) -> str:
        """Everything up to the terminator, by a deadline that dripping bytes do not move."""
        deadline = self._clock() + self._line.timeout_s
        reply, end = bytearray(), self._line.reply_end.encode("ascii")
        while not reply.endswith(end):
            if len(reply) > MAX_REPLY:
                raise ReplyError(f"{self._who(text)} sent {len(reply)} bytes without an end")
            remaining_s = deadline - self._clock()
            if remaining_s <= 0 or not _readable(visa, remaining_s):
                raise NoReplyError(self._silence(text, bytes(reply)))
            reply += visa.read_bytes(_arrived(visa))
        return self._decoded(text, bytes(reply).removesuffix(end))

    def _decoded(self, text: str, reply: bytes) -> str:
        end = self._line.reply_end.encode("ascii")
        if end in reply or not reply.isascii():
            raise ReplyError(
                f"expected one line of ASCII from {self._who(text)}, found {reply!r}{self._hint()}"
            )
        return reply.decode("ascii")

    def _drain(self) -> None:
        if self._visa is not None and _SERIAL.match(self.resource):
            self._sleep(self._line.drain_s)
            while _readable(self._visa, 0.0):
                self._visa.read_bytes(_arrived(self._visa))

    @contextmanager
    def _named(self, text: str) -> Iterator[MessageBasedResource]:
        """Whatever fails in here closes the line and leaves under one of our names."""
        if self._visa is None:
            raise NotConnectedError(f"the line to {self.resource} is closed")
        try:
            yield self._visa
        except InstrumentError:
            self.close()
            raise
        except Exception as error:  # PyVISA and pyvisa-py raise nearly anything, even Exception
            self.close()
            raise NotConnectedError(f"lost {self._who(text)}: {_why(error)}") from error

    def _who(self, text: str) -> str:
        return f"{self.resource} at {text!r}"

    def _silence(self, text: str, partial: bytes) -> str:
        end = f" that ends in {self._line.reply_end!r}" if partial else ""
        found = f"only {partial!r}" if partial else "nothing"
        return (
            f"expected a reply{end} within {self._line.timeout_s:g} s, found {found}: "
            f"{self._who(text)}{self._hint()}"
        )

    def _hint(self) -> str:
        """On a serial line, what it was set to: the usual reason for silence and for noise."""
        port = self._line.serial
        if port is None or not _SERIAL.match(self.resource):
            return ""
        return (
            f" (the line is set to {port.baud} baud, {port.data_bits} bits, parity {port.parity})"
        )


class LibraryLink(Link):
    """A line through another VISA library than pyvisa-py: one that also opens GPIB, or a simulator.

    `library` is PyVISA's name for it, such as "@sim" or the path of a vendor's. It waits by itself,
    so here its timeout ends a reply that does not come, and there is no telling whether a late
    reply is on the line: any failure closes it. Confirmed with pyvisa-sim alone, which knows
    neither a refused connection nor a late reply; not with a vendor's library.
    """

    def __init__(self, library: str, resource: str, line: Line) -> None:
        self._library = library
        super().__init__(resource, line)

    def is_in_step(self) -> bool:
        """Whether the line is open; the library does not say more."""
        return self._visa is not None

    def _checked(self, resource: str) -> str:
        return resource  # the library knows what it opens

    def _opened(self) -> MessageBasedResource:
        with _making_manager:
            manager = pyvisa.ResourceManager(self._library)
        visa = manager.open_resource(self.resource)
        if not isinstance(visa, MessageBasedResource):
            visa.close()
            raise ConnectionError("nothing that takes messages is there")
        visa.timeout = int(self._line.timeout_s * 1000)
        visa.read_termination = self._line.reply_end
        return visa

    def _read(self, visa: MessageBasedResource, text: str) -> str:
        try:
            reply = visa.read_raw()
        except pyvisa.VisaIOError as error:
            if error.error_code == StatusCode.error_timeout:
                raise NoReplyError(self._silence(text, b"")) from error
            raise
        return self._decoded(text, reply.removesuffix(self._line.reply_end.encode("ascii")))

    def _drain(self) -> None:
        """Nothing: the library empties what it opens."""


def _opened(resource: str, line: Line) -> MessageBasedResource:
    tcp = _TCP.match(resource)
    if tcp:  # here, because pyvisa-py leaks a socket for a name that does not resolve
        socket.getaddrinfo(tcp["host"], int(tcp["port"]), socket.AF_INET)
    with _making_manager:
        manager = pyvisa.ResourceManager("@py")
    visa = manager.open_resource(resource, open_timeout=int(line.timeout_s * 1000))
    assert isinstance(visa, MessageBasedResource)
    try:
        visa.timeout = int(line.timeout_s * 1000)
        visa.read_termination = None  # the terminators are ours, in Line
        _configure(visa, line.serial, is_tcp=tcp is not None)
    except BaseException:
        _give_back(visa)
        raise
    return visa


def _configure(visa: MessageBasedResource, serial: SerialPort, *, is_tcp: bool) -> None:
    if is_tcp:
        raw = _interface(visa)
        code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:  # pyvisa-py does not look
            raise OSError(code, "the connection was refused or failed")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        for name, value in (
            ("baud_rate", serial.baud),
            ("data_bits", serial.data_bits),
            ("parity", Parity[serial.parity]),
        ):
            setattr(visa, name, value)


def _interface(visa: MessageBasedResource) -> Any:
    """The socket or serial port below; Any, because pyvisa-py has no public way to it."""
    return visa.visalib.sessions[visa.session].interface  # type: ignore[attr-defined]


def _readable(visa: MessageBasedResource, wait_s: float) -> bool:
    """Whether something can be read within `wait_s`: bytes, or the news that the peer closed."""
    return bool(select.select([_interface(visa)], [], [], wait_s)[0])


def _arrived(visa: MessageBasedResource) -> int:
    """How many bytes PyVISA can read without waiting; OSError where the peer closed instead."""
    raw = _interface(visa)
    if not isinstance(raw, socket.socket):
        return max(1, int(raw.in_waiting))  # pyserial itself notices a closed port
    arrived = raw.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    if not arrived:
        raise ConnectionResetError("the instrument closed the connection")
    return len(arrived)


def _give_back(visa: MessageBasedResource) -> None:
    with suppress(Exception):  # it is given up either way, and closing must not fail
        below = getattr(_interface(visa), "_socket", None)
        if below is not None:  # pyserial forgets to close it where the peer has closed first
            below.close()
    with suppress(Exception):
        visa.close()


def _why(error: Exception) -> str:
    """A failure in a few words, without the name of a foreign exception."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
