"""`scheelite tune`: the guided whole against real services, with a journal, a file and a report."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from daq.errors import CheckError, RefusedError, ScheeliteError, UsageError
from daq.readout import guide
from daq.readout.guide import Channel
from daq.readout.procedures import Execute, Outcome, run
from daq.readout.requests import Begin, End, Say, Value
from daq.report.tuning import ChannelPage, Difference, StepRow, TuningPage, write_tuning
from daq.services import system, tunefile
from daq.services.commanding import commanding
from daq.services.detectorwires import DetectorWires
from daq.services.executor import Executor
from daq.services.journal import Journal
from daq.services.nightclock import speed_of
from daq.services.progress import telling
from daq.services.service import apart
from daq.services.tunefile import (
    BEFORE,
    JOURNAL,
    PLAN,
    REPORT,
    TUNE,
    ChannelEntry,
    PlanFile,
    StepEntry,
    TuneFile,
)
from daq.settings.detectors import Detectors
from daq.settings.loader import Settings

R = TypeVar("R")
Watch = Callable[[Say | Begin | End], None]
STREAMING_S = 60.0


@dataclass(slots=True)
class Steps:
    """What procedures say, by channel, as the file and the report need it."""

    expected: dict[tuple[str, str], str] = field(default_factory=dict)
    ended: dict[str, list[End]] = field(default_factory=dict)

    def watch(self, said: Say | Begin | End) -> None:
        """Take note."""
        if isinstance(said, Begin):
            self.expected[said.at, said.step] = said.expected
        elif isinstance(said, End):
            self.ended.setdefault(said.at, []).append(said)

    def entries(self, at: str) -> list[StepEntry]:
        """The steps of a channel."""
        return [
            StepEntry(e.step, e.passed, e.values, self.expected.get((at, e.step), ""), e.found)
            for e in self.ended.get(at, [])
        ]

    def rows(self, at: str) -> list[StepRow]:
        """The same with their pictures."""
        return [
            StepRow(
                e.step, e.passed, self.expected.get((at, e.step), ""), e.found, e.values, e.pictures
            )
            for e in self.ended.get(at, [])
        ]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a tuning."""

    file: TuneFile
    tune: Path
    report: Path
    problems: Mapping[str, str]
    differences: Sequence[Difference]
    seconds: float

    # Any: JSON
    def json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "channels": {name: _json_of(each) for name, each in self.file.channels.items()},
            "tune": str(self.tune),
            "report": str(self.report),
        }

    def check(self) -> None:
        """CheckError that names the channels that did not pass."""
        if self.problems:
            raise CheckError("\n".join(self.problems.values()))


def tune(
    settings: Settings,
    channels: Sequence[str],
    watch: Watch,
    *,
    deep: bool = False,
    resume: bool = False,
    speed: float | None = None,
) -> Result:
    """Tune channels of what is up; of a config that is not, its services are up meanwhile.

    `deep` adds Tc and G and a map of working points; who resumes goes on as it was begun.
    `speed` is that of a simulated bench which the config, [night] of it as well, does not tell.
    """
    folder, plan = _begun(settings, PlanFile(list(channels), settings.text, deep), resume)
    steps, begun = Steps(), time.monotonic()

    def told(said: Say | Begin | End) -> None:
        steps.watch(said)
        watch(said)

    with hands_of(settings, told, speed) as hands:
        plans = {name: settings.section(Detectors).root[name] for name in plan.channels}
        with Journal(folder / JOURNAL, hands, told) as journal:
            before = run(guide.snapshot(plans), journal)
            baths = run(guide.baths(plans), journal) if plan.deep else {}
            _write_before(folder / BEFORE, settings, before, baths)
            outcomes = run(guide.tune(plans, deep=plan.deep), journal)
    return _finished(settings, folder, steps, outcomes, time.monotonic() - begun)


