"""The whole system from outside: bring it up, ask it, take it down."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daq.errors import (
    NoNewsError,
    NotConnectedError,
    RefusedError,
    ScheeliteError,
    ServiceTimeoutError,
    UsageError,
)
from daq.services import processes
from daq.services.supervisor import end_run
from daq.settings import operator
from daq.settings.loader import Settings, load, parse, read_toml, runtime_dir
from daq.settings.nightplan import parse_plan
from daq.wire import sockets

logger = logging.getLogger(__name__)

UP_S, DOWN_S = 60.0, 120.0
NEWS_S = 45.0  # of a service that is busy with what it does once
POLL_S = 0.1


def up(settings: Settings) -> subprocess.Popen[bytes]:
    """Start every service in the background; the supervisor, when all of them report."""
    runtime = processes.private_folder(runtime_dir())
    found = processes.remembered(runtime)
    if found is not None and processes.still_alive(found):
        alive = ", ".join(processes.still_alive(found))
        raise RefusedError(f"{found.config} is up already ({alive}); scheelite down ends it")
    processes.forget(runtime)
    supervisor = _spawn(settings, runtime)
    try:
        _wait_until_up(settings, runtime, supervisor)
    except BaseException:
        _end(supervisor)
        raise
    return supervisor


def down() -> list[str]:
    """End everything that `up` started, the run first; names of what was ended."""
    runtime = runtime_dir()
    found = processes.remembered(runtime)
    alive = processes.still_alive(found) if found else []
    if found is None or not alive:
        processes.forget(runtime)
        raise RefusedError("nothing is up")
    if "supervisor" in alive:
        os.kill(found.supervisor.pid, signal.SIGTERM)
    else:
        _end_orphans(found)
    _wait(lambda: not processes.still_alive(found), DOWN_S, "everything to end")
    processes.forget(runtime)
    return alive


def _end_orphans(found: processes.Up) -> None:
    """What a supervisor does at its end, where it died before: the run, then one by one."""
    try:
        with sockets.calling(_settings_of(found).endpoint("run.commands"), "run") as conductor:
            end_run(conductor)
    except ScheeliteError as error:
        logger.info("No run was ended: %s", error)
    for name in reversed(found.services):
        _end_orphan(found.services[name])


def _end_orphan(process: processes.Process) -> None:
    if processes.alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        _wait(lambda: not processes.alive(process), DOWN_S, "a service to end")


def settings_of_what_is_up() -> Settings:
    """The config that is up; RefusedError where none is."""
    found = processes.remembered(runtime_dir())
    if found is None or not processes.still_alive(found):
        raise RefusedError("nothing is up; scheelite up CONFIG starts the services")
    return _settings_of(found)


def _settings_of(found: processes.Up) -> Settings:
    """The config as it was when it was brought up, whatever has become of the file since."""
    try:
        text = (runtime_dir() / processes.CONFIG_FILE).read_text(encoding="utf-8")
    except OSError:
        return load(Path(found.config))
    return parse(text, Path(found.config))


# Any: the JSON of `status`
def status() -> dict[str, Any]:
    """What `scheelite status --json` prints, also of what is down.

    {"run", "state", "services": {name: {"pid", "state", "restarts", "problem"}}, "channels",
    "safe", "unsafe", "gaps", "core": all that the core says of itself, "servo", "problem"}.
    """
    found = processes.remembered(runtime_dir())
    if found is None or not processes.still_alive(found):
        return {"run": None, "state": "down", "services": {}, **_of_core({}), "problem": ""}
    told = _told(_settings_of(found))
    services = told.get("services", {})
    for name, process in found.services.items():
        row = services.setdefault(name, {"pid": None, "state": "lost", "problem": ""})
        row["restarts"] = process.restarts
        if process.state == "given up":
            row.update(state="given up", problem=process.problem)
        elif not processes.alive(process):
            row["state"] = "lost"
        else:
            row["pid"] = process.pid
            if name == "bench":
                row["state"] = "up"
    return {
        "run": told.get("folder"),
        "state": told.get("state", "lost"),
        "services": services,
        **_of_core(told.get("core", {})),
        "disk_hours_left": told.get("core", {}).get("disk_hours_left"),
        "servo": told.get("servo", {}),
        "problem": "; ".join(filter(None, (told.get("problem", ""), _unwatched(found)))),
    }


def _unwatched(found: processes.Up) -> str:
    """The sentence for services that nobody starts again."""
    if processes.alive(found.supervisor):
        return ""
    return "the supervisor is gone: what dies stays dead; scheelite down, then up"


def _of_core(core: dict[str, Any]) -> dict[str, Any]:
    """The part of `status` that is the core's to say."""
    return {
        "channels": core.get("channels", {}),
        "safe": core.get("safe", {"records": 0, "until_ns": 0}),
        "unsafe": core.get("unsafe", 0),
        "gaps": core.get("gaps", 0),
        "core": core,
    }


def _told(settings: Settings) -> dict[str, Any]:
    """What run control and the core say of themselves."""
    try:
        told = ask(settings, "run", "status", timeout_s=2.0)
    except ScheeliteError as error:
        return {"problem": str(error)}
    try:
        told["core"] = ask(settings, "core", "status", timeout_s=2.0)
    except ScheeliteError as error:
        told["core"] = {"problem": str(error)}
    return told


def ask(
    settings: Settings, service: str, verb: str, timeout_s: float = 30.0, **arguments: Any
) -> dict[str, Any]:
    """One verb to one service."""
    endpoint = settings.endpoint(f"{service}.commands")
    with sockets.calling(endpoint, service, operator.current()) as caller:
        return caller.call(verb, timeout_s, **arguments)


