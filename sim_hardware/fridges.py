"""The refrigerators of a bench: their faces, on one cryostat, controller and gas handling."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from sim_hardware.face import Face
from sim_hardware.faces.bftc import Bftc
from sim_hardware.faces.bluefors_api import BlueforsApi
from sim_hardware.faces.bluefors_logs import BlueforsLogs
from sim_hardware.faces.bluefors_valves import BlueforsValves
from sim_hardware.faces.ghs import Ghs
from sim_hardware.faces.leiden_bridge import LeidenBridge
from sim_hardware.faces.triton import Triton
from sim_hardware.http import self_signed
from sim_hardware.settings import BenchInstrument
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.controller import TemperatureController
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import GasHandling


class Fridges:
    """What all refrigerators of a bench share: whatever they are called, it is the same one."""

    def __init__(self, cryostat: Cryostat, *, seed: int, start_ns: int) -> None:
        self.cryostat, self._seed = cryostat, seed
        self._controller, self._gas = TemperatureController(cryostat), GasHandling(cryostat)
        self._calendar = Calendar(start_ns)
        self._faces: dict[str, Callable[[BenchInstrument], Face]] = {
            Triton.model: self._triton,
            BlueforsApi.model: self._bluefors_api,
            BlueforsValves.model: lambda _: BlueforsValves(self._gas),
            Bftc.model: self._bftc,
            LeidenBridge.model: lambda _: LeidenBridge(cryostat, self._gas),
            Ghs.model: lambda _: Ghs(self._gas),
        }

    def face(self, instrument: BenchInstrument) -> Face | None:
        """The face of a refrigerator with a wire; None where it is no refrigerator."""
        make = self._faces.get(instrument.model)
        return None if make is None else make(instrument)

    def logs(self, instrument: BenchInstrument) -> BlueforsLogs | None:
        """A refrigerator that writes files; None where it is none."""
        if instrument.folder is None:
            return None
        return BlueforsLogs(
            self.cryostat,
            self._gas,
            self._calendar,
            folder=Path(instrument.folder),
            every_s=instrument.every_s,
            leading_space=instrument.leading_space,
        )

    def _triton(self, instrument: BenchInstrument) -> Triton:
        return Triton(
            self.cryostat,
            self._gas,
            self._calendar,
            rng=random.Random(self._seed),
            wrong_share=instrument.wrong_share,
            stuck_share=instrument.stuck_share,
        )

    def _bluefors_api(self, instrument: BenchInstrument) -> BlueforsApi:
        tls = self_signed() if instrument.tls else None
        return BlueforsApi(self._controller, self._gas, self._calendar, tls=tls, key=instrument.key)

    def _bftc(self, instrument: BenchInstrument) -> Bftc:
        return Bftc(self._controller, self._calendar, null_share=instrument.null_share)
