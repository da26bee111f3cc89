"""The log files of a Bluefors refrigerator: a folder per day, to which lines are appended.

As in lines that laboratories have published: the names of folders and files, day-month-year, the
0 before the first key of `Channels`, six fields per gauge and the comma at the end of `maxigauge`,
CRLF, and both ways to write numbers (`2.793549e+01`; older versions `2.793549E+1` with a space
before the line). The keys of `Status` and of `heaters` depend on the refrigerator: some are here.
Not confirmed on a device: whether all files get their lines at the same second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, tzinfo
from pathlib import Path

from sim_hardware.settings import BenchError
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.controller import SENSORS
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import PUMPS, SIX_GAUGES, VALVES, GasHandling

END = "\r\n"
ALWAYS = ("ext",)  # parts without a switch here
EXPONENT = re.compile(r"e([+-])0*(\d+)$")
TURBO = "_3"  # the turbo controller's number, in the keys of Status


class FolderError(BenchError):
    """A folder that cannot be written."""


class BlueforsLogs:
    """The computer that logs; `write` is called often enough, and appends what is due.

    `zone` is that of the written times; None: that of this computer.
    """

    model = "bluefors-logs"

    def __init__(
        self,
        cryostat: Cryostat,
        gas: GasHandling,
        calendar: Calendar,
        *,
        folder: Path,
        every_s: float,
        leading_space: bool = False,
        zone: tzinfo | None = None,
    ) -> None:
        self._cryostat, self._gas = cryostat, gas
        self._calendar, self._zone = calendar, zone
        self.folder, self._every_s, self._older = folder, every_s, leading_space
        self._next_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next line."""
        return max(0.0, self._next_s - now_s)

    def write(self, now_s: float) -> None:
        """Append a line to every file, for each time that has come; FolderError."""
        while self._next_s <= now_s:
            self._append(self._next_s)
            self._next_s += self._every_s

    def _append(self, now_s: float) -> None:
        local = self._calendar.utc(now_s).astimezone(self._zone)
        day = self.folder / f"{local:%y-%m-%d}"
        try:
            day.mkdir(parents=True, exist_ok=True)
            for name, text in self._lines(now_s):
                with (day / f"{name}{local:%y-%m-%d}.log").open("a", newline="") as file:
                    file.write(self._line(local, text))
        except OSError as error:
            raise FolderError(f"{day}: cannot write the logs: {error.strerror}") from error

    def _line(self, local: datetime, text: str) -> str:
        space = " " if self._older else ""
        return f"{space}{local:%d-%m-%y,%H:%M:%S},{text}{END}"

    def _lines(self, now_s: float) -> Iterator[tuple[str, str]]:
        """The beginning of each file's name, and what is appended to it."""
        for channel, sensor in SENSORS.items():
            kelvin = self._cryostat.temperature_k(sensor.stage, now_s)
            yield f"CH{channel} T ", self._number(kelvin)
            yield f"CH{channel} R ", self._number(sensor.thermometer.resistance_ohm(kelvin))
            yield f"CH{channel} P ", self._number(0.0)
        yield "Flowmeter ", f"{self._gas.flow_mmol_s(now_s):.6f}"
        yield "maxigauge ", "".join(self._gauge(n, now_s) for n in range(1, len(SIX_GAUGES) + 1))
        yield "Channels ", ",".join(["0", *self._states(now_s)])
        yield "Status_", ",".join(f"{key},{value:.6e}" for key, value in self._status(now_s))
        yield "heaters ", ",".join(f"{key},{value:.6e}" for key, value in self._heaters(now_s))

    def _gauge(self, number: int, now_s: float) -> str:
        """A gauge that is on, and measures."""
        return f"CH{number},        ,1,{self._gas.pressure_mbar(f'p{number}', now_s):.2e},0,1,"

    def _states(self, now_s: float) -> Iterator[str]:
        for name in (*VALVES, *PUMPS):
            yield f"{name},{int(self._gas.on(name, now_s))}"
        yield from (f"{name},1" for name in ALWAYS)

    def _status(self, now_s: float) -> Iterator[tuple[str, float]]:
        running = float(self._gas.on("pulsetube", now_s))
        yield from {"ctrl_pres_ok": 1.0, "cpastate": 3 * running, "cparun": running}.items()
        yield from {"cpawarn": -0.0, "cpaerr": -0.0, "cpatempwi": 18.6, "cpatempwo": 26.5}.items()
        yield f"tc400actualspd{TURBO}", self._gas.turbo_hz(now_s)
        yield f"tc400pumpstatn{TURBO}", float(self._gas.on("turbo1", now_s))

    def _heaters(self, now_s: float) -> Iterator[tuple[str, float]]:
        yield "a1_u", 0.0
        yield "a2_u", self._cryostat.still_heater_w(now_s)
        yield "htr", self._cryostat.heater_w(now_s)
        yield "htr_range", 0.0

    def _number(self, value: float) -> str:
        text = f"{value:.6e}"
        return EXPONENT.sub(lambda found: f"E{found[1]}{found[2]}", text) if self._older else text
