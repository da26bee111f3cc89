"""The commands that show the world's physics: crystals, neutrinos, the sensor and its SQUID.

What needs numpy is imported when a command runs, so that `scheelite --help` is quick.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from sim_hardware.world.materials import MATERIALS, Crystal, material
from sim_hardware.world.nuclides import RECOIL_NUCLIDES, Nuclide, max_recoil_ev
from sim_hardware.world.physical import UnphysicalError

UNUSABLE = 2  # exit code
ENERGIES_EV = (20, 100)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What the simulated world computes: temperature rises, neutrino rates, the sensor.",
)

AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


@app.command()
def table(
    material_: Annotated[
        str | None, typer.Option("--material", help=f"One of {', '.join(MATERIALS)}.")
    ] = None,
    mass_g: Annotated[float | None, typer.Option(help="One mass [g].")] = None,
    t_mk: Annotated[float, typer.Option(help="Temperature before the energy [mK].")] = 10.0,
    n_atoms: Annotated[
        int, typer.Option(help="Atoms per formula unit; the proposal counts 1.")
    ] = 1,
    exact: Annotated[
        bool, typer.Option("--exact", help="Let C grow as T³ on the way, not E/C.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """Heat capacities of crystals, and how far 20 and 100 eV warm them."""
    try:
        rows = [row(each, t_mk=t_mk, exact=exact) for each in _crystals(material_, mass_g, n_atoms)]
    except UnphysicalError as error:
        _refuse(error)
    typer.echo(json.dumps(rows, indent=1) if json_ else _table(rows))


@app.command()
def rate(
    power_gw: Annotated[float, typer.Option(help="Thermal power of the reactor [GW].")] = 4.6,
    distance_m: Annotated[float, typer.Option(help="From the core's center [m].")] = 30.0,
    threshold_ev: Annotated[float, typer.Option(help="Least recoil that is seen [eV].")] = 10.0,
    mass_g: Annotated[float, typer.Option(help="Mass of the target [g].")] = 1.0,
    target: Annotated[str, typer.Option(help=f"One of {', '.join(MATERIALS)}.")] = "CaWO4",
    model: Annotated[str, typer.Option(help="One of best, proposal, fitted.")] = "best",
    json_: AsJson = False,
) -> None:
    """Neutrino recoils a day above a threshold, by element, with all that is assumed."""
    from sim_hardware.world.neutrinos import rate as rate_per_day
    from sim_hardware.world.neutrinos import rate_model
    from sim_hardware.world.reactor import Reactor

    try:
        chosen = rate_model(model)
        reactor = Reactor(power_gw=power_gw, distance_m=distance_m)
        found = rate_per_day(
            chosen, reactor, material(target), mass_g=mass_g, threshold_ev=threshold_ev
        )
    except UnphysicalError as error:
        _refuse(error)
    said = {
        "per_day": found.per_day,
        "by_element": found.by_element,
        "assumptions": chosen.assumptions(),
    }
    typer.echo(json.dumps(said, indent=1) if json_ else _rate(said))


@app.command()
def endpoints(
    neutrino_mev: Annotated[float, typer.Option(help="Energy of the neutrino [MeV].")] = 3.0,
    json_: AsJson = False,
) -> None:
    """The largest recoils that a neutrino can give to the proposal's nuclei."""
    try:
        rows = [_endpoint(name, each, neutrino_mev) for name, each in RECOIL_NUCLIDES.items()]
    except UnphysicalError as error:
        _refuse(error)
    typer.echo(json.dumps(rows, indent=1) if json_ else _endpoints(rows))


@app.command("figures")
def figures_() -> None:
    """The figures of docs/physics.md, as Markdown."""
    from sim_hardware.physics_figures import figures

    typer.echo(figures())


@app.command("pictures")
def pictures_(
    folder: Annotated[Path, typer.Argument(help="Where to write them; made if missing.")],
) -> None:
    """The pictures of docs/physics.md, as PNG: IV, V-phi, noise budget, pulses."""
    from sim_hardware.detector_pictures import write_pictures

    try:
        written = write_pictures(folder)
    except OSError as error:
        found = f"{error.filename}: {error.strerror}"
        _refuse(f"folder: expected one that can be written, found {found}")
    for path in written:
        typer.echo(path)


def row(crystal: Crystal, *, t_mk: float, exact: bool) -> dict[str, Any]:
    """A line of the table as JSON takes it. Any: JSON."""
    t_k = t_mk * 1e-3
    rise_k = crystal.exact_rise_k if exact else crystal.linear_rise_k
    return {
        "material": crystal.material.name,
        "mass_g": crystal.mass_g,
        "t_mk": t_mk,
        "c_j_per_k": crystal.heat_capacity_j_per_k(t_k),
        "dt_uk": {str(energy): 1e6 * rise_k(energy, t_k) for energy in ENERGIES_EV},
    }


def _endpoint(name: str, nuclide: Nuclide, neutrino_mev: float) -> dict[str, str | float]:
    return {
        "nuclide": name,
        "nuclear_mass_mev": nuclide.nuclear_mass_mev,
        "neutrino_mev": neutrino_mev,
        "recoil_ev": max_recoil_ev(neutrino_mev, nuclide.nuclear_mass_mev),
    }


def _endpoints(rows: list[dict[str, str | float]]) -> str:
    lines = [
        f"{each['nuclide']:<6} {each['nuclear_mass_mev']:>13.2f} {each['recoil_ev']:>12.2f}"
        for each in rows
    ]
    return "\n".join([f"{'':<6} {'nucleus [MeV]':>13} {'recoil [eV]':>12}", *lines])


def _crystals(name: str | None, mass_g: float | None, n_atoms: int) -> list[Crystal]:
    """Those asked for; without a name all materials, without a mass those of the tables."""
    from sim_hardware.physics_figures import masses_g

    materials = MATERIALS.values() if name is None else [material(name)]
    return [
        Crystal(material=each, mass_g=mass, n_atoms=n_atoms)
        for each in materials
        for mass in (masses_g(each.name) if mass_g is None else (mass_g,))
    ]


def _table(rows: list[dict[str, Any]]) -> str:
    head = f"{'':<6} {'g':>6} {'mK':>6} {'C [J/K]':>11}"
    lines = [head + "".join(f"{f'{energy} eV [µK]':>14}" for energy in ENERGIES_EV)]
    for each in rows:
        start = f"{each['material']:<6} {each['mass_g']:>6g} {each['t_mk']:>6g} "
        rises = "".join(f"{rise:>14.2f}" for rise in each["dt_uk"].values())
        lines.append(f"{start}{each['c_j_per_k']:>11.3e}{rises}")
    return "\n".join(lines)


def _rate(said: dict[str, Any]) -> str:
    parts = ", ".join(f"{name} {value:.4g}" for name, value in said["by_element"].items())
    assumed = "\n".join(f"  - {each}" for each in said["assumptions"])
    return f"{said['per_day']:.4g} per day ({parts})\nassuming\n{assumed}"


def _refuse(reason: UnphysicalError | str) -> NoReturn:
    typer.echo(f"scheelite: {reason}", err=True)
    raise typer.Exit(UNUSABLE) from None


if __name__ == "__main__":
    app()
