"""The bench commands: `scheelite instruments ...`, and `scheelite init`.

What commands need is imported when they run, so that `scheelite --help` is quick.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from daq.settings.loader import Settings
    from drivers.access import Access
    from drivers.first_config import Answers
    from drivers.parameter import Reading

app = typer.Typer(
    no_args_is_help=True,
    help="Read and write instruments by hand: through their service where it is up, else with "
    "--config. `list` shows every parameter with its unit and range.",
)

Config = Annotated[
    Path | None, typer.Option("--config", help="Speak to this config's instruments directly.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
Name = Annotated[str, typer.Argument(metavar="INSTRUMENT", help="Its name in the config.")]
Parameter = Annotated[str, typer.Argument(help='Such as setpoint or "input 6.temperature".')]
Parameters = Annotated[
    list[str] | None, typer.Argument(metavar="[PARAMETER]...", help="All where none is given.")
]


@app.command("list")
def list_(
    instrument: Annotated[str | None, typer.Argument(help="One of them alone.")] = None,
    config: Config = None,
    json_: AsJson = False,
) -> None:
    """Instruments with their parameters: unit, range, and whether they can be written."""
    from dataclasses import asdict

    from drivers.access import chosen

    with _access(config) as access:
        found = access.instruments()
    if instrument is not None:
        found = {instrument: chosen("instrument", found, instrument)}
    if json_:
        _print({"instruments": {name: asdict(listed) for name, listed in found.items()}})
    else:
        for name, listed in found.items():
            _show_listed(name, listed)


@app.command()
def read(
    instrument: Name,
    parameters: Parameters = None,
    config: Config = None,
    json_: AsJson = False,
) -> None:
    """Ask an instrument for values, each with its unit and source.

    Without a parameter: all of them; through the service, as it has read them last.
    The source is "read", or "shadow" for what was last written to what cannot be read.
    """
    with _access(config) as access:
        if parameters:
            readings = [r for each in parameters for r in access.read(instrument, each)]
        else:
            readings = _some_value(access.latest(instrument, _names(access, instrument, None)))
        _tell(instrument, readings, json_)


@app.command()
def write(
    instrument: Name,
    parameter: Parameter,
    value: Annotated[
        list[str] | None,
        typer.Argument(
            help="Such as 0.012, MA_1, on; FIELD=VALUE... where there are fields. In the unit and "
            "range that `list` shows; without a value both are said."
        ),
    ] = None,
    config: Config = None,
    json_: AsJson = False,
) -> None:
    """Tell an instrument a value; prints what it then holds.

    A value outside the range is refused before anything is sent. Put -- before negative numbers.
    """
    from drivers.access import chosen
    from drivers.typed_in import value_of

    with _access(config) as access:
        listed = chosen("instrument", access.instruments(), instrument)
        meant = value_of(listed.parameter(parameter), value or [])
        _tell(instrument, access.write(instrument, parameter, meant), json_)


@app.command()
def watch(
    instrument: Name,
    parameters: Parameters = None,
    every: Annotated[float, typer.Option(min=0.05, help="Look this often [s].")] = 1.0,
    count: Annotated[int | None, typer.Option(min=1, help="Look so many times.")] = None,
    config: Config = None,
    json_: AsJson = False,
) -> None:
    """Show values as they change, until Ctrl-C. Through the service: what it reads, not more.

    An instrument that fails is said to, and asked again.
    """
    with _access(config) as access, suppress(KeyboardInterrupt):
        names = _names(access, instrument, parameters)
        for readings in _looks(access, instrument, names, every, count):
            for reading in readings:
                _tell_one(instrument, reading, json_)


@app.command("document", hidden=True)
def document_(out: Annotated[Path, typer.Argument(help="docs/instruments.md")]) -> None:
    """Write the document of all instruments that there are drivers for."""
    from drivers.document import document

    out.write_text(document(), encoding="utf-8")


def init(
    config: Annotated[Path, typer.Argument(help="The file to write.")] = Path("scheelite.toml"),
    resource: Annotated[
        list[str] | None, typer.Option(help="Where an instrument is; is asked who it is.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: defaults everywhere.")] = False,
) -> None:
    """Write the config of a laboratory, by asking you, and the instruments who they are."""
    from daq.errors import UsageError
    from drivers import first_config

    if config.exists():
        raise UsageError(f"{config}: expected a file that is not there yet, found one")
    answers = _answers(resource or [], yes)
    first_config.write(config, answers)
    typer.echo(
        f"{config}: {len(answers.instruments)} instruments; next: docs/howto/first-contact.md"
    )


def _answers(resources: list[str], yes: bool) -> Answers:
    from drivers.first_config import Answers

    name = _asked("Name of the experiment", "lab", yes)
    data_dir = _asked("Folder of the runs", "runs", yes)
    model = _asked("Model of the digitizer", "scheelite-stream", yes)
    place = _asked("Resource of the digitizer", "tcp://127.0.0.1:5601", yes)
    channels = _asked("Names of its inputs in use, between commas", "C1", yes)
    return Answers(
        name=name,
        data_dir=data_dir,
        digitizer=(model, place),
        channels=tuple(each.strip() for each in channels.split(",")),
        instruments=_instruments(resources, yes),
    )


def _instruments(resources: list[str], yes: bool) -> dict[str, tuple[str, str]]:
    """Those at the given resources, then those at what is typed, until nothing is."""
    from drivers.first_config import name_for

    instruments: dict[str, tuple[str, str]] = {}
    for resource in _places(resources, yes):
        model = _model(resource, yes)
        name = _asked("Name of the instrument", name_for(model, instruments), yes)
        instruments[name] = (model, resource)
    return instruments


def _places(resources: list[str], yes: bool) -> Iterator[str]:
    yield from resources
    while place := _asked("Resource of an instrument; none: no more", "", yes):
        yield place


def _model(resource: str, yes: bool) -> str:
    """What is at a resource; with `yes` it must have said so itself."""
    from daq.errors import UsageError
    from drivers.first_config import probe

    found = probe(resource)
    typer.echo(f"{resource}: {found.said}")
    if yes and not found.certain:
        raise UsageError(
            f"{resource}: expected an instrument that says its model, which may be one of "
            f"{', '.join(found.models)}; run without --yes to choose"
        )
    return _asked(f"Its model ({', '.join(found.models)})", found.models[0], yes)


def _asked(what: str, default: str, yes: bool) -> str:
    return default if yes else str(typer.prompt(what, default=default, show_default=bool(default)))


def _looks(
    access: Access, instrument: str, names: list[str], every_s: float, count: int | None
) -> Iterator[list[Reading]]:
    """What is new at each look; looks are at fixed times."""
    seen: dict[str, int] = {}
    start, done = time.monotonic(), 0
    while True:
        readings = access.latest(instrument, names)
        yield [reading for reading in readings if seen.get(reading.name) != reading.t_ns]
        seen.update({reading.name: reading.t_ns for reading in readings})
        done += 1
        if done == count:
            return
        time.sleep(max(0.0, start + done * every_s - time.monotonic()))


@contextmanager
def _access(config: Path | None) -> Iterator[Access]:
    from drivers.access import access_to

    with ExitStack() as on_exit:
        yield access_to(*_settings(config), on_exit)


def _settings(config: Path | None) -> tuple[Settings | None, bool]:
    """The config to use, and whether its services are up."""
    from daq.errors import RefusedError
    from daq.services import system
    from daq.settings.loader import load

    try:
        up = system.settings_of_what_is_up()
    except RefusedError:
        return (load(config) if config else None), False
    if config is None or config.absolute() == up.path.absolute():
        return up, True
    return load(config), False


def _names(access: Access, instrument: str, parameters: list[str] | None) -> list[str]:
    """The parameters that are asked for, which must exist; all where none is."""
    from drivers.access import chosen

    listed = chosen("instrument", access.instruments(), instrument)
    if not parameters:
        return [each.name for each in listed.parameters]
    return [listed.parameter(name).name for name in parameters]


def _some_value(readings: list[Reading]) -> list[Reading]:
    """The readings; InstrumentError where not a single one has a value."""
    from daq.errors import InstrumentError

    if readings and all(reading.source == "error" for reading in readings):
        raise InstrumentError(readings[0].text)
    return readings


def _row(instrument: str, reading: Reading) -> dict[str, object]:
    row: dict[str, object] = {
        "instrument": instrument,
        "parameter": reading.name,
        "value": reading.value,
        "unit": reading.unit,
        "source": reading.source,
        "t_ns": reading.t_ns,
    }
    return row | ({"text": reading.text} if reading.source == "error" else {})


def _tell(instrument: str, readings: Iterable[Reading], json_: bool) -> None:
    """A line each: words, or one JSON object."""
    for reading in readings:
        _tell_one(instrument, reading, json_)


def _tell_one(instrument: str, reading: Reading, json_: bool) -> None:
    if json_:
        _print(_row(instrument, reading))
        return
    held = reading.text if reading.value is None else f"{_shown(reading.value)} {reading.unit}"
    notes = [reading.source] if reading.source != "read" else []
    notes += ["stale"] if reading.stale else []
    ending = f"  ({', '.join(notes)})" if notes else ""
    typer.echo(f"{instrument}.{reading.name} = {held.rstrip()}{ending}")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.7g}" if isinstance(value, float) else str(value)


# Any: drivers.access.Listed, which is imported only where instruments are listed
def _show_listed(name: str, listed: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from drivers.describe import access, allowed, collapsed

    table = Table(title=f"{name}: {listed.model} at {listed.resource}", title_justify="left")
    for heading in ("parameter", "unit and range", "", "what it is"):
        table.add_column(heading, overflow="fold")
    for each in collapsed(listed.parameters):
        table.add_row(each.name, allowed(each.datatype), access(each), each.title)
    Console(highlight=False, markup=False).print(table)


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
