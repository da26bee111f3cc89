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

from sim_hardware.command_log import CommandLog
from sim_hardware.face import Face
from sim_hardware.faces.avs47 import Avs47
from sim_hardware.faces.bluefors_logs import BlueforsLogs
from sim_hardware.faces.digitizer import PACKET_S, DigitizerFace
from sim_hardware.faces.lakeshore336 import MODEL336, MODEL350, Lakeshore336
from sim_hardware.faces.lakeshore370 import Lakeshore370
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.faces.redpitaya import RedPitaya
from sim_hardware.faults import ControlFace, FaultyFace, Wire
from sim_hardware.fridges import Fridges
from sim_hardware.holes import Holes
from sim_hardware.laboratory import Laboratory
from sim_hardware.origins import beam_gate, detector_array, origins
from sim_hardware.pace import (
    BenchClock,
    PacedFace,
    ReadClock,
    RunningClock,
    Unhurried,
    WaitingClock,
)
from sim_hardware.recorder import Recorder, Writer
from sim_hardware.retold import Retold
from sim_hardware.scenario import CompressorTrip, FridgeWarmUp, Schedule
from sim_hardware.scripted import ScriptedSource, drifts, holes, surges
from sim_hardware.serve import HOST, Loop, listen
from sim_hardware.settings import CONTROL, Bench
from sim_hardware.source import Source
from sim_hardware.truth import Converting, TruthFile
from sim_hardware.world.chain import Chain
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.digitizer import DetectorSignals, Input, inputs
from sim_hardware.world.gate import Levels
from sim_hardware.world.particles import Merged, Particles, Truth
from sim_hardware.world.timeline import Change, Timeline

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
            # at one moment: what instruments date themselves must not be older than it is
            self._started_s, start_ns = time.monotonic(), bench.start_ns(time.time_ns())
            clocks = sample_clocks(bench, start_ns)
            self._log = command_log(bench, start_ns, clocks, on_failure)
            timeline = Timeline(self._bench_s, self._log.append if self._log else _nowhere)
            self._clock = bench_clock(bench, timeline, self._wall_s)
            cryostat = Cryostat(bench.seed, **bench.cryostat.model_dump())
            script(cryostat, Schedule(bench.scenario))
            laboratory = Laboratory(bench, timeline, cryostat)
            truth = everything(bench, laboratory)
            retold = Retold(Path(bench.commands) if bench.commands else None)
            waits = self._clock if isinstance(self._clock, WaitingClock) else None
            digitizers = digitizer_faces(bench, laboratory, clocks, truth, timeline, retold, waits)
            self._truth_file = truth_file(bench, digitizers, clocks, truth, start_ns)
            fridges = Fridges(cryostat, seed=bench.seed, start_ns=start_ns)
            instruments = instrument_faces(bench, fridges, laboratory)
            faces: dict[str, Face] = {**digitizers, **(instruments if not bench.commands else {})}
            on_failure.pop_all()
        self._wires = {name: Wire() for name in faces}
        if CONTROL in listeners:
            faces[CONTROL] = ControlFace(dict(self._wires))
        self.served = [Served(name, face, listeners[name]) for name, face in faces.items()]
        self.written = log_faces(bench, fridges) if not bench.commands else []
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
        written = [each.face for each in self.written]
        writers: list[Writer] = [*written, *([self._truth_file] if self._truth_file else [])]
        wait_s = self._clock.wall_wait_s
        loops: list[Loop | Recorder] = [Recorder(each, self._bench_s, wait_s) for each in writers]
        loops += [Loop(served, self._wall_s) for served in self._shared_out()]
        with ThreadPoolExecutor(len(loops)) as pool:
            running = [pool.submit(loop.run) for loop in loops]
            for each in running:
                each.add_done_callback(lambda _: self.stop())
            self._ended.wait()
            for loop in loops:
                loop.stop()
        self._close_files()
        for each in running:
            each.result()

    def close(self) -> None:
        """Leave it; without this, or `run`, its sockets go on to listen."""
        for served in self.served:
            served.listener.close()
        self._close_files()

    def _close_files(self) -> None:
        if self._truth_file:
            self._truth_file.close(self._bench_s())
        if self._log:
            self._log.close()

    def _wall_s(self) -> float:
        """What wires go by."""
        return time.monotonic() - self._started_s

    def _bench_s(self) -> float:
        """What everything behind the wires goes by."""
        return self._clock.bench_s(self._wall_s())

    def _shared_out(self) -> list[list[tuple[socket.socket, Face]]]:
        """Each digitizer alone, all instruments, which share their worlds, together."""
        digitizers = [each for each in self.served if isinstance(each.face, StreamFace)]
        others = [each for each in self.served if each not in digitizers]
        return [*([self._door(each)] for each in digitizers), list(map(self._door, others))]

    def _door(self, served: Served) -> tuple[socket.socket, Face]:
        """A face behind its wire, which can be made faulty; the control's own cannot."""
        wire = self._wires.get(served.name)
        if wire is None:
            return served.listener, served.face
        return served.listener, FaultyFace(PacedFace(served.face, self._clock), wire)


def particles(bench: Bench) -> Particles:
    """Everything that will hit the detectors of a bench."""
    found = origins(bench.sources, detector_array(bench))
    return Particles(bench.seed, found, surges(Schedule(bench.scenario)))


def everything(bench: Bench, laboratory: Laboratory) -> Truth:
    """All that will hit the detectors: particles, and the pulses of heaters."""
    pulses = laboratory.heater_pulses()
    return particles(bench) if pulses is None else Merged(particles(bench), pulses)


