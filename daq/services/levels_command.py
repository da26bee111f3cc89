"""`scheelite levels`: the threshold wizard."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def levels(
    config: Annotated[Path, typer.Argument(help="The config whose triggers are to be set.")],
    run: Annotated[Path, typer.Argument(help="A run of it with random triggers.")],
    sigmas: Annotated[float | None, typer.Option(min=1, max=100, help="Of the noise.")] = None,
    noise_hz: Annotated[float | None, typer.Option(help="Allowed noise triggers [1/s].")] = None,
    write: Annotated[bool, typer.Option("--write", help="Into the config; else print.")] = False,
    disable: Annotated[
        bool, typer.Option("--disable", help="Also disable the channels that are too noisy.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="For machines: JSON.")] = False,
) -> None:
    """Thresholds of level and edge triggers from measured noise."""
    from rich.console import Console
    from rich.table import Table

    from daq.services import levels as wizard
    from daq.settings.loader import load
    from daq.settings.writer import replace_text

    settings = load(config)
    found = wizard.levels(settings, run, wizard.Wanted(sigmas=sigmas, noise_hz=noise_hz))
    noisy = wizard.hyperactive(found)
    if write:
        text = wizard.with_levels(settings.text, found, noisy if disable else [])
        replace_text(config, text)
    if json_:
        rows = [asdict(one) for one in found]
        typer.echo(json.dumps({"levels": rows, "hyperactive": noisy, "written": write}))
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