def load(settings: Settings, path: Path, watch: Watch, *, speed: float | None = None) -> Result:
    """Bring back what a tune file holds, of the channels that passed."""
    wanted = {n: c.held for n, c in tunefile.read(path).channels.items() if c.passed}
    if not wanted:
        raise UsageError(f"{path}: expected a channel that passed, found none")
    return _restored(settings, wanted, watch, speed)


def undo(settings: Settings, watch: Watch, *, speed: float | None = None) -> Result:
    """Bring back what was held before the latest tuning, whether or not it came to its end."""
    for folder in tunefile.folders(settings.data_dir)[:1]:
        before = tunefile.read(folder / BEFORE)
        wanted = {n: c.held for n, c in before.channels.items()}
        deep = tunefile.read_plan(folder).deep
        return _restored(settings, wanted, watch, speed, deep=deep, baths=before.baths)
    raise UsageError(f"expected a tuning in {settings.data_dir / tunefile.FOLDER}, found none")


def dry_run(
    settings: Settings, channels: Sequence[str], *, deep: bool = False
) -> dict[str, list[tuple[str, str]]]:
    """The steps of each channel, and what each may drive; nothing is asked of any instrument."""
    detectors = settings.section(Detectors).root
    names = chosen(settings, channels)
    return {name: guide.expected_steps(detectors[name], deep=deep) for name in names}


def chosen(settings: Settings, channels: Sequence[str]) -> list[str]:
    """The detectors that are meant: all, where none is named."""
    known = settings.section(Detectors).root
    for name in channels:
        if name not in known:
            raise UsageError(f"expected one of the detectors {', '.join(known)}, found {name!r}")
    return list(dict.fromkeys(channels)) or list(known)


def _begun(settings: Settings, plan: PlanFile, resume: bool) -> tuple[Path, PlanFile]:
    """Where what is written goes, and what to do: as it was begun, for who resumes."""
    if not resume:
        plan = msgspec.structs.replace(plan, channels=chosen(settings, plan.channels))
        folder = tunefile.new_folder(settings.data_dir)
        tunefile.write(folder / PLAN, plan)
        return folder, plan
    folder = tunefile.unfinished(settings.data_dir)
    begun = tunefile.read_plan(folder)
    if begun.text != plan.text:
        raise RefusedError(f"{folder}: expected the config as it was, found another one")
    if plan.channels and plan.channels != begun.channels:
        raise RefusedError(
            f"{folder}: expected the channels {', '.join(begun.channels)}, "
            f"found {', '.join(plan.channels)}"
        )
    return folder, begun


