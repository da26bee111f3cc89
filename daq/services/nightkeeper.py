"""The night in run control: begun and ended by verbs, taken up after a crash, then reported."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from daq.errors import CheckError, RefusedError, ScheeliteError
from daq.model.operator import Operator
from daq.services import nightrun
from daq.services.authority import Notes
from daq.services.nightrun import Journal, NightRun
from daq.services.nightsteps import (
    Answer,
    Ask,
    Facts,
    MeasureIv,
    Randomly,
    Start,
    Stop,
    Tune,
    Write,
)
from daq.services.service import Result, Verb
from daq.settings.loader import Settings
from daq.settings.nightplan import parse_plan, seconds_until
from daq.store import disk
from daq.wire import sockets

logger = logging.getLogger(__name__)

NS = 10**9
NIGHTS = "nights"  # a folder beside those of the runs
WRITE_S = 20.0


class StartNight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "night-start": the plan's text, and what it is called in errors."""

    text: Annotated[str, Meta(max_length=100_000)]
    path: str
    who: str


class StopNight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "night-stop"."""

    who: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deeds:
    """What run control does for a night."""

    start: Callable[[Start], int]
    stop: Callable[[str], Result]
    ask_core: Callable[..., Result]
    ticket: Callable[[], str]


class NightKeeper:
    """For run control's thread."""

    def __init__(
        self, settings: Settings, notes: Notes, deeds: Deeds, now_ns: Callable[[], int]
    ) -> None:
        self._settings, self._notes, self._deeds = settings, notes, deeds
        self._now_ns = now_ns
        self._home = settings.data_dir / NIGHTS
        self._writing = ThreadPoolExecutor(1, "night-writes")
        self._reporting: subprocess.Popen[bytes] | None = None
        self._program: subprocess.Popen[str] | None = None  # set by the writing thread
        self._night: NightRun | None = None
        self.problem = ""
        self._take_up()

    @property
    def verbs(self) -> dict[str, Verb[Any]]:  # Any: each verb has its own arguments
        """What an operator may ask for."""
        return {
            "night-start": Verb(StartNight, self._start, "act"),
            "night-stop": Verb(StopNight, self._stop, "safe"),
        }

    @property
    def body(self) -> Result | None:
        """What is told of the night in progress, or of the last one; None without any."""
        if self._night is None:
            return None
        report = self._night.folder / nightrun.REPORT
        made = str(report) if self._night.over and report.exists() else None
        return {**self._night.body(), "report": made}

    def tick(self, facts: Callable[[], Facts]) -> None:
        """Let the night go on."""
        self._attend_report()
        night = self._night
        if night is None or night.over:
            return
        ended = sum(bool(row.ended_ns) for row in night.journal.rows)
        over = night.tick(facts())
        for row in night.journal.rows[ended:]:
            if row.ended_ns:
                self._notes.tell(f"night: {row.what}: {row.outcome}", _level(row.failed))
        if over:
            self._notes.tell(f"night {night.journal.name} is over: {night.journal.outcome}")
            self._report(night)

    def close(self) -> None:
        """The night goes on with the next run control, which makes a missing report as well."""
        for child in (self._program, self._reporting):
            if child is not None and child.poll() is None:
                child.terminate()
                child.wait()
        self._writing.shutdown()

    # --- verbs --------------------------------------------------------------------------------

    def _start(self, asked: StartNight) -> Result:
        if self._night is not None and not self._night.over:
            raise RefusedError(
                f"night {self._night.journal.name} is in progress; scheelite night stop ends it"
            )
        plan = parse_plan(asked.text, Path(asked.path), self._settings)
        now_ns = self._now_ns()
        now = datetime.fromtimestamp(now_ns / NS).astimezone()
        until_ns = now_ns + round(seconds_until(plan.until, now) * NS) if plan.until else 0
        journal = Journal(plan.name, now_ns, until_ns, asked.who)
        stamp = datetime.fromtimestamp(now_ns / NS, UTC).strftime("%Y%m%dT%H%M%SZ")
        night = nightrun.begin(self._home, plan, asked.text, journal, stamp, self._do)
        self._night = night
        self._notes.tell(f"{asked.who} begins the night {plan.name}")
        return {"folder": str(night.folder)}

    def _stop(self, asked: StopNight) -> Result:
        if self._night is None or self._night.over:
            raise RefusedError("no night is in progress; expected one")
        self._night.hurry(f"stopped by the operator {asked.who}")
        return {"folder": str(self._night.folder)}

    def _take_up(self) -> None:
        """Go on with the night that a crash left, or remember the last one."""
        folder = nightrun.newest(self._home)
        if folder is None:
            return
        try:
            journal = nightrun.read_journal(folder)
            text = (folder / nightrun.PLAN).read_text(encoding="utf-8")
            plan = parse_plan(text, folder / nightrun.PLAN, self._settings)
        except (ScheeliteError, OSError) as error:
            self.problem = f"the night in {folder} cannot go on: {error}"
            logger.error(self.problem)
            return
        self._night = NightRun(folder, plan, journal, self._do)
        if not self._night.over:
            logger.warning("The night %s goes on at %s.", journal.name, journal.part)
        elif not (folder / nightrun.REPORT).exists():
            self._report(self._night)

    # --- deeds --------------------------------------------------------------------------------

    def _do(self, ask: Ask) -> Answer | Future[Answer]:
        try:
            match ask:
                case Start():
                    return Answer(run=self._deeds.start(ask))
                case Stop():
                    self._deeds.stop(ask.reason)
                case Randomly():
                    self._randomly(ask)
                case Tune():
                    return self._writing.submit(partial(self._tune, ask))
                case MeasureIv():
                    return self._writing.submit(partial(self._measure_iv, ask, self._iv_file()))
                case Write():
                    return self._writing.submit(partial(self._write, ask, self._deeds.ticket()))
        except RefusedError as error:  # such as a stop of what has just ended by itself
            return Answer() if isinstance(ask, Stop) else Answer(error=error)
        except ScheeliteError as error:
            return Answer(error=error)
        return Answer()

    def _randomly(self, ask: Randomly) -> None:
        trigger = {"kind": "random", "rate_hz": ask.rate_hz}
        for channel in ask.channels:
            self._deeds.ask_core("set_triggers", channel=channel, triggers=[trigger])

    def _tune(self, ask: Tune) -> Answer:
        _, error = self._run(tune_command(self._settings, ask), ask.timeout_s, "the tuning")
        return Answer(error=error)

    def _measure_iv(self, ask: MeasureIv, path: Path) -> Answer:
        """The curves go into the night's folder, also where one of them failed."""
        told, error = self._run(iv_command(self._settings, ask), ask.timeout_s, "the IV")
        try:
            if told:
                disk.publish(path, told.encode())
        except ScheeliteError as problem:
            return Answer(error=error or problem)
        return Answer(error=error, said=f"{iv_words(told)}: {path.name}" if error is None else "")

    def _iv_file(self) -> Path:
        """A file of its own for each step and round of the night."""
        assert self._night is not None
        journal = self._night.journal
        name = f"iv-{journal.part}-{journal.index}-{journal.round}.json"
        return self._night.folder / name

    def _run(
        self, command: list[str], timeout_s: float, what: str
    ) -> tuple[str, CheckError | None]:
        """What a program of ours said, and why it failed.

        It does not outlive us: another of us would begin a second.
        """
        who = self._night.journal.who if self._night else ""
        try:
            child = self._program = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env={**os.environ, "SCHEELITE_OPERATOR": who},
            )
        except OSError as error:
            return "", CheckError(f"{what} could not begin: {error}")
        try:
            told, said = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.terminate()
            child.communicate()
            return "", CheckError(f"{what} took longer than {timeout_s:g} s")
        words = said.strip().splitlines()
        last = words[-1] if words else f"it ended with {child.returncode}"
        return told, CheckError(f"{what}: {last}") if child.returncode else None

    def _write(self, ask: Write, ticket: str) -> Answer:
        """In a thread of its own: an instrument may take its time."""
        endpoint = self._settings.endpoint("instruments.commands")
        try:
            with sockets.calling(endpoint, "instruments", Operator("night", ticket)) as service:
                service.call("write", WRITE_S, **_order(ask))
        except ScheeliteError as error:
            return Answer(error=error)
        return Answer()

    # --- the morning --------------------------------------------------------------------------

    def _report(self, night: NightRun) -> None:
        """In a process of its own, which may take its time."""
        if not night.runs:
            return
        command = [sys.executable, "-m", "daq.services.cli", "report", str(night.folder)]
        self._reporting = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def _attend_report(self) -> None:
        if self._reporting is None or self._reporting.poll() is None:
            return
        if self._reporting.returncode:
            self.problem = "the morning report could not be made: see run control's log"
            logger.error(self.problem)
        self._reporting = None


