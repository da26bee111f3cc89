"""Answers a procedure's requests by the real services: instruments, digitizers, the core's raw.

Samples are only taken after everything that was written before: a digitizer's service says which
sample is its newest, and `LATENCY_S` is what may lie between it and the SQUID.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from daq.errors import ScheeliteError, UsageError
from daq.model.operator import Operator
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Average,
    Averaged,
    Begin,
    Do,
    Done,
    End,
    Failed,
    Generate,
    Get,
    Held,
    Meet,
    Offers,
    Put,
    Say,
    Settled,
    Several,
    Silence,
    Simple,
    SimpleAnswer,
    StoppedError,
    Take,
    Taken,
    Volts,
    Wait,
    WaitStable,
    failed,
)
from daq.services.detectorwires import Command, DetectorWires
from daq.services.dwell import Dwell
from daq.services.streamclock import StreamClock
from daq.settings.detectors import Plug
from daq.settings.loader import Settings
from daq.settings.sections import Channels
from daq.wire import sockets
from daq.wire.schemas import RawReply, RawRequest

logger = logging.getLogger(__name__)

LATENCY_S = 0.05  # of the stream, from a SQUID to the digitizer's service: a packet, and more
ANSWER_S = 30.0  # an instrument may be busy with what others asked
SAMPLES_S = 300.0  # a stream that is behind catches up, or it is lost by name
SLOWEST = 20.0  # times later than they should be samples may come
LOOK_S = 0.5  # between two looks at what has to become stable
N_LOOKS, LOOKS_S = 100, 0.005  # at a stream's newest sample, before the first that counts
WORKERS = 16
TENTHS, LEAST_OF_TENTH = 10, 4  # of samples that are averaged
SHAPES = {"sine": "SINE", "square": "SQUARE", "pulse": "PULSE"}
SMALLEST_VPP, SHORTEST_S = 0.002, 16e-9  # what an output is set to before it becomes another wave


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Samples that a request needs, by their numbers."""

    at: str
    start: int
    n: int
    now: int


