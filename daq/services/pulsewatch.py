"""The last record of each channel, as a page draws it: a thread of its own that only listens."""

from __future__ import annotations

import threading

import numpy as np

from daq.errors import WireError
from daq.wire import codec, sockets
from daq.wire.schemas import Pulses

POLL_MS = 200
POINTS = 120  # of a drawing: pairs of lowest and highest


class PulseWatch:
    """Listens to the core's pulses; `latest` may be read by any thread."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint, self._over = endpoint, threading.Event()
        self.latest: dict[str, dict[str, object]] = {}
        self._thread = threading.Thread(target=self._listen, name="pulse-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        socket = sockets.subscribe(self._endpoint, hwm=20)
        try:
            while not self._over.is_set():
                if socket.poll(POLL_MS):
                    self._take(sockets.receive(socket))
        finally:
            socket.close(0)

    def _take(self, frames: list[bytes]) -> None:
        try:
            _, header, _, samples = frames
            told = codec.decode(header, Pulses)
        except (ValueError, WireError):
            return  # a viewer leaves what it cannot read
        drawn = drawing(told, samples)
        if drawn is not None:
            self.latest = {**self.latest, told.channel: drawn}


def drawing(told: Pulses, samples: bytes) -> dict[str, object] | None:
    """The newest record: volts above its first samples, lowest and highest of each stretch."""
    all_samples = np.frombuffer(samples, "<i2")
    if len(all_samples) != told.n_records * told.record_length or not told.n_records:
        return None
    volts = all_samples[-told.record_length :] * told.volts_per_count
    volts = volts - np.median(volts[: max(told.pretrigger, 1)])
    stretches = np.array_split(volts, min(POINTS, len(volts)))
    low, high = [float(s.min()) for s in stretches], [float(s.max()) for s in stretches]
    return {"low": low, "high": high, "seconds": told.record_length / told.rate_hz}
