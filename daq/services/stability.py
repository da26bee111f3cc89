"""Sends heater pulses in a run: a control pulse in between those of a ladder.

A thread of run control, which must not wait for instruments. The generator repeats its pulse by
itself; it is told the next height now and then. What pulses are of which height is said to the core
by the times at which the generator was told: those in between are of an unknown one.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from daq.errors import RefusedError, ScheeliteError
from daq.services.authority import Notes
from daq.services.gains import UNKNOWN
from daq.services.neighbors import Neighbors
from daq.services.service import Result
from daq.settings.loader import Settings
from daq.settings.sections import Stability
from daq.wire import sockets

logger = logging.getLogger(__name__)

LOOK_S = 0.2
ASK_S = 10.0
RETRY_S = 10.0  # after a generator or a core that did not do it
SMALL_V = 0.01  # while it is set up, far below any pulse


def heights(ladder_v: Sequence[float], control_v: float) -> Iterator[tuple[float, bool]]:
    """Volts, and whether it is the control pulse: one before each rung of the ladder."""
    for rung in itertools.cycle(ladder_v):
        yield control_v, True
        yield rung, False


class HeaterPulses(threading.Thread):
    """Sets the generator up when a run begins, and switches it off when there is none."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(name="stability", daemon=True)
        self._settings, self._stop_asked = settings, stop
        self._clock, self._now_ns = clock, now_ns
        self._how = settings.section(Stability)
        self._run: int | None = None
        self._heights = heights(self._how.ladder_v, self._how.control_v)
        self._next_s = 0.0
        self.problem = ""  # of the last thing that was tried; a string, put in one piece

    def run(self) -> None:
        """Look and act until told to stop; then the generator is off."""
        if not self._how.generator:
            return
        self._neighbors = Neighbors({"core": self._settings.endpoint("core.state")})
        self._notes = Notes(self._settings.endpoint("core.commands"))
        try:
            while not self._stop_asked.wait(LOOK_S):
                self._neighbors.serve()
                self._look()
            if self._run is not None:
                self._tried(self._end)
        finally:
            self._neighbors.close()
            self._notes.close()

    def _look(self) -> None:
        core = self._neighbors.state("core")
        if core is None or self._clock() < self._next_s:
            return
        run = core.body.get("run") if core.state == "running" else None
        if run is None:
            if self._run is not None:
                self._tried(self._end)
        elif run != self._run:
            self._tried(lambda: self._begin(int(run)))
        else:
            self._tried(self._next)

    def _tried(self, act: Callable[[], None]) -> None:
        """What fails is told once, and tried again later."""
        try:
            act()
        except ScheeliteError as error:
            self._next_s = self._clock() + RETRY_S
            if str(error) != self.problem and not isinstance(error, RefusedError):
                self._notes.tell(f"heater pulses: {error}", "warning")
            self.problem = str(error)
        else:
            self.problem = ""

    def _begin(self, run: int) -> None:
        """Off and small first: nothing old may reach a sensor."""
        how, width_s = self._how, self._how.width_s
        steps: list[tuple[str, object]] = [
            ("on", False),
            ("load", how.load),
            ("low", 0.0),
            ("high", SMALL_V),
            ("function", "PULSE"),
            ("frequency", 1 / how.every_s),
            ("pulse_width", width_s),
        ]
        for parameter, value in steps:
            self._write(parameter, value)
        self._rung(UNKNOWN)
        first, control = next(self._heights)
        self._write("high", first)
        self._write("on", True)
        self._rung(first, control=control)
        self._run, self._next_s = run, self._clock() + how.pulses * how.every_s
        self._notes.tell(f"heater pulses every {how.every_s:g} s begin at {first:g} V")

    def _next(self) -> None:
        """Another height, where it is another."""
        self._next_s = self._clock() + self._how.pulses * self._how.every_s
        volts, control = next(self._heights)
        self._rung(UNKNOWN)
        self._write("high", volts)
        self._rung(volts, control=control)

    def _end(self) -> None:
        self._write("on", False)
        self._run = None

    def _rung(self, volts: float, *, control: bool = False) -> None:
        self._ask("core", "rung", t_ns=self._now_ns(), volts=volts, control=control)

    def _write(self, parameter: str, value: object) -> None:
        instrument, _, part = self._how.generator.partition(".")
        name = f"{part}.{parameter}"
        self._ask("instruments", "write", instrument=instrument, parameter=name, value=value)

    def _ask(self, service: str, verb: str, **arguments: object) -> Result:
        with sockets.calling(self._settings.endpoint(f"{service}.commands"), service) as caller:
            return caller.call(verb, ASK_S, **arguments)