class Executor:
    """The hands of procedures. `watch` is told what they say; `stop` makes them stop, once.

    `speed` is that of a simulated bench: its seconds per second of ours.
    """

    def __init__(
        self,
        settings: Settings,
        wires: DetectorWires,
        operator: Operator,
        *,
        watch: Callable[[Say | Begin | End], None] = lambda _: None,
        stop: threading.Event | None = None,
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._wires, self._operator = settings, wires, operator
        self._watch, self._stop = watch, stop or threading.Event()
        self._speed, self._clock = speed, clock
        self._channels = settings.section(Channels).root
        self._callers: dict[str, sockets.Caller] = {}
        self._streams: dict[str, StreamClock] = {}
        self._users: dict[Plug, set[str]] = defaultdict(set)
        self._waves: dict[Plug, Generate] = {}
        self._pool = ThreadPoolExecutor(WORKERS)

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
        for caller in self._callers.values():
            caller.close()

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        """The answer; StoppedError once after a stop, so that what follows can put things back."""
        self._heed()
        if isinstance(request, All):
            return Several(tuple(self._several(request.requests)))
        (answer,) = self._several((request,))
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    # --- several

    def _several(self, requests: Sequence[Simple]) -> list[SimpleAnswer]:
        """Instruments side by side; samples and time after that, as what was written counts."""
        answers: dict[int, SimpleAnswer] = {}
        lines: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            if (line := self._line(request)) is not None:
                lines[line].append(index)
        jobs = [self._pool.submit(self._in_turn, requests, line) for line in lines.values()]
        for job in jobs:
            answers.update(job.result())
        answers.update(self._in_time(requests, set(answers)))
        return [answers[index] for index in range(len(requests))]

    def _line(self, request: Simple) -> str | None:
        """The instrument that a request goes to; requests to one are done in their order."""
        if isinstance(request, Put | Get | Do):
            detector = self._wires.detectors.get(request.at)
            return request.at if detector is None else detector.squid.instrument
        if isinstance(request, Generate | Silence):
            return "generators"  # their outputs are shared, and so is what we know of them
        return None

    def _in_turn(self, requests: Sequence[Simple], line: Iterable[int]) -> dict[int, SimpleAnswer]:
        return {index: _tried(partial(self._instrument, requests[index])) for index in line}

    def _in_time(self, requests: Sequence[Simple], done: set[int]) -> dict[int, SimpleAnswer]:
        answers: dict[int, SimpleAnswer] = {}
        sampled: dict[int, Average | Take | Wait] = {}
        for index, request in enumerate(requests):
            if index in done:
                continue
            if isinstance(request, Average | Take | Wait):
                sampled[index] = request
            else:
                answers[index] = _tried(partial(self._other, request))
        answers.update(self._samples(sampled))
        return answers

    def _other(self, request: Simple) -> SimpleAnswer:
        if isinstance(request, Offers):
            return self._wires.offered(self._detector(request.at))
        if isinstance(request, WaitStable):
            return self._wait_stable(request)
        if isinstance(request, Say | Begin | End):
            self._watch(request)
        else:
            assert isinstance(request, Meet)  # alone there is nobody to wait for
        return Done()

    # --- instruments

    def _instrument(self, request: Simple) -> SimpleAnswer:
        if isinstance(request, Generate):
            return self._generate(request)
        if isinstance(request, Silence):
            return self._silence(request)
        if isinstance(request, Do):
            self._call(self._wires.action(self._detector(request.at), request.action))
            return Done()
        assert isinstance(request, Put | Get)
        if request.at in self._wires.detectors:
            wire = self._wires.wire(request.at, request.name)
            told = wire.write(request.value) if isinstance(request, Put) else wire.read()
            return wire.held(self._call(told))
        return self._parameter(request)

    def _parameter(self, request: Put | Get) -> Held:
        # Any: an instrument's own value
        arguments: dict[str, Any] = {"instrument": request.at, "parameter": request.name}
        verb = "read"
        if isinstance(request, Put):
            verb, arguments["value"] = "write", request.value
        answer = self._call(Command(request.at, verb, arguments))
        return Held(answer["value"], str(answer["unit"]), str(answer["source"]))

    def _generate(self, request: Generate) -> Done:
        plug = self._wires.output(self._detector(request.at), request.line)
        self._users[plug].add(request.at)
        if self._waves.get(plug) == (wave := _anonymous(request)):
            return Done()  # who shares the output asked for the same
        self._waves.pop(plug, None)
        for name, value in _steps(request):
            self._write_output(plug, name, value)
        self._waves[plug] = wave
        return Done()

    def _silence(self, request: Silence) -> Done:
        plug = self._wires.output(self._detector(request.at), request.line)
        self._users[plug].discard(request.at)
        if not self._users[plug]:  # others may still need it
            self._waves.pop(plug, None)
            self._write_output(plug, "on", False)
        return Done()

    def _write_output(self, plug: Plug, name: str, value: float | str | bool) -> None:
        arguments = {
            "instrument": plug.instrument,
            "parameter": f"output {plug.number}.{name}",
            "value": value,
        }
        self._call(Command(plug.instrument, "write", arguments))

    def _call(self, command: Command) -> Mapping[str, Any]:  # Any: the answer is JSON
        return self._caller("instruments", command.instrument).call(
            command.verb, ANSWER_S, **command.arguments
        )

    def _caller(self, service: str, line: str) -> sockets.Caller:
        """A caller for each line, so that none waits for another's answer."""
        key = f"{service} {line}"
        if key not in self._callers:
            endpoint = self._settings.endpoint(f"{service}.commands")
            self._callers[key] = sockets.Caller(endpoint, service, self._operator)
        return self._callers[key]

    # --- samples and time

    def _samples(self, requests: Mapping[int, Average | Take | Wait]) -> dict[int, SimpleAnswer]:
        if not requests:
            return {}
        try:
            now = {d: self._now(d) for d in {self._digitizer(r) for r in requests.values()}}
            wanted = [self._wanted(r, now[self._digitizer(r)]) for r in requests.values()]
            replies = self._raw(wanted)
        except StoppedError:
            raise
        except ScheeliteError as error:
            return dict.fromkeys(requests, failed(error))
        return {
            index: _tried(partial(_answered, request, reply))
            for (index, request), reply in zip(requests.items(), replies, strict=True)
        }

    def _wanted(self, request: Average | Take | Wait, now: int) -> _Wanted:
        rate_hz = self._streams[self._digitizer(request)].rate_hz
        if isinstance(request, Wait):
            return _Wanted(self._any_channel, now + round(request.seconds * rate_hz), 1, now)
        start = now + round((request.settle_s + LATENCY_S) * rate_hz)
        n = request.samples if isinstance(request, Take) and request.samples else 0
        return _Wanted(request.at, start, n or max(1, round(request.seconds * rate_hz)), now)

    def _raw(self, wanted: Sequence[_Wanted]) -> list[tuple[RawReply, bytes] | ScheeliteError]:
        requests = [
            RawRequest(id=i, channel=w.at, n_samples=w.n, not_before=w.start)
            for i, w in enumerate(wanted)
        ]
        longest_s = max(self._seconds(w) for w in wanted)
        return sockets.raw_together(
            self._settings.endpoint("core.raw"),
            requests,
            SAMPLES_S + SLOWEST * longest_s / self._speed,
            heed=self._heed,
        )

    def _seconds(self, wanted: _Wanted) -> float:
        stream = self._streams[self._channels[wanted.at].digitizer]
        return (wanted.start + wanted.n - wanted.now) / stream.rate_hz

    def _wait_stable(self, request: WaitStable) -> Settled:
        """Readings every `LOOK_S` or so; time is the stream's, and so a simulated bench's."""
        begun, dwell = self._stream_s(), Dwell(request)
        while True:
            value = self._reading(request.reading)
            waited = self._stream_s() - begun
            if dwell.is_over(value, waited):
                return Settled(True, value, waited)
            if waited >= request.timeout_s:
                return Settled(False, value, waited)
            (passed,) = self._samples({0: Wait(LOOK_S)}).values()
            if isinstance(passed, Failed):
                raise passed.error

    def _stream_s(self) -> float:
        digitizer = self._channels[self._any_channel].digitizer
        return self._now(digitizer) / self._streams[digitizer].rate_hz

    def _reading(self, reading: Get) -> float:
        held = self._instrument(reading)
        assert isinstance(held, Held)
        return held.number

    def _digitizer(self, request: Average | Take | Wait) -> str:
        at = self._any_channel if isinstance(request, Wait) else request.at
        if at not in self._channels:
            known = ", ".join(self._channels)
            raise UsageError(f"expected one of the channels {known}, found {at!r}")
        return self._channels[at].digitizer

    @property
    def _any_channel(self) -> str:
        return next(iter(self._wires.detectors))

    def _now(self, digitizer: str) -> int:
        newest, rate_hz, ahead_s = self._newest(digitizer)
        if digitizer not in self._streams:
            self._streams[digitizer] = StreamClock(rate_hz, self._speed, ahead_s)
            self._learn(digitizer)
        return self._streams[digitizer].now(newest, self._clock())

    def _learn(self, digitizer: str) -> None:
        """Look often enough to have seen samples that were hardly late."""
        for _ in range(N_LOOKS):
            self._streams[digitizer].now(self._newest(digitizer)[0], self._clock())
            self._stop.wait(LOOKS_S)

    def _newest(self, digitizer: str) -> tuple[int, float, float | None]:
        status = self._caller(f"digitizer.{digitizer}", "").call("status")
        rate_hz = float(status["rate_hz"])
        if rate_hz <= 0:
            raise UsageError(f"expected samples from {digitizer}, found none: {status['problem']}")
        ahead_s = status.get("ahead_s")
        return int(status["newest"]), rate_hz, None if ahead_s is None else float(ahead_s)

    def _detector(self, at: str) -> str:
        if at not in self._wires.detectors:
            known = ", ".join(self._wires.detectors)
            raise UsageError(f"expected one of the detectors {known}, found {at!r}")
        return at

    def _heed(self) -> None:
        if self._stop.is_set():
            self._stop.clear()
            raise StoppedError("stopped by the operator")


def _steps(wave: Generate) -> list[tuple[str, float | str | bool]]:
    """Off, small and short first: nothing old may reach a sensor, or be in conflict."""
    width = [("pulse_width", wave.width_s)] if wave.shape == "pulse" else []
    is_pulse = wave.shape == "pulse"
    middle_v = wave.offset_v + (wave.amplitude_v / 2 if is_pulse else 0.0)
    return [
        ("on", False),
        ("load", "INF"),
        ("amplitude", SMALLEST_VPP),
        ("offset", 0.0),
        ("pulse_width", SHORTEST_S),
        ("function", SHAPES[wave.shape]),
        ("frequency", wave.frequency_hz),
        ("offset", middle_v),
        ("amplitude", wave.amplitude_v),
        *width,
        ("on", True),
    ]


def _anonymous(wave: Generate) -> Generate:
    return Generate("", *(getattr(wave, name) for name in wave.__struct_fields__[1:]))


def _answered(
    request: Average | Take | Wait, reply: tuple[RawReply, bytes] | ScheeliteError
) -> SimpleAnswer:
    if isinstance(reply, ScheeliteError):
        raise reply
    header, samples = reply
    counts = np.frombuffer(samples, "<i2")
    if isinstance(request, Wait):
        return Done()
    if isinstance(request, Take):
        return Taken(counts, header.rate_hz, header.volts_per_count, header.start)
    volts = counts * header.volts_per_count
    swing = swing_of(volts, header.volts_per_count)
    return Averaged(float(volts.mean()), float(volts.std()), len(volts), header.start, swing)


def swing_of(volts: Volts, least_v: float) -> float:
    """How far a tenth of the samples is off, in spreads within a tenth; `Averaged` says more.

    `least_v` is a spread that is there at least; of too few samples nothing is known: 0.
    """
    length = len(volts) // TENTHS
    if length < LEAST_OF_TENTH:
        return 0.0
    tenths = volts[: TENTHS * length].reshape(TENTHS, length)
    means, spread = tenths.mean(1), max(float(np.median(tenths.std(1))), least_v)
    return float(np.abs(means - np.median(means)).max()) / spread


def _tried(do: Callable[[], SimpleAnswer]) -> SimpleAnswer:
    try:
        return do()
    except StoppedError:
        raise
    except ScheeliteError as error:
        return failed(error)
