"""A bench with a readout chain or some, its instruments and its stream: all over sockets.

What is told between two readings applies from the sample on at which the second one begins.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.source.keysight33500b import Keysight33500b
from drivers.squid.magnicon import BiasRange, Magnicon, Squid
from drivers.temperature.lakeshore372 import Lakeshore372
from sim_hardware.bench import OpenBench
from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.settings import Bench
from sim_hardware.source import Source
from tests.stream_client import read_stream

JOIN_S = 30.0
LSB_V = 20 / 2**16
VOLTS_PER_PHI0 = 30e3 * 40e-6
AMPERES_PER_COUNT = LSB_V / VOLTS_PER_PHI0 * 0.3e-6
QUIET = {
    "excess_per_kg_kev_d": 0.0,
    "flat_per_kg_kev_d": 0.0,
    "beta_per_kg_d": 0.0,
    "surface_per_cm2_d": 0.0,
    "cevns_multiplier": 0.0,
    "muon_rate_hz": 0.0,
    "gamma_rate_hz": 0.0,
    "neutron_rate_hz": 0.0,
}

Volts = npt.NDArray[np.float64]


# Any: the [bench] table
def spec(rate_hz: float, channels: tuple[str, ...] = ("C11",), **changes: Any) -> dict[str, Any]:
    """Chains without particles on one digitizer, two on each electronics, and a generator."""
    n = (len(channels) + 1) // 2
    squids = {f"squids{k}": {"model": "magnicon-xxf1"} for k in range(n)}
    digitizer = {"port": 0, "sample_rate_hz": rate_hz, "channels": list(channels)}
    return {
        "seed": 7,
        "pace": "flat-out",
        "start_utc": "2026-07-01T00:00:00Z",
        "digitizers": {"targets": digitizer},
        "instruments": {
            **squids,
            "pulser": {"model": "keysight33500b"},
            "fridge": {"model": "lakeshore372"},
        },
        "sources": QUIET,
        "wiring": {
            "squids": {c: f"squids{k // 2}:{k % 2 + 1}" for k, c in enumerate(channels)},
            "heater": "pulser:1",
            "bias": "pulser:2",
        },
    } | changes


class Wired:
    """A running bench: its drivers, and its stream from where it was read last."""

    def __init__(self, resources: dict[str, str], settings: Bench) -> None:
        self.resources, self.settings = resources, settings
        self.at = 0
        self._instruments: dict[str, Magnicon | Keysight33500b | Lakeshore372] = {}

    @property
    def rate_hz(self) -> float:
        """Samples per second."""
        return self.settings.digitizers["targets"].sample_rate_hz

    def squid(self, number: int = 1, box: int = 0) -> Squid:
        """The driver's channel of a SQUID."""
        name = f"squids{box}"
        if name not in self._instruments:
            self._instruments[name] = Magnicon(self.resources[name])
        electronics = self._instruments[name]
        assert isinstance(electronics, Magnicon)
        return electronics.squids[number]

    @property
    def pulser(self) -> Keysight33500b:
        """The generator."""
        if "pulser" not in self._instruments:
            self._instruments["pulser"] = Keysight33500b(self.resources["pulser"])
        pulser = self._instruments["pulser"]
        assert isinstance(pulser, Keysight33500b)
        return pulser

    @property
    def fridge(self) -> Lakeshore372:
        """The bridge with the heater of the mixing chamber."""
        if "fridge" not in self._instruments:
            self._instruments["fridge"] = Lakeshore372(self.resources["fridge"])
        fridge = self._instruments["fridge"]
        assert isinstance(fridge, Lakeshore372)
        return fridge

    def bias(self, current_ua: float, number: int = 1) -> float:
        """Set the TES bias; what the electronics then hold, in uA."""
        held = self.squid(number).tes_bias.write({"current": current_ua, "range": BiasRange.UA_125})
        return float(str(held["current"]))

    def counts(self, seconds: float, channel: str = "C11") -> npt.NDArray[np.int64]:
        """The samples of a channel in the next seconds."""
        return self.rows(seconds)[self.settings.digitizers["targets"].channels.index(channel)]

    def rows(self, seconds: float) -> npt.NDArray[np.int64]:
        """The samples of all channels in the next seconds."""
        stop = self.at + round(seconds * self.rate_hz)
        samples = self.again(self.at, stop)
        self.at = stop
        return samples

    def again(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Samples by their numbers."""
        stream = read_stream(self.resources["targets"], start, stop, exactly=True)
        assert not stream.gaps
        return stream.samples.astype(np.int64)

    def close(self) -> None:
        """Leave the instruments."""
        for each in self._instruments.values():
            each.close()


@contextmanager
def unserved(table: dict[str, Any]) -> Iterator[dict[str, Source]]:
    """The digitizers' samples of a bench of this [bench] table that nobody is connected to."""
    opened = OpenBench(Bench.model_validate(table))
    try:
        faces = {each.name: each.face for each in opened.served}
        yield {n: face.source for n, face in faces.items() if isinstance(face, DigitizerFace)}
    finally:
        opened.close()


@contextmanager
def wired(table: dict[str, Any]) -> Iterator[Wired]:
    """A bench of this [bench] table."""
    settings = Bench.model_validate(table)
    opened = OpenBench(settings)
    thread = threading.Thread(target=opened.run)
    thread.start()
    bench = Wired({each.name: each.resource for each in opened.announced}, settings)
    try:
        yield bench
        assert [each.face.complaints for each in opened.served if each.face.complaints] == []
    finally:
        bench.close()
        opened.stop()
        thread.join(JOIN_S)
        assert not thread.is_alive()


def commands(folder: Path) -> list[dict[str, Any]]:
    """The lines of a command log."""
    (path,) = folder.glob("commands-*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]
