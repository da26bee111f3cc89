"""`scheelite levels`: the threshold wizard."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def levels(
    config: Annotated[Path, typer.Argument(help="The config whose triggers are to be set.")],
    run: Annotated[
        Path | None, typer.Argument(help="A run of it with random triggers; none with --live.")
    ] = None,
    sigmas: Annotated[float | None, typer.Option(min=1, max=100, help="Of the noise.")] = None,
    noise_hz: Annotated[float | None, typer.Option(help="Allowed noise triggers [1/s].")] = None,
    write: Annotated[bool, typer.Option("--write", help="Into the config; else print.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="By the run in progress, whatever triggers it has.")
    ] = False,
    set_: Annotated[
        bool, typer.Option("--set", help="With --live: in the run, from now on; else print.")
    ] = False,
    disable: Annotated[
        bool, typer.Option("--disable", help="Also disable the channels that are too noisy.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="For machines: JSON.")] = False,
) -> None:
    """Thresholds from measured noise: of a run for its config, or of the run in progress."""
    from rich.console import Console
    from rich.table import Table

    from daq.errors import UsageError
    from daq.services import levels as wizard
    from daq.services.livelevels import live_levels, set_live
    from daq.settings.loader import load

    settings, wanted = load(config), wizard.Wanted(sigmas=sigmas, noise_hz=noise_hz)
    if live == (run is not None) or (set_ and not live) or (write and live):
        raise UsageError(
            "expected a run, with or without --write, or --live, with or without --set"
        )
    found = live_levels(settings, wanted) if run is None else wizard.levels(settings, run, wanted)
    noisy = wizard.hyperactive(found)
    if set_:
        set_live(settings, found, noisy)
    if write:
        wizard.write_levels(settings, found, noisy if disable else [])
    if json_:
        rows = [asdict(one) for one in found]
        told = {"levels": rows, "hyperactive": noisy, "written": write, "set": set_}
        typer.echo(json.dumps(told))
        return
    table = Table(box=None)
    for column in ("channel", "trigger", "sigma", "threshold", "noise /day", ""):
        table.add_column(column)
    for one in found:
        noise = f"{one.noise_hz * 86_400:.3g}"
        note = "hyperactive" if one.hyperactive else ""
        table.add_row(
            one.channel, one.trigger, f"{one.sigma:.2f}", f"{one.threshold:.2f}", noise, note
        )
    console = Console(highlight=False)
    console.print(table)
    if write:
        console.print(f"{config}: written", soft_wrap=True)
    if set_:
        left = f"; left as they are: {', '.join(noisy)}" if noisy else ""
        console.print(f"set in the run{left}", soft_wrap=True)