@contextmanager
def services(settings: Settings) -> Iterator[None]:
    """What is up, if it is of this config; else its services for as long as this takes."""
    try:
        up = system.settings_of_what_is_up()
    except RefusedError:
        with system.running(settings):
            system.wait_until_streaming(settings, STREAMING_S)
            yield
        return
    if up.text != settings.text:
        raise RefusedError(f"{up.path} is up, which is another config than {settings.path}")
    running = system.ask(settings, "run", "status")["run"]
    if running is not None:
        raise RefusedError(f"run {running} is being recorded; scheelite run stop ends it")
    system.wait_until_streaming(settings, STREAMING_S)
    yield


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Set by Ctrl-C and by SIGTERM; what is under way then puts back what it changed."""
    stop = threading.Event()
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in kept:
        signal.signal(each, lambda *_: apart(stop.set))
    try:
        yield stop
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)


@contextmanager
def hands_of(settings: Settings, watch: Watch, speed: float | None) -> Iterator[Execute]:
    """What asks for procedures, with the services up and the control lease ours meanwhile; seen
    by whoever looks.

    RefusedError where a run is recorded or somebody else holds the lease.
    """
    with (
        services(settings),
        commanding(settings) as mine,
        telling(settings) as teller,
        stoppable() as stop,
    ):

        def told(said: Say | Begin | End) -> None:
            watch(said)
            teller.said(said)

        listed = system.ask(settings, "instruments", "list")
        wires = DetectorWires(settings.section(Detectors).root, listed)
        speed = speed or _speed(settings)
        with Executor(settings, wires, mine, watch=told, stop=stop, speed=speed) as hands:
            yield teller.watching(hands)


def _speed(settings: Settings) -> float:
    """Of a simulated bench; one that is read flat-out has no time that could be waited for."""
    bench = settings.sections.get("bench")
    if getattr(bench, "pace", "clock") != "clock":
        raise UsageError('expected [bench] with pace = "clock" to tune, found "flat-out"')
    return float(getattr(bench, "speed", speed_of(settings)))


def _write_before(
    path: Path,
    settings: Settings,
    before: Mapping[str, Outcome[dict[str, Value]]],
    baths: Mapping[tuple[str, str], float],
) -> None:
    """What was held first: a tuning that goes on must not overwrite it."""
    if not path.exists():
        channels = {n: ChannelEntry(True, o.result or {}) for n, o in before.items()}
        told = {":".join(place): kelvin for place, kelvin in baths.items()}
        tunefile.write(path, msgspec.structs.replace(_file(settings, channels), baths=told))


def _finished(
    settings: Settings,
    folder: Path,
    steps: Steps,
    outcomes: Mapping[str, Outcome[Channel]],
    seconds: float,
) -> Result:
    channels = {
        name: ChannelEntry(
            outcome.error is None,
            dict(outcome.result.held) if outcome.result else {},
            steps.entries(name),
        )
        for name, outcome in outcomes.items()
    }
    problems = {n: _said(n, o.error) for n, o in outcomes.items() if o.error is not None}
    before = tunefile.last_good(settings.data_dir, folder)
    file, rows = _file(settings, channels), tunefile.differences(before, channels)
    tunefile.write(folder / TUNE, file)
    pages = [
        ChannelPage(name, each.passed, problems.get(name, ""), steps.rows(name), each.held)
        for name, each in channels.items()
    ]
    page = TuningPage(file.made_utc, str(settings.path), seconds, pages, rows)
    report = write_tuning(page, folder / REPORT)
    return Result(file, folder / TUNE, report, problems, rows, seconds)


def _restored(
    settings: Settings,
    wanted: Mapping[str, Mapping[str, Value]],
    watch: Watch,
    speed: float | None,
    *,
    deep: bool = False,
    baths: Mapping[str, float] = {},
) -> Result:
    chosen(settings, list(wanted))
    folder, steps, begun = tunefile.new_folder(settings.data_dir), Steps(), time.monotonic()

    def told(said: Say | Begin | End) -> None:
        steps.watch(said)
        watch(said)

    with hands_of(settings, told, speed) as hands:
        plans, places = settings.section(Detectors).root, {_place(n): k for n, k in baths.items()}
        found = run(guide.restore(wanted, plans, deep=deep, baths=places), hands)
    of_baths = found.pop("", None)
    outcomes = {
        name: Outcome(Channel({}, each.result) if each.result is not None else None, each.error)
        for name, each in found.items()
    }
    result = _finished(settings, folder, steps, outcomes, time.monotonic() - begun)
    if of_baths and of_baths.error:
        raise of_baths.error
    return result


def _place(name: str) -> tuple[str, str]:
    instrument, _, parameter = name.partition(":")
    return instrument, parameter


def _file(settings: Settings, channels: dict[str, ChannelEntry]) -> TuneFile:
    made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return TuneFile(channels, made, str(settings.path))


def _said(name: str, error: ScheeliteError) -> str:
    """The error with the channel, and with what could not be put back."""
    text = str(error) if str(error).startswith(name) else f"{name}: {error}"
    return "; ".join([text, *getattr(error, "__notes__", [])])


# Any: JSON
def _json_of(channel: ChannelEntry) -> dict[str, Any]:
    return {
        "passed": channel.passed,
        "steps": [
            {
                "name": step.name,
                "passed": step.passed,
                "values": step.values
                | ({} if step.passed else {"expected": step.expected, "found": step.found}),
            }
            for step in channel.steps
        ],
    }
