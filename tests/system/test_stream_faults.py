"""Every fault of a wire against every digitizer that has one: never a wrong sample, every loss a
counted gap or a new stream, and it comes back by itself while another one is not disturbed.

`FAULTS_TABLE=FILE` adds the rows of recovery times to FILE: docs/instrument-faults.md is made so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from daq.services.service import Waker
from daq.wire import codec, sockets
from daq.wire.schemas import BlockHeader, StreamAck, StreamEnd, StreamHello, StreamWant
from drivers import catalogue
from drivers.services.digitizer import DigitizerService, Endpoints, Limits
from drivers.settings import Digitizers
from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.faces.redpitaya import RedPitaya
from sim_hardware.faults import Fault, FaultKind, FaultyFace, Wire
from sim_hardware.serve import Loop, listen

pytestmark = pytest.mark.alone


RATE_HZ = 12_500.0  # which divides a Red Pitaya's clock
LATE_S = 1.5  # longer than the silence that a service accepts
SILENT_AFTER_S = 0.6
STANDS_S = 1.2  # how long a fault stands
RECOVERED_S = 8.0  # new samples come within this time of the fault's end: the stated bound
ON_TIME_S = 2.0  # the stream without a fault never pauses for longer
PLENTY = 1 << 40
LOW = 15  # bits of a sample's number in channel 0; the next ones are in channel 1


class Counter:
    """Samples that say their own number."""

    name, channels, rate_hz, volts_per_count, length = "d", ("low", "high"), RATE_HZ, 1e-4, None

    def samples(self, start: int, stop: int) -> np.ndarray:
        numbers = np.arange(start, stop, dtype=np.int64)
        mask = (1 << LOW) - 1
        return np.stack([numbers & mask, numbers >> LOW & mask]).astype(np.int16)

    def t_ns(self, sample: int) -> int:
        return 10**18 + round(sample / RATE_HZ * 1e9)


def numbers_of(samples: np.ndarray) -> np.ndarray:
    """The numbers that samples say, wrong ones for samples that are."""
    low, high = samples.astype(np.int64)
    return low + (high << LOW)


@dataclass
class Core:
    """The core's end of one stream; looks at every sample, and keeps account of the rest."""

    endpoint: str
    numbered: bool  # whether sample numbers are the digitizer's own
    wrong: list[str] = field(default_factory=list)
    epochs: list[str] = field(default_factory=list)
    newest: int = -1  # the latest number that a sample said
    pause_s: float = 0.0  # the longest time without samples
    expected: int | None = None
    offset: int | None = None  # what a sample says less its number in the stream

    def __post_init__(self) -> None:
        self.socket = sockets.serve_blocks(self.endpoint)
        self._heard = time.monotonic()

    def serve(self) -> None:
        """Take what there is."""
        while self.socket.poll(0):
            peer, header, *rest = sockets.receive(self.socket)
            message = codec.decode(header, StreamHello, BlockHeader, StreamEnd)
            if isinstance(message, StreamHello) and message.seq == 0:
                self._begin(peer, message)
            elif isinstance(message, BlockHeader):
                self._take(message, rest[0])
                ack = StreamAck(epoch=message.epoch, durable=self.expected, credit=PLENTY)
                sockets.offer(self.socket, peer, codec.encode(ack))

    def _begin(self, peer: bytes, hello: StreamHello) -> None:
        if hello.epoch not in self.epochs:
            self.epochs.append(hello.epoch)
            self.offset = 0 if self.numbered else None
            self.expected = hello.oldest
        want = StreamWant(epoch=hello.epoch, start=self.expected, asked=1, credit=PLENTY)
        sockets.offer(self.socket, peer, codec.encode(want))

    def _take(self, header: BlockHeader, frame: bytes) -> None:
        for gap in header.gaps:
            self._check(gap.start == self.expected, f"gap from {gap.start}, not {self.expected}")
            self.expected = gap.stop
        self._check(header.start == self.expected, f"{header.start}, not {self.expected}")
        said = numbers_of(np.frombuffer(frame, "<i2").reshape(2, -1))
        if self.offset is None:
            self.offset = int(said[0]) - header.start
        here = np.arange(header.start, header.start + header.n_samples) + self.offset
        self._check(bool((said == here).all()), f"samples from {header.start} are not their own")
        self.expected, self.newest = header.start + header.n_samples, int(said[-1])
        now = time.monotonic()
        self.pause_s, self._heard = max(self.pause_s, now - self._heard), now

    def _check(self, is_right: bool, otherwise: str) -> None:
        if not is_right:
            self.wrong.append(otherwise)


