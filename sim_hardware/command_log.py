"""The command log: every change that the bench was told, and from which sample on it applies.

One JSON object per line: `t_s` of the bench's time, `samples` by digitizer, `source` (the channel
of an instrument, the cryostat, or a chain), `what` and its new `value`. With the seed and the
settings it says everything that samples depend on, and retold.py gives it to a bench once more. It
is written by whoever was told, before it is answered.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from math import ceil, inf
from pathlib import Path

from sim_hardware.settings import BenchError
from sim_hardware.truth import unused
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.drive import ROUNDING
from sim_hardware.world.timeline import Change

logger = logging.getLogger(__name__)


class CommandLog:
    """Appends changes; a bench goes on where the disk does not."""

    def __init__(self, folder: Path, start_ns: int, clocks: Mapping[str, SampleClock]) -> None:
        """BenchError where the file cannot be made. An existing file is left alone."""
        self._clocks = clocks
        self._lock = threading.Lock()  # guards the file: more than one thread has instruments
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path = unused(folder, "commands", start_ns, "jsonl")
            self._file = self.path.open("x", encoding="utf-8")
        except OSError as error:
            raise BenchError(f"{folder}: no command log can be made: {error.strerror}") from error

    def append(self, change: Change) -> None:
        """Write a line, and flush."""
        samples = {
            name: max(0, ceil(clock.position(change.t_s) - ROUNDING))
            for name, clock in self._clocks.items()
        }
        line = {
            "t_s": change.t_s,
            "samples": samples,
            "source": change.source,
            "what": change.what,
            "value": "inf" if change.value == inf else change.value,  # JSON has no such number
        }
        with self._lock:
            try:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            except OSError as error:
                logger.error("%s: cannot be written: %s", self.path, error.strerror)

    def close(self) -> None:
        """Write no more."""
        with self._lock:
            self._file.close()