def wait_until_streaming(settings: Settings, timeout_s: float) -> None:
    """Wait until every digitizer can be recorded; NotConnectedError names those that cannot."""
    waiting: list[str] = []

    def all_there() -> bool:
        rows = ask(settings, "core", "status")["digitizers"]
        waiting[:] = [name for name, row in rows.items() if row["state"] in ("absent", "silent")]
        return not waiting

    try:
        _wait(all_there, timeout_s, "the digitizers")
    except ServiceTimeoutError as error:
        names = ", ".join(waiting)
        raise NotConnectedError(f"no samples from {names} within {timeout_s:g} s") from error


def start_run(settings: Settings, **arguments: Any) -> dict[str, Any]:
    """Begin a run; {"run": folder, "number"}.

    A core compiles its loops at its first samples ever, and is not heard meanwhile.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    deadline = time.monotonic() + NEWS_S
    while True:
        try:
            return ask(settings, "run", "start", **given)
        except NoNewsError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def stop_run(settings: Settings, reason: str) -> dict[str, Any]:
    """End the run in progress and wait until it is complete on disk; {"run": folder, "number"}."""
    stopped = ask(settings, "run", "stop", reason=reason)
    wait_for_end(settings, int(stopped["number"]))
    return stopped


def mark_run(settings: Settings, verb: str, given: dict[str, str]) -> dict[str, Any]:
    """Pause, resume, comment or label the run in progress; {"run": folder, "number"}."""
    arguments: dict[str, Any] = given  # Any: as `ask` takes them
    return ask(settings, "run", verb, **arguments)


def wait_for_end(settings: Settings, run: int, timeout_s: float = 300.0) -> dict[str, Any]:
    """Wait until a run has ended and is complete on disk: run control's last word on it."""

    def over() -> bool:
        state = ask(settings, "run", "status")
        return bool(state["run"] != run)

    _wait(over, timeout_s, f"run {run} to be complete")
    return ask(settings, "run", "status")


# Any: {"who", "since_ns", "until_ns", "seal"}
def take_lease(for_s: float, over: str) -> dict[str, Any]:
    """Take, renew, or for a reason take over the control lease of what is up."""
    settings, mine = settings_of_what_is_up(), operator.with_ticket(operator.current())
    answer = ask(
        settings, "run", "lease-take", who=mine.who, ticket=mine.ticket, for_s=for_s, over=over
    )
    return dict(answer["lease"])


def release_lease() -> None:
    """Give the control lease back; RefusedError where another holds it."""
    ask(settings_of_what_is_up(), "run", "lease-release", ticket=operator.current().ticket)


def lease() -> dict[str, Any] | None:
    """Who holds the control lease of what is up."""
    held = ask(settings_of_what_is_up(), "run", "status")["lease"]
    return None if held is None else dict(held)


# Any: rows as run control says them
def alarms(settings: Settings) -> list[dict[str, Any]]:
    """Alarms that stand, are over unseen, or are silenced."""
    return list(ask(settings, "run", "status")["alarms"])


def acknowledge(settings: Settings, name: str) -> list[dict[str, Any]]:
    """We have seen an alarm; what stands then."""
    who = operator.current().who
    return list(ask(settings, "run", "alarm-acknowledge", name=name, who=who)["alarms"])


def silence(settings: Settings, name: str, for_s: float) -> list[dict[str, Any]]:
    """Tell nobody of an alarm for so long; what stands then."""
    who = operator.current().who
    return list(ask(settings, "run", "alarm-silence", name=name, for_s=for_s, who=who)["alarms"])


def start_night(settings: Settings, plan: Path) -> dict[str, Any]:
    """Begin a night by its plan; {"folder"}. SettingsError lists all mistakes of the plan."""
    text = read_toml(plan)
    parse_plan(text, plan, settings)  # here, so that all its mistakes are told line by line
    who = operator.current().who
    return ask(settings, "run", "night-start", path=str(plan), who=who, text=text)


def stop_night(settings: Settings) -> dict[str, Any]:
    """End the step at hand, then do the plan's [[last]]; what is told of the night."""
    ask(settings, "run", "night-stop", who=operator.current().who)
    return dict(ask(settings, "run", "status")["night"])


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """The services for the length of a with block."""
    supervisor = up(settings)
    try:
        yield
    finally:
        _end(supervisor)


def _spawn(settings: Settings, runtime: Path) -> subprocess.Popen[bytes]:
    logs = processes.private_folder(runtime / processes.LOGS)
    for old in logs.glob("*.log"):
        old.unlink()
    with (logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "daq", "supervise", str(settings.path.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_until_up(settings: Settings, runtime: Path, supervisor: subprocess.Popen[bytes]) -> None:
    def all_report() -> bool:
        if supervisor.poll() is not None:
            words = processes.last_words(runtime / processes.LOGS / "supervisor.log")
            raise UsageError(f"the services did not start: {words}")
        found = processes.remembered(runtime)
        if found is None:
            return False
        for name, process in found.services.items():
            if process.state == "given up":
                raise UsageError(f"{name} does not start: {process.problem}")
        try:
            told = ask(settings, "run", "status", timeout_s=1.0)
        except ServiceTimeoutError:
            return False
        return all(row["state"] != "lost" for row in told["services"].values())

    _wait(all_report, UP_S, "all services to report")


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.terminate()
    supervisor.wait(DOWN_S)


def _wait(done: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise ServiceTimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(POLL_S)
