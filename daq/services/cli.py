"""The command line. Commands import what they need when they run, so that --help is quick.

Exit codes: 0 done, 1 failed check, 2 usage or config, 3 instrument, 4 storage.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from daq.errors import ScheeliteError
from daq.services import (
    alarm_commands,
    calibrate_commands,
    characterize_command,
    filter_commands,
    levels_command,
    mark_commands,
    night_commands,
    report_command,
    runs_commands,
    tune_commands,
)
from daq.services.ours import check_packages_are_ours

GROUP = "scheelite.commands"
STREAMING_S = 10.0  # how long `run start` waits for digitizers that are just being connected

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # rich would take "[s]" for a style, and show no unit
    help="Scheelite: the readout of a mK detector, from the SQUID to the file.",
)
run_app = typer.Typer(no_args_is_help=True, help="Begin and end runs.")
lease_app = typer.Typer(no_args_is_help=True, help="Who commands: one at a time.")
keys_app = typer.Typer(no_args_is_help=True, help="Keys for sockets beyond this machine.")
config_app = typer.Typer(no_args_is_help=True, help="Check configs.")
app.add_typer(run_app, name="run")
app.add_typer(lease_app, name="lease")
app.add_typer(keys_app, name="keys")
app.add_typer(config_app, name="config")
app.add_typer(filter_commands.app, name="filters")
app.add_typer(alarm_commands.app, name="alarms")
app.add_typer(runs_commands.app, name="runs")
run_app.command("pause")(mark_commands.pause)
run_app.command("resume")(mark_commands.resume)
run_app.command("comment")(mark_commands.comment)
run_app.command("label")(mark_commands.label)
app.command("night")(night_commands.night)
app.command("report")(report_command.report)
app.command("train")(filter_commands.train)
app.command("levels")(levels_command.levels)
app.command("calibrate")(calibrate_commands.calibrate)
app.command("tune")(tune_commands.tune)
app.command("characterize")(characterize_command.characterize)

Config = Annotated[Path, typer.Argument(help="A config such as config/bench.toml.")]
ConfigOrUp = Annotated[Path | None, typer.Argument(help="A config; default: the one that is up.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
Out = Annotated[Path, typer.Option(help="Folder of the run folders.")]


def main() -> None:
    """The entry point: an error of ours is one sentence on standard error and its exit code."""
    try:
        check_packages_are_ours()
        for entry in entry_points(group=GROUP):
            _mount(entry.name, entry.load())
        app()
    except ScheeliteError as error:
        sys.stderr.write(f"scheelite: {error}\n")
        raise SystemExit(error.exit_code) from error


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of the run [s].")] = 20.0,
    out: Out = Path("runs"),
    config: Annotated[Path | None, typer.Option(help="Another simulated bench.")] = None,
    json_: AsJson = False,
) -> None:
    """A short run on the simulated bench: bring it up, record, verify, report."""
    from daq.services.demo import demo as act

    result = act(config, seconds, out, _console(quiet=json_))
    if json_:
        _print_json(result.json())
    result.check()


@app.command()
def replay(
    files: Annotated[
        list[Path], typer.Argument(help="LJH files, each a channel; or one run with raw streams.")
    ],
    out: Out = Path("runs"),
    noise: Annotated[list[Path] | None, typer.Option(help="A noise file for each file.")] = None,
    rate: Annotated[float | None, typer.Option(min=1e-3, help="Records per second.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise between records.")] = 1,
    json_: AsJson = False,
) -> None:
    """Recorded pulses, or a run's raw streams, once more through the pipeline to a run of its own.

    LJH pulses come from a replaying digitizer through the real sockets. Raw streams are fed to the
    pipeline with the run's own settings; it exits 1 where anything comes out differently.
    """
    if any(path.is_dir() or path.suffix == ".h5" for path in files):
        _replay_run(files, bool(noise or rate), out, json_)
        return
    from daq.services.replay import replay as act

    result = act(files, noise or [], rate, seed, out, _console(quiet=json_))
    if json_:
        _print_json(result.json())
    result.check()


@app.command()
def sim(
    config: Config,
    commands: Annotated[
        Path | None,
        typer.Option(help="A command log of this bench: its digitizers give the same samples."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """The simulated bench of a config alone, until Ctrl-C."""
    from daq.services.bench import run_bench

    raise SystemExit(run_bench(_load(config), json_, commands))


@app.command()
def up(config: Config, json_: AsJson = False) -> None:
    """Start all services of a config in the background (and its bench, where it has one)."""
    from daq.services import system

    system.up(_load(config))
    _tell_status(json_)


@app.command()
def down(json_: AsJson = False) -> None:
    """End everything that `up` started; a run in progress is ended cleanly first."""
    from daq.services import system

    ended = system.down()
    if json_:
        _print_json({"ended": ended})
    else:
        _console().print(f"ended: {', '.join(ended)}")


@app.command()
def status(json_: AsJson = False) -> None:
    """What is up, and what it is doing."""
    _tell_status(json_)


@app.command()
def doctor(config: ConfigOrUp = None, json_: AsJson = False) -> None:
    """Why there are no data: the first broken link of the chain. Exits 1 where one is."""
    from daq.services import doctor as examine
    from daq.services import system
    from daq.services.inspect import findings_table

    findings = examine.diagnose(_load(config) if config else system.settings_of_what_is_up())
    if json_:
        _print_json(examine.as_json(findings))
    else:
        _console().print(findings_table(findings))
    raise SystemExit(1 if examine.first_broken(findings) else 0)


@app.command("install-units")
def install_units(
    config: Config,
    user: Annotated[bool, typer.Option("--user", help="For this user, not the machine.")] = False,
    into: Annotated[Path | None, typer.Option(help="Another folder than systemd's.")] = None,
    json_: AsJson = False,
) -> None:
    """Let systemd start the services of a config, and again whatever happens."""
    from daq.services import units

    settings = _load(config)
    path = units.install(settings, into or units.unit_folder(user=user), user=user)
    if json_:
        _print_json({"unit": str(path)})
    else:
        control = "systemctl --user" if user else "systemctl"
        _console().print(f"{path}\n{control} daemon-reload", soft_wrap=True)
        _console().print(f"{control} enable --now {path.name}", soft_wrap=True)


@run_app.command("start")
def run_start(
    comment: Annotated[str, typer.Option(help="Goes into the file.")] = "",
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End by itself [s].")] = None,
    label: Annotated[str | None, typer.Option(help="A, B, C or ignore: as `run label`.")] = None,
    json_: AsJson = False,
) -> None:
    """Begin a run."""
    from daq.services import system

    settings = system.settings_of_what_is_up()
    system.wait_until_streaming(settings, STREAMING_S)
    started = system.start_run(settings, comment=comment, duration_s=seconds, label=label)
    _tell_run(started["run"], "is being recorded", json_)


@run_app.command("stop")
def run_stop(json_: AsJson = False) -> None:
    """End the run, and wait until it is complete on disk."""
    from daq.services import system

    stopped = system.stop_run(system.settings_of_what_is_up(), "stopped by the operator")
    _tell_run(stopped["run"], "is complete", json_)


@lease_app.command("take")
def lease_take(
    hours: Annotated[float, typer.Option(min=0.001, max=24, help="For how long.")] = 1.0,
    over: Annotated[str, typer.Option(help="Why, where another holds it: it is taken over.")] = "",
    json_: AsJson = False,
) -> None:
    """Command alone: others are refused until it is given back or runs out."""
    from daq.services import system

    _tell_lease(system.take_lease(hours * 3600, over), json_)


@lease_app.command("release")
def lease_release(json_: AsJson = False) -> None:
    """Give it back."""
    from daq.services import system

    system.release_lease()
    _tell_lease(None, json_)


@lease_app.command("show")
def lease_show(json_: AsJson = False) -> None:
    """Who holds it."""
    from daq.services import system

    _tell_lease(system.lease(), json_)


KeyFolder = Annotated[Path, typer.Option("--folder", help="Folder of the keys.")]
KEY_FOLDER = Path("~/.config/scheelite/keys").expanduser()


@keys_app.command("make")
def keys_make(folder: KeyFolder = KEY_FOLDER) -> None:
    """The services' own keys."""
    from daq.wire import keys

    secret = keys.make_system(folder)
    _console().print(f'{secret}\nin the config:\n[security]\nkeys = "{folder}"', soft_wrap=True)


