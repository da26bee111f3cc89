"""The simulated bench put together: the worlds, their faces, and the sockets these are behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

from sim_hardware.face import Face
from sim_hardware.faces.avs47 import Avs47
from sim_hardware.faces.bluefors_logs import BlueforsLogs
from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.faces.keysight33500b import Keysight33500B
from sim_hardware.faces.lakeshore336 import MODEL336, MODEL350, Lakeshore336
from sim_hardware.faces.lakeshore370 import Lakeshore370
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.faces.magnicon_xxf1 import MagniconXxf1
from sim_hardware.faces.redpitaya import RedPitaya
from sim_hardware.faces.starcryo import StarCryo
from sim_hardware.faults import ControlFace, FaultyFace, Wire
from sim_hardware.fridges import Fridges
from sim_hardware.recorder import Recorder
from sim_hardware.serve import HOST, Loop, listen
from sim_hardware.settings import CONTROL, Bench, BenchDigitizer
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.detectors import DETECTORS
from sim_hardware.world.digitizer import DetectorSignals, Input, inputs
from sim_hardware.world.particles import Detectors, Particles, Rates
from sim_hardware.world.pfl import FluxLockedLoops
from sim_hardware.world.squid import SquidElectronics

LAKESHORE_GAP_S = 0.05  # 20 messages a second

RESOURCES = {
    "scheelite-stream": "tcp://{host}:{port}",
    "lakeshore372": "TCPIP::{host}::{port}::SOCKET",
    "lakeshore370": "ASRLsocket://{host}:{port}::INSTR",
    "lakeshore336": "TCPIP::{host}::{port}::SOCKET",
    "lakeshore350": "TCPIP::{host}::{port}::SOCKET",
    "avs47b": "TCPIP::{host}::{port}::SOCKET",
    "keysight33500b": "TCPIP::{host}::{port}::SOCKET",
    "starcryo-pfl102": "ASRLsocket://{host}:{port}::INSTR",
    "magnicon-xxf1": "ASRLsocket://{host}:{port}::INSTR",
    "scheelite-control": "tcp://{host}:{port}",
    "triton": "TCPIP::{host}::{port}::SOCKET",
    "bluefors-api": "{scheme}://{host}:{port}",
    "bluefors-valves": "TCPIP::{host}::{port}::SOCKET",
    "bftc": "http://{host}:{port}",
    "leiden-bridge": "TCPIP::{host}::{port}::SOCKET",
    "leiden-ghs": "ASRLsocket://{host}:{port}::INSTR",
    "redpitaya": "tcp://{host}:{port}",
}


STREAMS = (DigitizerFace, RedPitaya)


@dataclass(frozen=True, slots=True)
class Served:
    """A simulated instrument behind its listening socket."""

    name: str
    face: Face
    listener: socket.socket

    @property
    def resource(self) -> str:
        """What a driver's configuration takes."""
        port = self.listener.getsockname()[1]
        scheme = getattr(self.face, "scheme", "")  # of a face that has a choice of them
        return RESOURCES[self.face.model].format(host=HOST, port=port, scheme=scheme)


@dataclass(frozen=True, slots=True)
class Written:
    """A simulated instrument that writes files."""

    name: str
    face: BlueforsLogs

    @property
    def resource(self) -> str:
        """What a driver's configuration takes."""
        return str(self.face.folder)


class OpenBench:
    """A bench whose sockets listen; `run` answers."""

    def __init__(self, bench: Bench) -> None:
        """Takes seconds, for noise and kernels; raises PortError where a port cannot be had."""
        with ExitStack() as on_failure:
            listeners = {}
            for name, port in bench.ports.items():
                listeners[name] = on_failure.enter_context(listen(name, port))
            signals = prepared(bench)
            self._started_s, start_ns = time.monotonic(), bench.start_ns(time.time_ns())
            cryostat = Cryostat(bench.seed, **bench.cryostat.model_dump())
            fridges = Fridges(cryostat, seed=bench.seed, start_ns=start_ns)
            faces = digitizer_faces(bench, signals, start_ns) | instrument_faces(bench, fridges)
            on_failure.pop_all()
        self._wires = {name: Wire() for name in faces}
        if CONTROL in listeners:
            faces[CONTROL] = ControlFace(dict(self._wires))
        self.served = [Served(name, face, listeners[name]) for name, face in faces.items()]
        self.written = log_faces(bench, fridges)
        self._ended = threading.Event()

    @property
    def announced(self) -> list[Served | Written]:
        """Every instrument and digitizer."""
        return [*self.served, *self.written]

    def stop(self) -> None:
        """End `run`; from any thread, and from a signal."""
        self._ended.set()

    def run(self) -> None:
        """Serve until `stop` is called; raises what made any of the loops fail."""
        loops: list[Loop | Recorder] = [Recorder(each.face, self._now_s) for each in self.written]
        loops += [Loop(served, self._now_s) for served in self._shared_out()]
        with ThreadPoolExecutor(len(loops)) as pool:
            running = [pool.submit(loop.run) for loop in loops]
            for each in running:
                each.add_done_callback(lambda _: self.stop())
            self._ended.wait()
            for loop in loops:
                loop.stop()
        for each in running:
            each.result()

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _shared_out(self) -> list[list[tuple[socket.socket, Face]]]:
        """Each digitizer alone, all instruments, which share their worlds, together."""
        digitizers = [each for each in self.served if isinstance(each.face, STREAMS)]
        others = [each for each in self.served if each not in digitizers]
        return [*([self._door(each)] for each in digitizers), list(map(self._door, others))]

    def _door(self, served: Served) -> tuple[socket.socket, Face]:
        """A face behind its wire, which can be made faulty; the control's own cannot."""
        wire = self._wires.get(served.name)
        return served.listener, FaultyFace(served.face, wire) if wire else served.face


