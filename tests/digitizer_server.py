"""A digitizer made of arithmetic: a TCP server for tests, by docs/wire/digitizer-stream.md."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import zlib

import numpy as np

T0_NS = 1_789_000_000_000_000_000


def values(start: int, stop: int, n_channels: int) -> np.ndarray:
    """The samples that every test expects: int16, [channel, sample]."""
    numbers = np.arange(start, stop, dtype=np.int64)
    return np.stack([(numbers * 7 + 1000 * c).astype("<i2") for c in range(n_channels)])


def packet(kind, number, start, value=0, samples=None):
    """One packet, by the table of the document."""
    payload = b"" if samples is None else samples.tobytes()
    shape = (0, 0) if samples is None else samples.shape
    head = struct.pack(
        "<4sBBHIIQqI", b"SCHD", 1, kind, *shape, len(payload), start, value, zlib.crc32(payload)
    )
    return head + struct.pack("<IQ", zlib.crc32(head), number) + payload


class DigitizerServer:
    """Has samples [oldest, next), and sends them as the document says; tests move both ends."""

    def __init__(self, *, name="targets", n_channels=2, rate_hz=1000.0, can_wait=False):
        self.name, self.n_channels, self.rate_hz, self.can_wait = (
            name,
            n_channels,
            rate_hz,
            can_wait,
        )
        self.stream, self.oldest, self.next = "stream-1", 0, 0
        self.ended = False
        self.packet_length = 10
        self.starts = []  # what clients asked to start at
        self._moved = threading.Condition()
        self._closing = False
        self._clients = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def hello(self):
        """The first line, as a table to be changed by tests."""
        return {
            "protocol": "scheelite-digitizer",
            "version": 1,
            "name": self.name,
            "channels": [f"C{i}" for i in range(self.n_channels)],
            "rate_hz": self.rate_hz,
            "volts_per_count": 3e-4,
            "stream": self.stream,
            "can_wait": self.can_wait,
            "oldest": self.oldest,
            "next": self.next,
            "anchor": self.anchor_at(int(self.oldest // self.rate_hz * self.rate_hz)),
        }

    def anchor_at(self, sample):
        return [sample, T0_NS + round(sample / self.rate_hz * 1e9)]

    def produce(self, n_samples):
        """Convert some samples."""
        with self._moved:
            self.next += n_samples
            self._moved.notify_all()

    def forget_before(self, oldest):
        """The memory no longer holds what lies before."""
        with self._moved:
            self.oldest = oldest

    def restart(self, stream):
        """Off and on again: numbers begin anew."""
        with self._moved:
            self.stream, self.oldest, self.next = stream, 0, 0
        self.drop()

    def end(self):
        """Nothing will come any more."""
        with self._moved:
            self.ended = True
            self._moved.notify_all()

    def drop(self):
        """Close all connections."""
        clients, self._clients = self._clients, []
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        with self._moved:
            self._moved.notify_all()

    def close(self):
        self._closing = True
        with contextlib.suppress(OSError):  # closed already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        self.drop()
        for thread in self._threads[1:]:
            thread.join(5)

    def _accept(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self._clients.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            client.sendall(json.dumps(self.hello()).encode() + b"\n")
            line = client.makefile("rb").readline()
            if line.startswith(b"START "):
                self.starts.append(int(line.split()[1]))
                self._send(client, self.starts[-1])

    def _send(self, client, at):
        stream, number, at = self.stream, 0, max(at, self.oldest)
        while (stop := self._until(client, stream, at)) is not None:
            if stop == at and self.ended:
                client.sendall(packet(4, number, at))
                return
            for kind, start, value, samples in self._packets(at, stop):
                client.sendall(packet(kind, number, start, value, samples))
                number += 1
            at = stop

    def _until(self, client, stream, at):
        """Where the next packet ends, once there is something to say; None when it is over."""
        with self._moved:
            self._moved.wait_for(
                lambda: self.next > at or self.ended or not self._serves(client, stream), 5
            )
            return min(self.next, at + self.packet_length) if self._serves(client, stream) else None

    def _serves(self, client, stream):
        return client in self._clients and stream == self.stream and not self._closing

    def _packets(self, start, stop):
        rate = int(self.rate_hz)
        for sample in range(-(-start // rate) * rate, stop, rate):
            yield 2, *self.anchor_at(sample), None
        if stop > start:
            yield 1, start, 0, values(start, stop, self.n_channels)
