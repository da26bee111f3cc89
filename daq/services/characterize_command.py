"""`scheelite characterize`: the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def characterize(
    config: Annotated[Path, typer.Argument(help="The config; what is not up is brought up.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="One of [detectors]; several for IVs alone.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="IVs of all of [detectors], at once.")
    ] = False,
    heater_fw: Annotated[float, typer.Option(help="Heater during dI/dV and noise [fW].")] = 0.0,
    bias_ua: Annotated[
        list[float] | None, typer.Option(help="dI/dV and noise here; several.")
    ] = None,
    bath_mk: Annotated[
        list[float] | None, typer.Option(help="IVs at these baths; several.")
    ] = None,
    map_ua: Annotated[list[float] | None, typer.Option(help="Biases of the search.")] = None,
    map_fw: Annotated[
        list[float] | None, typer.Option(help="Heater's powers of the search.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(min=1e-3, help="Of a simulated bench: its seconds per second."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="For machines: JSON, SI units.")] = False,
) -> None:
    """What a TES is: IV; if asked for also dI/dV and noise, Tc and G, the best working point.

    Its SQUID must be tuned. Everything is left as it was. Exits 1 where one of several failed.
    """
    from daq.errors import UsageError
    from daq.services import characterize
    from daq.services.tune_commands import progress
    from daq.settings.loader import load

    if bool(map_ua) != bool(map_fw):
        raise UsageError("expected --map-ua and --map-fw together, found one of them")
    names, scaled = channel or [], characterize.scaled
    if bool(names) == all_:
        raise UsageError("expected either --channel NAME or --all")
    wanted = characterize.Wanted(
        heater_w=heater_fw * 1e-15,
        biases_a=scaled(bias_ua, 1e-6),
        baths_k=scaled(bath_mk, 1e-3),
        map_a=scaled(map_ua, 1e-6),
        map_w=scaled(map_fw, 1e-15),
    )
    if all_ or len(names) > 1:
        if wanted != characterize.Wanted():
            raise UsageError("expected one --channel for more than an IV, found several")
        with progress(quiet=json_) as watch:
            several = characterize.ivs(load(config), names, watch, speed=speed)
        _tell_several(several, json_)
        return
    with progress(quiet=json_) as watch:
        found = characterize.measure(load(config), names[0], wanted, watch, speed=speed)
    if json_:
        typer.echo(json.dumps(characterize.as_json(names[0], found)))
        return
    for line in characterize.lines(names[0], found):
        typer.echo(line)


def _tell_several(found: dict[str, Any], json_: bool) -> None:  # Any: numpy for --help
    from daq.errors import CheckError
    from daq.services import characterize

    if json_:
        typer.echo(json.dumps(characterize.several_as_json(found)))
    else:
        for name, each in found.items():
            for line in characterize.lines(name, each.result) if each.result else []:
                typer.echo(line)
    problems = [f"{name}: {each.error}" for name, each in found.items() if each.error]
    if problems:
        raise CheckError("\n".join(problems))