def tune_command(settings: Settings, ask: Tune) -> list[str]:
    """`scheelite tune` of what is up; --resume takes its channels from the tuning before."""
    which = ["--resume"] if ask.again else _chosen(ask.channels)
    return _command("tune", settings, which)


def iv_command(settings: Settings, ask: MeasureIv) -> list[str]:
    """`scheelite characterize` of what is up, IV curves alone."""
    return _command("characterize", settings, _chosen(ask.channels))


def _chosen(channels: tuple[str, ...]) -> list[str]:
    return [part for name in channels for part in ("--channel", name)] or ["--all"]


def _command(verb: str, settings: Settings, which: list[str]) -> list[str]:
    config = str(settings.path.absolute())
    return [sys.executable, "-m", "daq.services.cli", verb, config, *which, "--json"]


def iv_words(told: str) -> str:
    """The normal resistances of what `characterize --json` said."""
    document = json.loads(told)
    found = document.get("channels") or {document["channel"]: document}
    rows = [(n, each["iv"]["r_normal_ohm"][0]) for n, each in found.items() if "iv" in each]
    return "Rn " + ", ".join(f"{name} {1e3 * ohm:.4g}" for name, ohm in rows) + " mohm"


def _order(ask: Write) -> dict[str, Any]:
    """As the instruments' verb takes it; Any: a value of any parameter."""
    keys = ("instrument", "parameter", "value")
    return {key: getattr(ask.order, key) for key in keys}


def _level(failed: bool) -> str:
    return "warning" if failed else "info"
