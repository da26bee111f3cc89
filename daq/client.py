"""From a notebook or a script: all that the command line does.

    from daq.client import Laboratory, runs

    lab = Laboratory()                       # what `scheelite up` started here
    with lab.run(comment="55Fe", seconds=60) as run:
        print(lab.status().exposure_g_d)
    table, samples = run.read().records("C11")
    for row in runs(lab.data_dir, label="A"):
        print(row.run, row.exposure_g_d)
    print(lab.characterize("C11", Wanted(biases_a=(0.93e-6,))).points)

Every call speaks to the services anew: an object may be kept for weeks. What is refused raises an
error of `daq.errors` with one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from daq.errors import RefusedError
from daq.readout.procedures import Outcome
from daq.report.show import RunSummary, summary
from daq.services import characterize, doctor, levels, livelevels, system
from daq.services import tune as tuning
from daq.services.calibrate import Known, calibrate_file
from daq.services.cataloguing import rebuild
from daq.services.characterize import Portrait, Wanted
from daq.services.doctor import Finding
from daq.services.filterfile import read_filters
from daq.services.inspect import verify_all
from daq.services.levels import Level
from daq.services.livefilters import load_filters
from daq.services.marks import Label
from daq.services.night_commands import rehearsal
from daq.services.offline import check, installed_unit, replayed, simulated_run, thresholds
from daq.services.report_command import write
from daq.services.train import Heights, train_file
from daq.services.tune import Watch
from daq.settings import operator
from daq.settings.loader import Settings, load
from daq.settings.nightplan import load_plan
from daq.settings.watch import quantities_of
from daq.store.catalogue import Catalogue, RunRow, Search
from daq.store.names import run_folder
from daq.store.reader import Run, open_run
from daq.store.recovery import recover_run
from daq.store.verify import Report, verify
from daq.wire import keys

__all__ = [
    "Alarm", "Channel", "Heights", "Known", "Laboratory", "OfRun", "Reading", "Status", "Wanted",
    "calibrate_file", "check", "down", "installed_unit", "keys", "read_filters",
    "rebuild_catalogue", "recover_run", "replayed", "report", "runs", "simulated_run", "thresholds",
    "train_file", "up", "verify_all",
]  # fmt: skip

Value = bool | int | float | str | dict[str, bool | int | float | str]


def _unwatched(_: object) -> None:
    """What procedures say is heard by nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm that stands, is over unseen, or is silenced; times are UTC [ns], 0 for none."""

    name: str
    severity: str
    state: str
    watch: str
    value: float | None
    unit: str
    since_ns: int
    acknowledged_by: str
    silent_until_ns: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The latest value of a parameter; `stale` where it is too old to be told."""

    value: bool | int | float | str | None
    unit: str
    source: str
    t_ns: int
    stale: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel in the run in progress."""

    rate_hz: float
    records: int
    livetime_s: float
    exposure_g_d: float
    dead_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What the services say now; `run` is the folder of the run in progress."""

    state: str
    run: Path | None
    elapsed_s: float
    services: dict[str, str]
    channels: dict[str, Channel]
    alarms: tuple[Alarm, ...]
    disk_hours_left: float | None
    problem: str

    @property
    def exposure_g_d(self) -> float:
        """Of all targets together."""
        return sum(channel.exposure_g_d for channel in self.channels.values())


@dataclass(frozen=True, slots=True)
class OfRun:
    """A run that was begun here."""

    number: int
    folder: Path

    def read(self) -> Run:
        """Its tables and samples as they are now, also while it is recorded."""
        return open_run(self.folder)

    def summary(self) -> RunSummary:
        """Its numbers."""
        return summary(self.read())

    def verify(self) -> Report:
        """Whether it is whole."""
        return verify(self.folder)

    def report(self, out: Path | None = None) -> Path:
        """Write its page; where it is."""
        return Path(write([self.folder], out)["report"])


