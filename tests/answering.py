"""Answers a procedure's requests by the drivers and the stream of a wired bench, in one thread."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from typing import TypeVar

from daq.errors import ScheeliteError
from daq.readout.characterize import Sensor
from daq.readout.procedures import run
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
    Generate,
    Get,
    Held,
    Meet,
    Procedure,
    Put,
    Say,
    Settled,
    Several,
    Silence,
    Simple,
    SimpleAnswer,
    Take,
    Taken,
    Wait,
    WaitStable,
    failed,
)
from daq.readout.resolution import Heater
from daq.readout.smallsignal import SquareWave
from drivers.source.keysight33500b import Output, Shape
from drivers.squid.magnicon import Squid
from drivers.squid.squid_channel import SquidChannel
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import TesParameters
from tests.wired_bench import LSB_V, Wired

R = TypeVar("R")
P, SQUID = TesParameters(), SquidParameters()
RATE_HZ = 250e3
WORK_A, WORK_W = 0.93e-6, 23.5e-15
SENSOR = Sensor(
    at="C11",
    r_shunt_ohm=P.r_shunt_ohm,
    a_per_phi0=SQUID.input_a_per_phi0,
    volts_per_phi0_per_ohm=SQUID.feedback_a_per_phi0,
    feedback_ohm=3e3,
    bias_ohm=1e6,
    heater=Heater(ohm=10e3, attenuation_db=80.0),
    bias_max_a=40e-6,
    normal_bias_a=30e-6,
)
WAVE = SquareWave(frequency_hz=20.0, bias_pp_a=20e-9, seconds=3.0)
SHAPES = {"square": Shape.SQUARE, "sine": Shape.SINE, "pulse": Shape.PULSE}
LOOK_S = 5.0
SLICE_S = 20.0  # of the stream, read at once while time passes


class Answering:
    """The hands of a procedure on a bench at pace flat-out; `said` and `asked` are kept.

    `load` is what the generator is told to drive at the bias: anything but "INF" is a mistake of
    whoever set it up, and all volts there are wrong then. `squids` are others than those that
    are wired.
    """

    def __init__(
        self,
        bench: Wired,
        *,
        load: float | str = "INF",
        squids: Mapping[str, Squid] | None = None,
    ) -> None:
        self.bench, self._load = bench, load
        self.asked: list[AnyRequest] = []
        self.ended: list[End] = []
        wired = list(bench.settings.wiring.squids)
        parts = squids or {c: bench.squid(k % 2 + 1, k // 2) for k, c in enumerate(wired)}
        self._squids = {channel: SquidChannel(part) for channel, part in parts.items()}

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        self.asked.append(request)
        if isinstance(request, All):
            return Several(tuple(self._tried(each) for each in request.requests))
        return self._simple(request)

    def run(self, procedure: Procedure[R]) -> R:
        """The procedure's result."""
        return run(procedure, self)

    def _tried(self, request: Simple) -> SimpleAnswer:
        try:
            return self._simple(request)
        except ScheeliteError as error:
            return failed(error)

    def _simple(self, request: Simple) -> SimpleAnswer:
        match request:
            case Put() | Get():
                return self._held(request)
            case Do():
                self._squids[request.at].action(request.action)()
            case Generate():
                self._generate(request)
            case Silence():
                self._output(request.line).on.write(False)
            case Average():
                return self._average(request)
            case Take():
                return self._take(request)
            case Wait():
                self._pass(request.seconds)
            case WaitStable():
                return self._stable(request)
            case End():
                self.ended.append(request)
            case _:
                assert isinstance(request, Say | Begin | Meet), request
        return Done()

    def _held(self, request: Put | Get) -> Held:
        if request.at in self._squids:
            knob = getattr(self._squids[request.at], request.name)
            held = knob.write(request.value) if isinstance(request, Put) else knob.read()
            value = held.value
            return Held(value.name if isinstance(value, Enum) else value, source=held.source)
        assert request.at == "fridge"
        name = request.name
        part = self.bench.fridge
        if name.startswith("input "):
            number, _, name = name.removeprefix("input ").partition(".")
            part = self.bench.fridge.inputs[int(number)]
        bound = getattr(part, name)
        return Held(bound.write(request.value) if isinstance(request, Put) else bound.read())

    def _output(self, line: str) -> Output:
        return self.bench.pulser.outputs[{"heater": 1, "bias": 2}[line]]

    def _generate(self, wave: Generate) -> None:
        output = self._output(wave.line)
        pulse = wave.shape == "pulse"
        output.on.write(False)
        output.load.write(self._load if wave.line == "bias" else "INF")
        output.amplitude.write(0.002)
        output.offset.write(0.0)
        output.pulse_width.write(16e-9)
        output.function.write(SHAPES[wave.shape])
        output.frequency.write(wave.frequency_hz)
        output.offset.write(wave.offset_v + (wave.amplitude_v / 2 if pulse else 0.0))
        output.amplitude.write(wave.amplitude_v)
        if pulse:
            output.pulse_width.write(wave.width_s)
        output.on.write(True)

    def _average(self, request: Average) -> Averaged:
        taken = self._take(Take(request.at, seconds=request.seconds, settle_s=request.settle_s))
        volts = taken.volts
        return Averaged(float(volts.mean()), float(volts.std()), len(volts), taken.start)

    def _take(self, request: Take) -> Taken:
        self._pass(request.settle_s)
        start = self.bench.at
        seconds = request.seconds or request.samples / self.bench.rate_hz
        counts = self.bench.counts(seconds, request.at)
        return Taken(counts, self.bench.rate_hz, LSB_V, start)

    def _pass(self, seconds: float) -> None:
        while seconds > 0:
            self.bench.rows(min(seconds, SLICE_S))
            seconds -= SLICE_S

    def _stable(self, request: WaitStable) -> Settled:
        waited = inside = 0.0
        value = float("nan")
        while waited <= request.timeout_s:
            with suppress(ValueError):
                value = self._held(request.reading).number
            near = abs(value - request.target) <= request.tolerance
            inside = inside + LOOK_S if near else 0.0
            if inside > request.dwell_s:
                return Settled(True, value, waited)
            self._pass(LOOK_S)
            waited += LOOK_S
        return Settled(False, value, waited)
