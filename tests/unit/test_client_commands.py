"""The Python client does all that the command line does: the two lists are compared."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import typer

import daq.client
from daq.services import cli

# command -> what does it from a notebook; "lab." is a method of Laboratory, "run." of OfRun
CLIENT = {
    "alarms ack": "lab.acknowledge",
    "alarms list": "lab.alarms",
    "alarms quantities": "lab.quantities",
    "alarms silence": "lab.silence",
    "calibrate": "calibrate_file",
    "characterize": "lab.characterize lab.ivs",
    "config check": "check",
    "demo": "simulated_run",
    "doctor": "lab.why",
    "down": "down",
    "filters load": "lab.load_filters",
    "filters show": "read_filters",
    "install-units": "installed_unit",
    "instruments list": "lab.instruments",
    "instruments read": "lab.read lab.readings",
    "instruments watch": "lab.readings",
    "instruments write": "lab.write",
    "keys add": "keys.add_client",
    "keys list": "keys.clients",
    "keys make": "keys.make_system",
    "keys remove": "keys.remove_client",
    "lease release": "lab.release_lease",
    "lease show": "lab.lease",
    "lease take": "lab.take_lease",
    "levels": "thresholds lab.levels",
    "night": "lab.start_night lab.rehearse lab.night lab.stop_night",
    "recover": "recover_run",
    "replay": "replayed",
    "report": "run.report report",
    "run comment": "lab.comment",
    "run label": "lab.label",
    "run pause": "lab.pause",
    "run resume": "lab.resume",
    "run start": "lab.start lab.run",
    "run stop": "lab.stop",
    "runs list": "runs",
    "runs rebuild": "rebuild_catalogue",
    "runs search": "runs",
    "runs show": "runs",
    "show": "run.summary",
    "status": "lab.status",
    "train": "train_file",
    "tune": "lab.tune lab.tune_steps lab.load_tune lab.undo_tune",
    "up": "up",
    "verify": "run.verify verify_all",
}
NOT_FOR_NOTEBOOKS = {
    "gui": "a window of its own",
    "init": "asks questions at a terminal",
    "instruments document": "writes a page of our documentation",
    "physics rate": "sim_hardware.world is imported as it is",
    "physics figures": "sim_hardware.world is imported as it is",
    "physics pictures": "sim_hardware.world is imported as it is",
    "physics table": "sim_hardware.world is imported as it is",
    "physics endpoints": "sim_hardware.world is imported as it is",
    "sim": "up starts the bench of a config",
}


def whole() -> typer.Typer:
    """Our commands and those of the other packages."""
    app = typer.Typer()
    app.add_typer(cli.app)
    for entry in entry_points(group=cli.GROUP):
        found = entry.load()
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=entry.name)
        else:
            app.command(entry.name)(found)
    return app


def names(command: Any, path: str = "") -> Iterator[str]:
    """Every command below this one."""
    if not hasattr(command, "commands"):
        yield path
        return
    for name, below in command.commands.items():
        yield from names(below, f"{path} {name}".strip())


def found(place: str) -> object:
    """What a place of the table names."""
    head, _, name = place.rpartition(".")
    homes: dict[str, object] = {
        "lab": daq.client.Laboratory,
        "run": daq.client.OfRun,
        "keys": daq.client.keys,
        "": daq.client,
    }
    return getattr(homes[head], name)


def test_every_command_can_be_done_from_a_notebook() -> None:
    commands = set(names(typer.main.get_command(whole())))
    assert commands == set(CLIENT) | set(NOT_FOR_NOTEBOOKS)
    for place in " ".join(CLIENT.values()).split():
        what = found(place)
        assert callable(what), place
        assert inspect.getdoc(what), place


def test_every_name_of_the_table_is_exported() -> None:
    plain = {p for each in CLIENT.values() for p in each.split() if "." not in p}
    assert plain <= set(daq.client.__all__)


def test_mistakes_of_a_config_are_a_list(tmp_path: Path) -> None:
    text = Path("config/bench.toml").read_text(encoding="utf-8")
    config = tmp_path / "lab.toml"
    config.write_text(text.replace("[detectors.all]", "[detektors.all]"), encoding="utf-8")
    assert any("detektors: unknown section" in problem for problem in daq.client.check(config))
    assert daq.client.check("config/bench.toml") == []
