"""A Red Pitaya's streaming server for tests: the bytes of protocols.md D3, sent when told to."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading

from tests.digitizer_server import values

ID = b"\xff\xff\xff\xff\xa0\xa0\xa0\xa0" * 2
BASE_HZ = 125_000_000


def packet(pack, channel, samples, *, n_channels=2, lost=0, header=56, base_hz=BASE_HZ, bits=16):
    """One channel of one pack; `header` is as long as it was in some version."""
    payload = samples.astype("<i2").tobytes()
    head = ID + struct.pack(
        "<QQQQIBBBB",
        header + len(payload), pack, lost, n_channels * len(payload), base_hz, 14, channel, bits, 0,
    )  # fmt: skip
    return head + b"\0" * (header - len(head)) + payload


def pack(number, start, stop, *, lost=0, header=56):
    """Two channels of samples [start, stop), one after the other."""
    return b"".join(
        packet(number, channel, row, lost=lost, header=header)
        for channel, row in enumerate(values(start, stop, 2))
    )


class RedpitayaServer:
    """Sends what it is given to whoever is connected; one client after the other."""

    def __init__(self):
        self._bytes = queue.SimpleQueue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, *pieces):
        for piece in pieces:
            self._bytes.put(piece)

    def drop(self):
        """Close the connection; the next one is served what is sent from then on."""
        self._bytes.put(None)

    def close(self):
        self.drop()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._bytes.put(None)
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _serve(self):
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                while (piece := self._bytes.get()) is not None:
                    client.sendall(piece)
