"""What a notebook does with configs and past runs while nothing need be up; see daq.client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from daq.errors import SettingsError
from daq.services import demo, levels, units
from daq.services.levels import Level
from daq.services.rawreplay import replay_run
from daq.services.replay import replay
from daq.services.take import Outcome
from daq.settings.loader import load


def check(config: Path | str) -> list[str]:
    """All mistakes of a config, each with its place."""
    try:
        load(Path(config))
    except SettingsError as error:
        return list(error.problems)
    return []


def installed_unit(config: Path | str, *, user: bool = True, into: Path | None = None) -> Path:
    """Let systemd start the services of a config; the unit's file, to be enabled."""
    folder = into or units.unit_folder(user=user)
    return units.install(load(Path(config)), folder, user=user)


def thresholds(
    config: Path | str,
    run: Path | str,
    *,
    sigmas: float | None = None,
    noise_hz: float | None = None,
    write: bool = False,
) -> list[Level]:
    """Thresholds by the noise of a run with random triggers; `write` writes them into it."""
    settings = load(Path(config))
    found = levels.levels(settings, Path(run), levels.Wanted(sigmas=sigmas, noise_hz=noise_hz))
    if write:
        levels.write_levels(settings, found)
    return found


def replayed(
    *files: Path | str, out: Path | str, noise: Sequence[Path] = (), rate_hz: float | None = None,
    seed: int = 1,
) -> Path:  # fmt: skip
    """LJH files, or one run with raw streams, once more through the pipeline; the new run.

    CheckError where a run's records come out differently.
    """
    paths, folder = [Path(each) for each in files], Path(out).absolute()
    if len(paths) == 1 and (paths[0].is_dir() or paths[0].suffix == ".h5"):
        again = replay_run(paths[0], folder)
        again.check()
        return again.run
    taken = replay(paths, list(noise), rate_hz, seed, folder, Console(quiet=True))
    taken.check()
    return taken.run


def simulated_run(seconds: float, out: Path | str, config: Path | None = None) -> Outcome:
    """A short run on the simulated bench, with a system of its own."""
    return demo.demo(config, seconds, Path(out), Console(quiet=True))