class Laboratory:
    """What is up on this machine, or what a config names."""

    def __init__(self, config: Path | str | None = None) -> None:
        """RefusedError where nothing is up and no config is given."""
        self._settings: Settings = (
            load(Path(config)) if config is not None else system.settings_of_what_is_up()
        )

    @property
    def data_dir(self) -> Path:
        """Folder of the run folders."""
        return self._settings.data_dir

    # --- looking --------------------------------------------------------------------------------

    def status(self) -> Status:
        """What the services say now."""
        told, core = self._ask("run", "status"), self._ask("core", "status")
        return Status(
            state=str(told["state"]),
            run=Path(told["folder"]) if told["folder"] else None,
            elapsed_s=float(core["elapsed_s"]),
            services={name: str(row["state"]) for name, row in told["services"].items()},
            channels={name: _channel(row) for name, row in core["channels"].items()},
            alarms=tuple(Alarm(**row) for row in told["alarms"]),
            disk_hours_left=core["disk_hours_left"],
            problem=str(told["problem"]),
        )

    def readings(self) -> dict[str, Reading]:
        """The latest of every parameter, such as "fridge.input 6.temperature"."""
        told = self._ask("instruments", "status")["readings"]
        return {name: Reading(**row) for name, row in told.items()}

    def why(self) -> list[Finding]:
        """Why there are no data: every link of the chain, as `scheelite doctor` walks it."""
        return doctor.diagnose(self._settings)

    # --- instruments ----------------------------------------------------------------------------

    def read(self, instrument: str, parameter: str) -> Any:  # Any: of any parameter
        """Ask an instrument now."""
        return self._ask("instruments", "read", instrument=instrument, parameter=parameter)["value"]

    # Any: as above
    def write(self, instrument: str, parameter: str, value: Value) -> Any:
        """Write a value; what the instrument then holds."""
        asked = {"instrument": instrument, "parameter": parameter, "value": value}
        return self._ask("instruments", "write", **asked)["value"]

    def act(self, instrument: str, action: str) -> None:
        """Have an instrument act."""
        self._ask("instruments", "act", instrument=instrument, action=action)

    # Any: {"model", "resource", "parameters", "actions"} of each
    def instruments(self) -> dict[str, Any]:
        """Every instrument with its parameters: unit, range, and whether they can be written."""
        return dict(self._ask("instruments", "list")["instruments"])

    # --- SQUIDs and sensors ---------------------------------------------------------------------

    def tune(
        self,
        *channels: str,
        deep: bool = False,
        resume: bool = False,
        watch: Watch = _unwatched,
    ) -> tuning.Result:
        """From cold SQUIDs to sensors at their working points, with proof; all where none is named.

        A channel that did not pass is in `problems`, and as it was found; `resume` goes on after
        a crash; `deep` adds Tc, G and a map of working points. Only in the main thread, where
        Ctrl-C puts everything back.
        """
        return tuning.tune(self._settings, channels, watch, deep=deep, resume=resume)

    def tune_steps(self, *channels: str, deep: bool = False) -> dict[str, list[tuple[str, str]]]:
        """What a tuning would do: the steps of each channel, and what each may drive."""
        return tuning.dry_run(self._settings, channels, deep=deep)

    def undo_tune(self) -> tuning.Result:
        """Bring back what was held before the latest tuning."""
        return tuning.undo(self._settings, _unwatched)

    def load_tune(self, file: Path | str) -> tuning.Result:
        """Bring back what a tune file holds."""
        return tuning.load(self._settings, Path(file), _unwatched)

    def characterize(
        self, channel: str, wanted: Wanted | None = None, watch: Watch = _unwatched
    ) -> Portrait:
        """What a TES is: an IV, and whatever else is wanted. Its SQUID must be tuned."""
        return characterize.measure(self._settings, channel, wanted or Wanted(), watch)

    def ivs(self, *channels: str, watch: Watch = _unwatched) -> dict[str, Outcome[Portrait]]:
        """IV curves of several channels at once, of all where none is named."""
        return characterize.ivs(self._settings, channels, watch)

    # --- triggers of the run in progress --------------------------------------------------------

    # Any: {"epoch", "since": {channel: sample}}
    def load_filters(self, file: Path | str, *channels: str) -> dict[str, Any]:
        """Other optimum filters from now on, of these channels or of all that the file has."""
        return load_filters(self._settings, Path(file), channels)

    def levels(
        self, *, sigmas: float | None = None, noise_hz: float | None = None, set_: bool = False
    ) -> list[Level]:
        """Thresholds by the noise so far; `set_` sets them, but for channels that are too noisy."""
        wanted = levels.Wanted(sigmas=sigmas, noise_hz=noise_hz)
        found = livelevels.live_levels(self._settings, wanted)
        if set_:
            livelevels.set_live(self._settings, found, levels.hyperactive(found))
        return found

    # --- runs -----------------------------------------------------------------------------------

    def start(
        self, comment: str = "", *, label: Label | None = None, seconds: float | None = None
    ) -> OfRun:
        """Begin a run; with `seconds` of samples it ends by itself."""
        system.wait_until_streaming(self._settings, 10.0)
        given = {"comment": comment, "label": label, "duration_s": seconds}
        started = system.start_run(self._settings, **given)
        return OfRun(int(started["number"]), Path(started["run"]))

    def stop(self, reason: str = "stopped by the operator") -> OfRun:
        """End the run and wait until it is complete on disk."""
        stopped = system.stop_run(self._settings, reason)
        return OfRun(int(stopped["number"]), Path(stopped["run"]))

    def wait(self, run: OfRun, timeout_s: float = 7 * 86_400.0) -> None:
        """Until a run is complete on disk."""
        system.wait_for_end(self._settings, run.number, timeout_s)

    @contextmanager
    def run(
        self, comment: str = "", *, label: Label | None = None, seconds: float | None = None
    ) -> Iterator[OfRun]:
        """A run for a with block, which is complete behind it: it waits for `seconds`, else ends
        it; what goes wrong within ends it as well."""
        made = self.start(comment, label=label, seconds=seconds)
        try:
            yield made
        except BaseException:
            self._end(made)
            raise
        if seconds is None:
            self._end(made)
        else:
            self.wait(made)

    def pause(self) -> None:
        """No more records until it is resumed; the time counts as dead."""
        self._ask("run", "pause")

    def resume(self) -> None:
        """Records again."""
        self._ask("run", "resume")

    def comment(self, text: str) -> None:
        """Write a sentence into the run, with its time and who says it."""
        self._ask("run", "comment", text=text, who=operator.current().who)

    def label(self, label: Label) -> None:
        """What the data are from now on."""
        self._ask("run", "label", label=label)

    # --- alarms and nights ------------------------------------------------------------------------

    def alarms(self) -> list[Alarm]:
        """Those that stand, are over unseen, or are silenced; the worst first."""
        return [Alarm(**row) for row in system.alarms(self._settings)]

    def acknowledge(self, alarm: str) -> None:
        """You have seen it."""
        system.acknowledge(self._settings, alarm)

    def silence(self, alarm: str, seconds: float) -> None:
        """Tell nobody of it for so long; 0 ends a silence."""
        system.silence(self._settings, alarm, seconds)

    def quantities(self) -> dict[str, str]:
        """Everything that alarms and plans can watch, with its unit."""
        return dict(quantities_of(self._settings.sections))

    def rehearse(self, plan: Path | str) -> list[dict[str, str]]:
        """What a night would do when, if it began now."""
        now = datetime.now().astimezone()
        return rehearsal(load_plan(Path(plan), self._settings), now)

    def start_night(self, plan: Path | str) -> Path:
        """Begin a night by its plan; its folder. SettingsError lists all mistakes of the plan."""
        return Path(system.start_night(self._settings, Path(plan))["folder"])

    # Any: the JSON of `scheelite night status`
    def night(self) -> dict[str, Any] | None:
        """Where the night is, or how the last one went; None without any."""
        told: dict[str, Any] | None = self._ask("run", "status")["night"]
        return told

    def stop_night(self) -> None:
        """End the step at hand, then do the plan's [[last]]."""
        system.stop_night(self._settings)

    # --- the control lease ------------------------------------------------------------------------

    def take_lease(self, hours: float = 1.0, over: str = "") -> None:
        """Command alone: others are refused until it is given back or runs out."""
        system.take_lease(hours * 3600, over)

    def release_lease(self) -> None:
        """Give it back."""
        system.release_lease()

    # Any: {"who", "since_ns", "until_ns", "seal"}
    def lease(self) -> dict[str, Any] | None:
        """Who holds it; None for nobody."""
        held: dict[str, Any] | None = self._ask("run", "status")["lease"]
        return held

    # --- past runs ------------------------------------------------------------------------------

    def past(self, number: int) -> OfRun:
        """A run by its number."""
        return OfRun(number, run_folder(self.data_dir, number))

    def _end(self, run: OfRun) -> None:
        try:
            system.stop_run(self._settings, "the client's block is over")
        except RefusedError:
            self.wait(run)  # it has ended by itself

    def _ask(self, service: str, verb: str, **arguments: Any) -> dict[str, Any]:  # Any: JSON
        return system.ask(self._settings, service, verb, **arguments)


