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
from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.faces.magnicon_xxf1 import MagniconXxf1
from sim_hardware.serve import HOST, Loop, listen
from sim_hardware.settings import Bench
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.detectors import DETECTORS
from sim_hardware.world.digitizer import DetectorSignals, Input, inputs
from sim_hardware.world.particles import Detectors, Particles, Rates
from sim_hardware.world.squid import SquidElectronics

RESOURCES = {
    "scheelite-stream": "tcp://{host}:{port}",
    "lakeshore372": "TCPIP::{host}::{port}::SOCKET",
    "magnicon-xxf1": "ASRLsocket://{host}:{port}::INSTR",
}


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
        return RESOURCES[self.face.model].format(host=HOST, port=port)


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
            faces = digitizer_faces(bench, signals, start_ns) | instrument_faces(bench)
            on_failure.pop_all()
        self.served = [Served(name, face, listeners[name]) for name, face in faces.items()]
        self._ended = threading.Event()

    def stop(self) -> None:
        """End `run`; from any thread, and from a signal."""
        self._ended.set()

    def run(self) -> None:
        """Serve until `stop` is called; raises what made any of the loops fail."""
        loops = [Loop(served, self._now_s) for served in self._shared_out()]
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
        doors = [(served.listener, served.face) for served in self.served]
        alone = [[door] for door in doors if isinstance(door[1], DigitizerFace)]
        together = [door for door in doors if not isinstance(door[1], DigitizerFace)]
        return [*alone, together]


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
        stream = uuid4().hex
        faces[name] = DigitizerFace(
            source, pace=bench.pace, memory_s=digitizer.memory_s, stream=stream
        )
    return faces


def instrument_faces(bench: Bench) -> dict[str, Face]:
    """The instruments that are asked and told in text, on one cryostat and one electronics."""
    cryostat, electronics = Cryostat(bench.seed), SquidElectronics()
    faces: dict[str, Callable[[], Face]] = {
        Lakeshore372.model: lambda: Lakeshore372(cryostat),
        MagniconXxf1.model: lambda: MagniconXxf1(electronics),
    }
    return {name: faces[instrument.model]() for name, instrument in bench.instruments.items()}
