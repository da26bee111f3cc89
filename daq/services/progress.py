"""How far procedures have come, with their curves so far: told to run control, shown to eyes.

Who runs a procedure wraps its hands in a Teller, which never waits and costs the procedure nothing
where nobody listens. Run control keeps the latest of each detector and step for who comes late.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from daq.errors import UsageError
from daq.readout.procedures import Execute
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Averaged,
    Begin,
    End,
    Held,
    Picture,
    Put,
    Say,
    Several,
)
from daq.services.service import Result, Verb
from daq.settings.detectors import Detectors
from daq.settings.loader import Settings
from daq.wire import codec, sockets
from daq.wire.schemas import Curve, Progress, Request

EVERY_S = 0.2  # of one detector, while points come
SHOWN = 1000  # points of a curve
MEASURED = "measured"
MOST_STEPS = 32  # of a detector that are kept


@dataclass(frozen=True, slots=True)
class Axes:
    """What is drawn where a value is swept: title, labels, and what turns SI into their units."""

    step: str
    title: str
    x_label: str
    y_label: str
    x_scale: float
    y_scale: float


SWEPT = {
    "flux": Axes("v-phi", "V-phi", "current in the flux line [uA]", "output [mV]", 1e6, 1e3),
    "tes_bias": Axes("iv", "IV, as measured", "TES bias [uA]", "output [V]", 1e6, 1.0),
}
OTHER_CURVE = ("bias", "mode", "feedback")  # written: what is swept then is another curve


@dataclass(slots=True)
class _Lane:
    """What is known of one detector."""

    step: str = ""
    text: str = ""
    fraction: float = 0.0
    axes: Axes | None = None
    at_x: float | None = None  # what was written last, where it is swept
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    told_s: float = -math.inf
    open: bool = False  # a step that was told of and is not over

    def begin(self, step: str, axes: Axes | None = None) -> None:
        """Another step, or another curve of it."""
        self.step, self.axes, self.at_x = step, axes, None
        self.x.clear()
        self.y.clear()


class Teller:
    """Watches a procedure and tells `send` of it. For the procedure's thread."""

    def __init__(
        self,
        send: Callable[[Progress], None],
        now_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send, self._now_ns, self._clock = send, now_ns, clock
        self._lanes: dict[str, _Lane] = {}

    def watching(self, execute: Execute) -> Execute:
        """The hands, seen at work."""

        def watched(request: AnyRequest) -> AnyAnswer:
            answer = execute(request)
            self.saw(request, answer)
            return answer

        return watched

    def said(self, said: Say | Begin | End) -> None:
        """A step begins, goes on or ends."""
        lane = self._lanes.setdefault(said.at, _Lane())
        if isinstance(said, Begin):
            lane.begin(said.step)
            lane.text, lane.fraction = said.expected, 0.0
            self._tell(said.at, lane)
        elif isinstance(said, End):
            lane.open = False
            self._send(_ended(said, self._now_ns()))
        else:
            lane.text, lane.fraction = said.text, said.fraction
            self._tell_now_and_then(said.at, lane)

    def saw(self, request: AnyRequest, answer: AnyAnswer) -> None:
        """What was asked and answered: points of a curve, where something is swept."""
        if isinstance(request, All) and isinstance(answer, Several):
            for each, its in zip(request.requests, answer.answers, strict=True):
                self.saw(each, its)
            return
        at = getattr(request, "at", "")
        lane = self._lanes.setdefault(at, _Lane())
        if isinstance(request, Put) and isinstance(answer, Held):
            self._wrote(lane, request.name, answer)
        elif isinstance(answer, Averaged) and lane.at_x is not None and lane.axes is not None:
            lane.x.append(lane.at_x * lane.axes.x_scale)
            lane.y.append(answer.mean_v * lane.axes.y_scale)
            self._tell_now_and_then(at, lane)

    def close(self) -> None:
        """Nothing comes any more: what has not ended is over."""
        for at, lane in self._lanes.items():
            if lane.open:
                self._tell(at, lane, "over")

    def _wrote(self, lane: _Lane, name: str, held: Held) -> None:
        axes = SWEPT.get(name)
        if axes is not None and axes is not lane.axes:
            lane.begin(lane.step or axes.step, axes)
        elif name in OTHER_CURVE:
            lane.begin(lane.step, lane.axes)
        lane.at_x = held.number if axes is not None else None

    def _tell_now_and_then(self, at: str, lane: _Lane) -> None:
        if lane.step and self._clock() - lane.told_s >= EVERY_S:
            self._tell(at, lane)

    def _tell(self, at: str, lane: _Lane, state: Literal["runs", "over"] = "runs") -> None:
        lane.told_s, lane.open, axes = self._clock(), state == "runs", lane.axes
        told = Progress(
            at=at,
            step=lane.step,
            state=state,
            t_ns=self._now_ns(),
            text=lane.text,
            fraction=lane.fraction,
        )
        if axes is not None and lane.x:
            curve = Curve(MEASURED, lane.x[-SHOWN:], lane.y[-SHOWN:], points=True)
            told = msgspec.structs.replace(
                told,
                title=axes.title if lane.step == axes.step else lane.step,
                x_label=axes.x_label,
                y_label=axes.y_label,
                curves=[curve],
            )
        self._send(told)


def _ended(end: End, t_ns: int) -> Progress:
    """A step that is over, with the first of its pictures."""
    told = Progress(
        at=end.at,
        step=end.step,
        state="passed" if end.passed else "failed",
        t_ns=t_ns,
        text=end.found,
        fraction=1.0,
    )
    return _drawn(told, end.pictures[0]) if end.pictures else told


def _drawn(told: Progress, picture: Picture) -> Progress:
    curves = [
        Curve(name, x[:SHOWN], y[:SHOWN], points=name in picture.points)
        for name, (x, y) in picture.curves.items()
    ]
    return msgspec.structs.replace(
        told,
        title=picture.title,
        x_label=picture.x_label,
        y_label=picture.y_label,
        curves=curves,
    )


@contextmanager
def telling(settings: Settings) -> Iterator[Teller]:
    """A Teller that speaks to run control; what it cannot take is let go."""
    socket, ids = sockets.join_requests(settings.endpoint("run.commands")), itertools.count(1)

    def send(told: Progress) -> None:
        while sockets.readable(socket):
            sockets.receive(socket)  # answers: that it was taken
        arguments = {"row": msgspec.to_builtins(told)}
        sockets.offer(
            socket, codec.encode(Request(id=next(ids), verb="progress", arguments=arguments))
        )

    teller = Teller(send)
    try:
        yield teller
    finally:
        teller.close()
        socket.close(0)


# --- in run control -----------------------------------------------------------------------------


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "progress"."""

    row: Progress


class Relay:
    """Shows to eyes what run control is told. For run control's thread."""

    def __init__(self, settings: Settings) -> None:
        detectors = settings.sections.get("detectors")
        self._known = frozenset(detectors.root) if isinstance(detectors, Detectors) else frozenset()
        self._steps: set[tuple[str, str]] = set()
        self._publisher = sockets.LatestPublisher(settings.endpoint("run.progress"))
        self.socket = self._publisher.socket
        self.verbs = {"progress": Verb(Told, self._show)}

    def serve(self) -> None:
        """Answer new subscribers with the latest."""
        self._publisher.serve()

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close(0)

    def _show(self, told: Told) -> Result:
        row = told.row
        if row.at not in self._known:
            known = ", ".join(sorted(self._known)) or "none"
            raise UsageError(f"expected one of the detectors {known}, found {row.at!r}")
        self._steps.add((row.at, row.step))
        if len(self._steps) > MOST_STEPS * len(self._known):
            raise UsageError(f"expected no more than {MOST_STEPS} steps of {row.at}, found another")
        self._publisher.show(f"{row.at} {row.step}", row)
        return {}