def script(cryostat: Cryostat, schedule: Schedule) -> None:
    """Order what the script does to the cryostat, for its times."""
    for trip in schedule.of(CompressorTrip):
        cryostat.trip_compressor(trip.at_s)
        cryostat.restart(trip.stop_s)
    for number, warming in enumerate(schedule.of(FridgeWarmUp)):
        cryostat.heat(warming.heat_w, warming.at_s, by=f"script {number}")
        cryostat.heat(0.0, warming.stop_s, by=f"script {number}")


def bench_clock(bench: Bench, timeline: Timeline, wall_s: Callable[[], float]) -> BenchClock:
    """What turns the wall's time into the bench's; without a digitizer nobody could read it on."""
    if bench.pace == "flat-out" and bench.digitizers:
        return ReadClock(lambda: timeline.reached_s)
    return WaitingClock(bench.speed, wall_s) if bench.late == "wait" else RunningClock(bench.speed)


def command_log(
    bench: Bench, start_ns: int, clocks: dict[str, SampleClock], on_failure: ExitStack
) -> CommandLog | None:
    """Where changes are logged: beside the truth."""
    if bench.truth_dir is None:
        return None
    log = CommandLog(Path(bench.truth_dir), start_ns, clocks)
    on_failure.callback(log.close)
    return log


def prepared(
    bench: Bench, name: str, laboratory: Laboratory, clock: SampleClock, truth: Truth
) -> dict[str, Input | Chain]:
    """The inputs of a digitizer, in order."""
    digitizer = bench.digitizers[name]
    chains = laboratory.chains(name, clock, truth)
    kinds: dict[str, str] = {c: bench.kind(c) for c in digitizer.channels if c not in chains}
    others = inputs(name, kinds, seed=bench.seed, rate_hz=digitizer.sample_rate_hz)
    return {c: chains[c] if c in chains else others[c] for c in digitizer.channels}


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
    laboratory: Laboratory,
    clocks: dict[str, SampleClock],
    truth: Truth,
    timeline: Timeline,
    retold: Retold,
    waits: WaitingClock | None,
) -> dict[str, StreamFace]:
    """The digitizers, whose inputs see the truth and the levels, and what the script does."""
    schedule, faces = Schedule(bench.scenario), dict[str, StreamFace]()
    for name, digitizer in bench.digitizers.items():
        clock = clocks[name]
        gates = [c for c in digitizer.channels if bench.kind(c) == "gate"]
        levels: dict[str, Levels] = dict.fromkeys(gates, beam_gate(bench.sources))
        levels |= laboratory.syncs(digitizer.channels)

        def reach(stop_s: float) -> None:
            timeline.reach(stop_s)
            retold.to_cryostat(laboratory.cryostat, stop_s)
            laboratory.cryostat.look(stop_s)

        rows = prepared(bench, name, laboratory, clock, truth)
        for channel, row in rows.items():
            if isinstance(row, Chain):
                retold.to_chain(name, channel, row)
        signals = DetectorSignals(name, rows, truth, clock, levels, reach)
        source: Source = ScriptedSource(signals, schedule, clock)
        source = Unhurried(source, waits) if waits else source
        lost = holes(name, schedule, clock)
        faces[name] = digitizer_face(source, bench, name, lost, waits.ahead_s if waits else None)
    retold.refuse_others([*map(str, laboratory.sources), *bench.channels])
    retold.to_tracks(laboratory.readouts)
    retold.to_tracks(laboratory.waves)
    return faces


def digitizer_face(
    source: Source, bench: Bench, name: str, lost: Holes, ahead_s: float | None
) -> StreamFace:
    """The face of a digitizer's model."""
    digitizer, pace, memory_s = bench.digitizers[name], bench.pace, bench.memory_s(name)
    if digitizer.model == RedPitaya.model:
        header_bytes = digitizer.header_bytes
        return RedPitaya(source, pace=pace, memory_s=memory_s, header_bytes=header_bytes, lost=lost)
    return DigitizerFace(
        source,
        pace=pace,
        memory_s=memory_s,
        stream=uuid4().hex,
        lost=lost,
        packet_s=PACKET_S * max(1.0, bench.speed),  # as many a second by the wall
        ahead_s=ahead_s,
    )


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


def instrument_faces(bench: Bench, fridges: Fridges, laboratory: Laboratory) -> dict[str, Face]:
    """The instruments that are asked and told, on one cryostat, each with its own electronics."""
    cryostat = fridges.cryostat
    # where nobody reads, the bench's time stands still: who waits for it would wait for ever
    standing = bench.pace == "flat-out" and bench.digitizers
    pauses = {"gap_s": 0.0, "stale_s": 0.0} if standing else {"gap_s": LAKESHORE_GAP_S}
    faces: dict[str, Callable[[str], Face]] = {
        Lakeshore372.model: lambda _: Lakeshore372(cryostat, **pauses),
        Lakeshore370.model: lambda _: Lakeshore370(cryostat, **pauses),
        MODEL336.model: lambda _: Lakeshore336(cryostat, MODEL336, **pauses),
        MODEL350.model: lambda _: Lakeshore336(cryostat, MODEL350, **pauses),
        Avs47.model: lambda _: Avs47(cryostat),
    }
    wired = {name: each for name, each in bench.instruments.items() if each.folder is None}
    return {
        name: fridges.face(each) or laboratory.face(name) or faces[each.model](name)
        for name, each in wired.items()
    }


def _nowhere(change: Change) -> None:
    """A change that is not logged."""