@keys_app.command("add")
def keys_add(name: str, folder: KeyFolder = KEY_FOLDER) -> None:
    """Let a client in; the services know it from their next start on."""
    from daq.wire import keys

    carried = keys.add_client(folder, name)
    _console().print(f"carry {carried} to {name}'s machine, then delete it here", soft_wrap=True)


@keys_app.command("remove")
def keys_remove(name: str, folder: KeyFolder = KEY_FOLDER) -> None:
    """Let a client in no more, from the services' next start on."""
    from daq.wire import keys

    keys.remove_client(folder, name)


@keys_app.command("list")
def keys_list(folder: KeyFolder = KEY_FOLDER, json_: AsJson = False) -> None:
    """Who is let in."""
    from daq.wire import keys

    found = keys.clients(folder)
    if json_:
        _print_json({"clients": found})
    else:
        _console().print("\n".join(found) or "nobody is let in")


@app.command()
def verify(
    paths: Annotated[list[Path], typer.Argument(help="Run folders, or files of runs.")],
    json_: AsJson = False,
) -> None:
    """Prove runs whole, or name what is wrong. Exits 1 where something is."""
    from daq.services.inspect import verify_all

    report = verify_all(paths)
    if json_:
        _print_json({"ok": report.ok, "problems": report.problems, "records": report.records})
    else:
        _tell_verified(report.problems, report.records)
    raise SystemExit(0 if report.ok else 1)