def particles(bench: Bench) -> Particles:
    """Everything that will hit the detectors of a bench."""
    of_kind = {
        kind: tuple(channel for channel in bench.channels if bench.kind(channel) == kind)
        for kind in DETECTORS
    }
    detectors = Detectors(targets=of_kind["target"], silicon=of_kind["silicon"], cwo=of_kind["cwo"])
    rates = Rates(
        particle_hz=bench.sources.target_rate_hz,
        line_hz=bench.sources.line_rate_hz,
        muon_hz=bench.sources.muon_rate_hz,
        gamma_hz=bench.sources.gamma_rate_hz,
    )
    return Particles(bench.seed, rates, detectors)


def prepared(bench: Bench) -> dict[str, dict[str, Input]]:
    """The inputs of every digitizer."""
    return {
        name: inputs(
            name,
            {channel: bench.kind(channel) for channel in digitizer.channels},
            seed=bench.seed,
            rate_hz=digitizer.sample_rate_hz,
        )
        for name, digitizer in bench.digitizers.items()
    }


def digitizer_faces(
    bench: Bench, signals: dict[str, dict[str, Input]], start_ns: int
) -> dict[str, Face]:
    """The digitizers, of which sample 0 is converted at `start_ns` UTC."""
    truth = particles(bench)
    faces: dict[str, Face] = {}
    for name, digitizer in bench.digitizers.items():
        ppm, rate_hz = digitizer.clock_ppm, digitizer.sample_rate_hz
        clock = SampleClock(rate_hz, ppm=ppm, start_ns=start_ns)
        source = DetectorSignals(name, signals[name], truth, clock)
        faces[name] = digitizer_face(source, digitizer, bench.pace)
    return faces


def digitizer_face(source: DetectorSignals, digitizer: BenchDigitizer, pace: str) -> Face:
    """The face of a digitizer's model."""
    memory_s = digitizer.memory_s
    if digitizer.model == RedPitaya.model:
        header_bytes = digitizer.header_bytes
        return RedPitaya(source, pace=pace, memory_s=memory_s, header_bytes=header_bytes)
    return DigitizerFace(source, pace=pace, memory_s=memory_s, stream=uuid4().hex)


def log_faces(bench: Bench, fridges: Fridges) -> list[Written]:
    """The instruments that write files."""
    logs = {name: fridges.logs(instrument) for name, instrument in bench.instruments.items()}
    return [Written(name, face) for name, face in logs.items() if face is not None]


def instrument_faces(bench: Bench, fridges: Fridges) -> dict[str, Face]:
    """The instruments that are asked and told, on one cryostat and one electronics."""
    cryostat, electronics = fridges.cryostat, SquidElectronics()
    faces: dict[str, Callable[[], Face]] = {
        Lakeshore372.model: lambda: Lakeshore372(cryostat, gap_s=LAKESHORE_GAP_S),
        Lakeshore370.model: lambda: Lakeshore370(cryostat, gap_s=LAKESHORE_GAP_S),
        MODEL336.model: lambda: Lakeshore336(cryostat, gap_s=LAKESHORE_GAP_S),
        MODEL350.model: lambda: Lakeshore336(cryostat, variant=MODEL350, gap_s=LAKESHORE_GAP_S),
        MagniconXxf1.model: lambda: MagniconXxf1(electronics),
        StarCryo.model: lambda: StarCryo(FluxLockedLoops()),
        Keysight33500B.model: Keysight33500B,
        Avs47.model: lambda: Avs47(cryostat),
    }
    wired = {name: each for name, each in bench.instruments.items() if each.folder is None}
    return {name: fridges.face(each) or faces[each.model]() for name, each in wired.items()}