@contextmanager
def served(face: FaultyFace) -> Iterator[str]:
    """A face on a port of the system's choice; its resource."""
    listener = listen("d", 0)
    loop = Loop([(listener, face)], time.monotonic)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def digitizing(folder: Path, section: dict[str, object]) -> Iterator[str]:
    """The service of one digitizer; where the core's end of its blocks is to be."""
    chosen = Digitizers.model_validate({"d": section}).root["d"]
    driver = catalogue.digitizer(chosen.model)
    stop, waker = threading.Event(), Waker()
    endpoints = [f"ipc://{folder}/{what}" for what in ("blocks", "state", "commands")]
    service = DigitizerService(
        "d",
        driver.from_settings("d", chosen),
        resource=chosen.resource,
        limits=Limits(buffer_s=30.0, buffer_bytes=1e8, silent_after_s=SILENT_AFTER_S),
        endpoints=Endpoints(blocks=endpoints[0], state=endpoints[1], commands=endpoints[2]),
        stop=stop,
        waker=waker,
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield endpoints[0]
    finally:
        stop.set()
        waker.wake()
        thread.join(10)
        assert not thread.is_alive()
        waker.close()


MODELS = ("scheelite-stream", "redpitaya")


@contextmanager
def streams(folder: Path) -> Iterator[tuple[dict[str, Core], dict[str, Wire]]]:
    """A digitizer of each model, and one more that nothing happens to."""
    wires = {name: Wire() for name in (*MODELS, "steady")}
    cores: dict[str, Core] = {}
    with ExitStack() as stack:
        for name, wire in wires.items():
            is_ours = name != "redpitaya"
            face = (
                DigitizerFace(Counter(), pace="clock", memory_s=1.0, stream="night")
                if is_ours
                else RedPitaya(Counter(), pace="clock", memory_s=1.0, header_bytes=57)
            )
            resource = stack.enter_context(served(FaultyFace(face, wire)))
            section: dict[str, object] = {"model": MODELS[not is_ours], "resource": resource}
            section |= {} if is_ours else {"channels": [0, 1], "rate_hz": RATE_HZ}
            (folder / name).mkdir()
            endpoint = stack.enter_context(digitizing(folder / name, section))
            cores[name] = Core(endpoint, numbered=is_ours)
            stack.callback(cores[name].socket.close, 0)
        yield cores, wires


def look(cores: dict[str, Core]) -> None:
    """Wait a little for what comes, and take it."""
    poller = sockets.poller(*(core.socket for core in cores.values()))
    poller.poll(50)
    for core in cores.values():
        core.serve()


def test_every_fault_against_every_stream(runtime):
    recovered: dict[tuple[FaultKind, str], float] = {}
    with streams(runtime) as (cores, wires):
        began = time.monotonic()
        while not all(core.newest > 0 for core in cores.values()):
            look(cores)
            assert time.monotonic() - began < 20.0
        for core in cores.values():
            core.pause_s = 0.0
        for turn in range(len(FaultKind)):
            one_turn(turn, cores, wires, recovered)
    assert {name: core.wrong for name, core in cores.items()} == {name: [] for name in cores}
    assert cores["scheelite-stream"].epochs == cores["steady"].epochs == ["night"]
    assert cores["steady"].pause_s < ON_TIME_S
    assert len(recovered) == len(FaultKind) * len(MODELS)
    write_table(recovered)


def one_turn(
    turn: int,
    cores: dict[str, Core],
    wires: dict[str, Wire],
    recovered: dict[tuple[FaultKind, str], float],
) -> None:
    """A fault on each stream but one, each of another kind, for a while; then they come back."""
    kinds = list(FaultKind)
    failing = {name: kinds[(turn + i) % len(kinds)] for i, name in enumerate(MODELS)}
    for name, kind in failing.items():
        wires[name].order(Fault(kind, LATE_S if kind is FaultKind.LATE else 0.0))
    began = time.monotonic()
    while time.monotonic() - began < STANDS_S:
        look(cores)
    before, ended = cores["steady"].newest, time.monotonic()
    for name in failing:
        wires[name].order(None)
    waiting = set(failing)
    while waiting:
        look(cores)
        for name in [n for n in waiting if cores[n].newest > before]:
            recovered[failing[name], name] = time.monotonic() - ended
            waiting.discard(name)
        assert time.monotonic() - ended < RECOVERED_S, f"{waiting} not back"


def write_table(recovered: dict[tuple[FaultKind, str], float]) -> None:
    """The rows of recovery times, where they are asked for."""
    target = os.environ.get("FAULTS_TABLE")
    if not target:
        return
    with Path(target).open("a") as file:
        for name in MODELS:
            cells = (f"{recovered[kind, name]:.1f}" for kind in FaultKind)
            file.write(f"| {name} | {' | '.join(cells)} |\n")


def test_the_account_finds_what_is_wrong(runtime):
    """So that the test above can fail: a wrong sample, and a loss that nobody told."""
    core = Core(f"ipc://{runtime}/blocks", numbered=True)
    core.expected = core.offset = 0
    good = Counter().samples(0, 10)
    header = BlockHeader(digitizer="d", epoch="e", asked=1, start=0, n_channels=2, n_samples=10)
    core._take(header, good.tobytes())
    assert core.wrong == []
    bad = Counter().samples(10, 20)
    bad[0, 3] += 1
    core._take(
        BlockHeader(digitizer="d", epoch="e", asked=1, start=10, n_channels=2, n_samples=10), bad
    )
    core._take(header, good.tobytes())
    assert core.wrong == ["samples from 10 are not their own", "0, not 20"]
    core.socket.close(0)
