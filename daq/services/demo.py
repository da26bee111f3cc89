"""`scheelite demo`: the whole system for a short run on a simulated bench of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import tomlkit
from rich.console import Console
from rich.table import Table

import daq
from daq.errors import UsageError
from daq.services import system
from daq.services.bench import keep_truth, simulator
from daq.services.private import private_runtime
from daq.services.take import Outcome, take_run
from daq.settings.loader import Settings, load


def default_config() -> Path:
    """The default bench: of the checkout, or the copy that a wheel carries."""
    homes = (Path(daq.__file__).parent.parent, Path(sys.prefix) / "share" / "scheelite")
    for home in homes:
        if (home / "config" / "bench.toml").exists():
            return home / "config" / "bench.toml"
    raise UsageError(f"{homes[0]}: expected config/bench.toml; name a config with --config")


def demo(config: Path | None, seconds: float, out: Path, console: Console) -> Outcome:
    """Bring a bench and all services up, record `seconds`, take them down, verify, report."""
    given = load(config or default_config())
    spec = bench_of(given)
    keep_truth(spec, out.absolute())
    with private_runtime() as folder, simulator("bench", spec, folder / "bench.log") as told:
        path = folder / "demo.toml"
        path.write_text(connected(given, told, out.absolute()), encoding="utf-8")
        settings = load(path)
        console.print(f"bench: {len(told)} simulated instruments; starting the services")
        with system.running(settings):
            comment = f"demo, simulated bench of seed {spec['seed']}"
            outcome = take_run(settings, seconds, seconds, comment, console)
    _tell(outcome, console)
    return outcome


# Any: the bench's section is JSON to us; sim_hardware checks it
def bench_of(settings: Settings) -> dict[str, Any]:
    """The [bench] of a config on ports that the system chooses."""
    section = settings.sections.get("bench")
    if section is None:
        raise UsageError(f"{settings.path} has no [bench] to simulate")
    spec = section.model_dump(mode="json")
    for part in ("digitizers", "instruments"):
        for entry in spec[part].values():
            entry["port"] = 0
    return spec


def connected(settings: Settings, told: list[dict[str, Any]], out: Path) -> str:
    """The config's text with the resources that a bench announced, and without the bench."""
    document: Any = tomlkit.parse(settings.text)  # Any: tomlkit's tables are typed as unions
    document["experiment"]["data_dir"] = str(out)
    _name_files_in_full(document, settings.path.absolute().parent)
    document.pop("bench", None)
    for instrument in told:
        for part in ("digitizers", "instruments"):
            if instrument["name"] in document.get(part, {}):
                document[part][instrument["name"]]["resource"] = instrument["resource"]
    return tomlkit.dumps(document)


# Any: tomlkit's tables are typed as unions
def _name_files_in_full(document: Any, home: Path) -> None:
    """What lies beside the config does not lie beside the one that is made of it."""
    named = [(document["experiment"], "calibration")]
    for kind in document["kinds"].values():
        named += [(kind.get("salting", {}), key) for key in ("filters", "calibration")]
    for table, key in named:
        if table.get(key):
            table[key] = str(home / table[key])


def _tell(outcome: Outcome, console: Console) -> None:
    table = Table(title=f"{outcome.run.name}: {outcome.seconds:g} s", title_justify="left")
    for column in ("channel", "records", "rate /s", "live s", "live %"):
        table.add_column(column, justify="left" if column == "channel" else "right")
    for name, n in outcome.records.items():
        live = outcome.livetime_s[name]
        rate = n / live if live else 0.0
        share = 100 * live / outcome.seconds if outcome.seconds else 0.0
        table.add_row(name, str(n), f"{rate:.2f}", f"{live:.2f}", f"{share:.1f}")
    console.print(table)
    console.print(
        f"gaps: {outcome.gaps}    verified: {'whole' if outcome.failure is None else 'NO'}"
    )
    console.print(f"run: {outcome.run}", soft_wrap=True)
    console.print(f"report: {outcome.report}", soft_wrap=True)