@app.command()
def recover(
    run: Annotated[Path, typer.Argument(help="A run folder, or a file in it.")],
    json_: AsJson = False,
) -> None:
    """Make a run complete out of what a crash left of it. Exits 1 where something is lost."""
    from daq.store.recovery import recover_run

    found = recover_run(run)
    whole = not found.problems
    if json_:
        told = {"ok": whole, "run": str(found.folder), "done": found.done}
        _print_json({**told, "problems": found.problems, "records": found.records})
    else:
        for done in found.done or ["nothing was left to do"]:
            _console().print(done, soft_wrap=True, markup=False)
        _tell_verified(found.problems, found.records)
    raise SystemExit(0 if whole else 1)


@app.command()
def show(path: Annotated[Path, typer.Argument(help="A run.")], json_: AsJson = False) -> None:
    """What is in a run."""
    from daq.services.inspect import summary_json, summary_table

    if json_:
        _print_json(summary_json(path))
    else:
        _console().print(summary_table(path))


@app.command()
def gui(
    config: Config,
    screenshot: Annotated[Path | None, typer.Option(help="Save a picture and end.")] = None,
    screenshots: Annotated[
        Path | None, typer.Option(help="Save pictures of every panel into this folder and end.")
    ] = None,
    after: Annotated[float, typer.Option(min=0.1, help="The first picture's time [s].")] = 5.0,
    theme: Annotated[str, typer.Option(help="auto, light or dark.")] = "auto",
) -> None:
    """The console: everything there is to see and to do, in one window."""
    import subprocess

    _load(config)
    picture = ["--screenshot", str(screenshot)] if screenshot else []
    picture += ["--screenshots", str(screenshots)] if screenshots else []
    picture += ["--after", str(after)] if picture else []
    command = [sys.executable, "-m", "gui", str(config), "--theme", theme, *picture]
    raise SystemExit(subprocess.run(command, check=False).returncode)


@config_app.command("check")
def config_check(config: Config, json_: AsJson = False) -> None:
    """Check a config: all its mistakes at once, each with its place."""
    from daq.errors import SettingsError

    try:
        settings = _load(config)
    except SettingsError as error:
        if json_:
            _print_json({"ok": False, "problems": error.problems})
        raise
    if json_:
        _print_json({"ok": True, "problems": []})
    else:
        n = len(settings.channel_names)
        _console().print(f"{config} is all right: {n} channels, {len(settings.sections)} sections")


# Any: another package's group of commands, or one command
def _mount(name: str, what: Any) -> None:
    if isinstance(what, typer.Typer):
        app.add_typer(what, name=name)
    else:
        app.command(name)(what)


def _load(config: Path) -> Any:  # Any: naming Settings would import pydantic for --help
    from daq.settings.loader import load

    return load(config)


def _replay_run(files: list[Path], more: bool, out: Path, json_: bool) -> None:
    from daq.errors import UsageError
    from daq.services.rawreplay import replay_run

    if len(files) != 1 or more:
        raise UsageError("expected one run alone, without --noise and --rate; found more")
    again = replay_run(files[0], out.absolute())
    if json_:
        _print_json({"run": str(again.run), "differences": again.differences})
    again.check()
    if not json_:
        _console().print(f"{again.run}: the same records, events, gaps and live time")


def _console(quiet: bool = False) -> Any:  # Any: rich is imported only where something is shown
    from rich.console import Console

    return Console(stderr=quiet, quiet=quiet, highlight=False)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _tell_run(folder: str, what: str, json_: bool) -> None:
    if json_:
        _print_json({"run": folder})
    else:
        _console().print(f"{folder} {what}", soft_wrap=True)


def _tell_lease(held: dict[str, Any] | None, json_: bool) -> None:  # Any: as run control says it
    from datetime import UTC, datetime

    if json_:
        _print_json({"lease": held})
    elif held is None:
        _console().print("nobody holds the control lease")
    else:
        until = datetime.fromtimestamp(held["until_ns"] / 1e9, UTC)
        _console().print(f"{held['who']} holds the control lease until {until:%H:%M:%S} UTC")


def _tell_status(json_: bool) -> None:
    from daq.services import system
    from daq.services.inspect import status_table

    told = system.status()
    if json_:
        _print_json(told)
    else:
        _console().print(status_table(told))


def _tell_verified(problems: list[str], records: dict[str, int]) -> None:
    console = _console()
    for problem in problems:
        console.print(f"[red]✗[/red] {problem}", soft_wrap=True)
    n = sum(records.values())
    console.print(f"{len(problems)} problems" if problems else f"whole: {n} records verified")


if __name__ == "__main__":
    main()
