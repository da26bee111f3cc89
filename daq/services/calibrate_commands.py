"""`scheelite calibrate`: energies from lines and heater pulses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

LADDER_HELP = "Energies of the heater's pulses, with commas [eV]."


def calibrate(
    runs: Annotated[list[Path], typer.Argument(help="Runs with pulses of known energy.")],
    out: Annotated[Path, typer.Option(help="The calibration; other times in it are kept.")],
    line: Annotated[list[float] | None, typer.Option(help="Energy of a line [eV].")] = None,
    heater: Annotated[str, typer.Option(help=LADDER_HELP)] = "",
    channel: Annotated[str | None, typer.Option(help="This one alone; default: all.")] = None,
    bin_counts: Annotated[float | None, typer.Option(min=1e-3, help="Histogram bins.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="For machines: JSON.")] = False,
) -> None:
    """Curves from pulse heights to energies, valid from the first run on."""
    from rich.console import Console

    from daq.services.calibrate import Known, calibrate_file

    known = Known(lines_ev=line or [], heater_ev=_ladder(heater), bin_counts=bin_counts)
    found = calibrate_file(runs, out, known, channel=channel)
    if json_:
        curves = {
            one.channel: {"counts_per_ev": c.counts_per_ev, "chi2": c.chi2, "ndf": c.ndf}
            for one in found
            if (c := one.curve) is not None
        }
        left = {one.channel: one.problem for one in found if one.curve is None}
        typer.echo(json.dumps({"file": str(out), "curves": curves, "left_out": left}))
        return
    console = Console(highlight=False)
    for one in found:
        if one.curve is None:
            console.print(f"left out: {one.channel}: {one.problem}", soft_wrap=True)
            continue
        c = one.curve
        console.print(
            f"{one.channel}: {c.counts_per_ev:.4g} counts per eV, chi2 {c.chi2:.2f} of {c.ndf}"
        )
        for p in c.points:
            console.print(
                f"  {p.energy_ev:g} eV: {p.counts:.2f} +- {p.sigma_counts:.2f} counts ({p.n})"
            )


def _ladder(text: str) -> list[float]:
    from daq.errors import UsageError

    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(f"expected energies such as 20,100,500, found {text!r}") from error