def runs(
    data_dir: Path | str,
    *,
    text: str = "",
    label: str = "",
    channel: str = "",
    exposure_g_d: float | None = None,
    after: datetime | None = None,
    before: datetime | None = None,
) -> list[RunRow]:
    """The runs of the catalogue that fit, oldest first; see `scheelite runs search`."""
    asked = Search(
        after_ns=_ns(after),
        before_ns=_ns(before),
        text=text,
        label=label,
        channel=channel,
        exposure_g_d=exposure_g_d,
    )
    return Catalogue(Path(data_dir)).find(asked)


def rebuild_catalogue(data_dir: Path | str) -> list[str]:
    """Make the catalogue anew from the runs' files; why runs are not in it."""
    return rebuild(Path(data_dir))[1]


def report(folders: list[Path], out: Path, title: str = "") -> Path:
    """One page about several runs."""
    return Path(write(folders, out, title)["report"])


def down() -> list[str]:
    """End everything that is up, a run in progress first; what was ended."""
    return system.down()


def up(config: Path | str) -> Laboratory:
    """Start all services of a config, and its bench where it has one; they outlive the notebook."""
    system.up(load(Path(config)))
    return Laboratory()


def _channel(row: Mapping[str, Any]) -> Channel:  # Any: as the core says it
    return Channel(**{name: row[name] for name in Channel.__dataclass_fields__})


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1e6) * 1000
