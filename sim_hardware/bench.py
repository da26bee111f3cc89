"""The simulated bench put together: the worlds, their faces, and the sockets these are behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
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
from sim_hardware.holes import Holes
from sim_hardware.origins import beam_gate, detector_array, origins
from sim_hardware.recorder import Recorder
from sim_hardware.scenario import Schedule
from sim_hardware.scripted import ScriptedSource, drifts, holes, surges
from sim_hardware.serve import HOST, Loop, listen
from sim_hardware.settings import CONTROL, Bench, BenchDigitizer
from sim_hardware.source import Source
from sim_hardware.truth import Converting, TruthFile
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.digitizer import DetectorSignals, Input, inputs
from sim_hardware.world.particles import Particles, Truth
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


StreamFace = DigitizerFace | RedPitaya


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
            fridges = Fridges(Cryostat(bench.seed), seed=bench.seed, start_ns=start_ns)
            clocks, truth = sample_clocks(bench, start_ns), particles(bench)
            digitizers = digitizer_faces(bench, signals, clocks, truth)
            self._truth_file = truth_file(bench, digitizers, clocks, truth, start_ns)
            faces: dict[str, Face] = {**digitizers, **instrument_faces(bench, fridges)}
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
        loops += [Recorder(self._truth_file, self._now_s)] if self._truth_file else []
        loops += [Loop(served, self._now_s) for served in self._shared_out()]
        with ThreadPoolExecutor(len(loops)) as pool:
            running = [pool.submit(loop.run) for loop in loops]
            for each in running:
                each.add_done_callback(lambda _: self.stop())
            self._ended.wait()
            for loop in loops:
                loop.stop()
        if self._truth_file:
            self._truth_file.close(self._now_s())
        for each in running:
            each.result()

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _shared_out(self) -> list[list[tuple[socket.socket, Face]]]:
        """Each digitizer alone, all instruments, which share their worlds, together."""
        digitizers = [each for each in self.served if isinstance(each.face, StreamFace)]
        others = [each for each in self.served if each not in digitizers]
        return [*([self._door(each)] for each in digitizers), list(map(self._door, others))]

    def _door(self, served: Served) -> tuple[socket.socket, Face]:
        """A face behind its wire, which can be made faulty; the control's own cannot."""
        wire = self._wires.get(served.name)
        return served.listener, FaultyFace(served.face, wire) if wire else served.face


def particles(bench: Bench) -> Particles:
    """Everything that will hit the detectors of a bench."""
    found = origins(bench.sources, detector_array(bench))
    return Particles(bench.seed, found, surges(Schedule(bench.scenario)))


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


def sample_clocks(bench: Bench, start_ns: int) -> dict[str, SampleClock]:
    """The clock of every digitizer, of which sample 0 is converted at `start_ns` UTC."""
    schedule = Schedule(bench.scenario)
    return {
        name: SampleClock(
            digitizer.sample_rate_hz,
            ppm=digitizer.clock_ppm,
            start_ns=start_ns,
            drifts=drifts(name, schedule),
        )
        for name, digitizer in bench.digitizers.items()
    }


def digitizer_faces(
    bench: Bench,
    signals: dict[str, dict[str, Input]],
    clocks: dict[str, SampleClock],
    truth: Truth,
) -> dict[str, StreamFace]:
    """The digitizers, whose inputs see the truth and the levels, and what the script does."""
    schedule, faces = Schedule(bench.scenario), dict[str, StreamFace]()
    for name, digitizer in bench.digitizers.items():
        clock = clocks[name]
        gates = [c for c in digitizer.channels if bench.kind(c) == "gate"]
        levels = dict.fromkeys(gates, beam_gate(bench.sources))
        source = DetectorSignals(name, signals[name], truth, clock, levels)
        scripted = ScriptedSource(source, schedule, clock)
        faces[name] = digitizer_face(scripted, digitizer, bench.pace, holes(name, schedule, clock))
    return faces


def digitizer_face(source: Source, digitizer: BenchDigitizer, pace: str, lost: Holes) -> StreamFace:
    """The face of a digitizer's model."""
    memory_s = digitizer.memory_s
    if digitizer.model == RedPitaya.model:
        header_bytes = digitizer.header_bytes
        return RedPitaya(source, pace=pace, memory_s=memory_s, header_bytes=header_bytes, lost=lost)
    return DigitizerFace(source, pace=pace, memory_s=memory_s, stream=uuid4().hex, lost=lost)


def truth_file(
    bench: Bench,
    faces: dict[str, StreamFace],
    clocks: dict[str, SampleClock],
    truth: Truth,
    start_ns: int,
) -> TruthFile | None:
    """Where the truth of what the digitizers convert is written."""
    if bench.truth_dir is None:
        return None
    digitizers = [
        Converting(
            name=name,
            channels=frozenset(face.source.channels),
            clock=clocks[name],
            converted=face.memory.converted(),
        )
        for name, face in faces.items()
    ]
    return TruthFile(Path(bench.truth_dir), start_ns, truth, digitizers)


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
