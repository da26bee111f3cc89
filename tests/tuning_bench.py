"""A detuned bench with the services that tuning needs, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomlkit

from daq.services import system
from daq.services.bench import simulator
from daq.settings.loader import Settings, load
from tests.wired_bench import spec

DEADLINE_S = 120.0
MEMORY_S = 600.0  # a machine that is busy elsewhere makes samples late, not lost
NINE = tuple(f"C{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3))
KIND = {"record_length": 1024, "pretrigger": 256, "triggers": []}


@contextmanager
def tuning_bench(
    folder: Path,
    channels: Sequence[str],
    *,
    rate_hz: float = 20e3,
    speed: float = 1.0,
    model: str = "magnicon-xxf1",
    more: str = "",
    feedback_ohm: float = 30e3,
    detectors: Mapping[str, object] = {},
    **changes: Any,  # of the [bench] table
) -> Iterator[Settings]:
    """Nothing biased, every loop open; `more` is text for the config.

    `detectors` is more for all of them there; what is None is left out.
    """
    table = spec(rate_hz, tuple(channels), pace="clock", initial="detuned") | changes
    table["speed"] = speed
    table["digitizers"]["targets"]["memory_s"] = MEMORY_S
    for name, instrument in table["instruments"].items():
        if name.startswith("squids"):
            instrument["model"] = model
    folder.mkdir(parents=True, exist_ok=True)
    with simulator("bench", table, folder / "bench.log") as told:
        path = folder / "bench.toml"
        common = {"feedback_ohm": feedback_ohm, "load_ohm": 23e-3, **detectors}
        path.write_text(_config(table, told, folder, common) + more, encoding="utf-8")
        settings = load(path)
        with system.running(settings):
            system.wait_until_streaming(settings, DEADLINE_S)
            yield settings


def _config(
    table: dict[str, Any], told: list[dict[str, Any]], folder: Path, wanted: Mapping[str, object]
) -> str:
    at = {each["name"]: each["resource"] for each in told}
    channels = table["digitizers"]["targets"]["channels"]
    instruments = {
        name: {"model": entry["model"], "resource": at[name], "poll_s": 5.0}
        for name, entry in table["instruments"].items()
    }
    common: dict[str, Any] = {}
    if "pulser" in instruments:
        common |= {"bias": "pulser:2", "heater": "pulser:1"}
    if "fridge" in instruments:
        instruments["fridge"]["channels"] = [6]
        common |= {"thermometer": "fridge:input 6.temperature", "setpoint": "fridge:setpoint"}
    document = {
        "experiment": {"name": "tuning", "data_dir": str(folder / "runs")},
        "digitizers": {"targets": {"model": "scheelite-stream", "resource": at["targets"]}},
        "kinds": {"target": KIND},
        "channels": {
            name: {"kind": "target", "digitizer": "targets", "input": i, "mass_g": 0.75}
            for i, name in enumerate(channels)
        },
        "instruments": instruments,
        "detectors": {"all": {n: v for n, v in (common | wanted).items() if v is not None}}
        | {name: {"squid": plug} for name, plug in table["wiring"]["squids"].items()},
    }
    return tomlkit.dumps(document)
