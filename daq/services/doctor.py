"""Why is there no data? The chain is walked from the digitizers to the file, link by link."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daq.errors import ScheeliteError
from daq.services import system
from daq.settings.loader import Settings

LEAST_FREE_BYTES = 1 << 30
ASK_S = 2.0
QUIET_RUN_S = 60.0  # a run of this length in which a channel has no record is worth a word

ALIVE = ("idle", "running", "paused", "stopping")  # states of a core that works

# Any below: what services answer is JSON, described in their modules
Told = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the services say; `digitizers` by name, `folder` where it answers."""

    status: Told
    digitizers: dict[str, Told]
    folder: Told
    data_dir: Path
    free_bytes: int
    writable: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One link of the chain: whether it holds, what was seen, and what to do about it."""

    link: str
    ok: bool
    said: str
    mend: str = ""


def diagnose(settings: Settings) -> list[Finding]:
    """Ask everybody, then walk the chain."""
    return walk(gather(settings))


def gather(settings: Settings) -> Facts:
    """What there is to know; a service that does not answer says so in "problem"."""
    home = _existing(settings.data_dir)
    return Facts(
        status=system.status(),
        digitizers={n: _asked(settings, f"digitizer.{n}") for n in settings.digitizer_names},
        folder=_asked(settings, "folder"),
        data_dir=settings.data_dir,
        free_bytes=shutil.disk_usage(home).free,
        writable=os.access(home, os.W_OK),
    )


def walk(facts: Facts) -> list[Finding]:
    """Every link, in the order in which the data pass them."""
    return [*_services(facts), *_digitizers(facts), *_core(facts), *_disk(facts), *_run(facts)]


def first_broken(findings: list[Finding]) -> Finding | None:
    """The link to look at; what comes behind it may only be its consequence."""
    return next((finding for finding in findings if not finding.ok), None)


def as_json(findings: list[Finding]) -> Told:
    """What `scheelite doctor --json` prints."""
    broken = first_broken(findings)
    return {
        "ok": broken is None,
        "first_broken": broken.link if broken else None,
        "links": [asdict(finding) for finding in findings],
    }


def _services(facts: Facts) -> Iterator[Finding]:
    status = facts.status
    if status["state"] == "down":
        yield Finding("services", False, "nothing is up", "scheelite up CONFIG")
        return
    for name, row in status["services"].items():
        link, said = f"service {name}", row.get("problem") or row["state"]
        match row["state"]:
            case "given up":
                mend = "mend what it says, then scheelite down and scheelite up CONFIG"
                yield Finding(link, False, f"it died too often and is given up: {said}", mend)
            case "lost":
                mend = "it is started again where it died; if this stays, see its log"
                yield Finding(link, False, f"no news from it: {said}", mend)
            case state:
                yield Finding(link, True, state)


def _digitizers(facts: Facts) -> Iterator[Finding]:
    for name, told in facts.digitizers.items():
        yield _digitizer(f"digitizer {name}", told)


def _digitizer(link: str, told: Told) -> Finding:
    state, problem = told.get("state", ""), told.get("problem", "")
    resource = told.get("resource", "")
    if not state:
        return Finding(link, False, problem or "its service does not answer", "see its log")
    if state == "connecting":
        mend = f"is it switched on, and is {resource} its address?"
        return Finding(link, False, f"not connected to {resource}: {problem or 'no answer'}", mend)
    if state == "silent":
        said = f"connected, and sends nothing for {told['silent_s']:.0f} s"
        return Finding(link, False, problem or said, "is it running, and is its clock there?")
    return Finding(link, True, f"{state}, {told['lost_samples']} samples lost so far")


def _core(facts: Facts) -> Iterator[Finding]:
    core = facts.status.get("core", {})
    for name, row in core.get("digitizers", {}).items():
        link, holds = f"samples of {name}", row["state"] in ("streaming", "waiting", "ended")
        refused = f", {row['refused']} messages refused" if row["refused"] else ""
        said = f"{row['state']} in the core at sample {row['next']}{refused}"
        yield Finding(link, holds, said, "" if holds else "its service is the link before this one")
    if facts.status["state"] != "down":
        problem, failed = core.get("problem", ""), core.get("state") not in ALIVE
        mend = "mend what it says; a new run clears it" if failed else ""
        said = f"lately: {problem}" if problem and not failed else problem
        yield Finding("core", not failed, said or "takes samples", mend)


def _disk(facts: Facts) -> Iterator[Finding]:
    free = f"{facts.free_bytes / 1e9:.1f} GB free at {facts.data_dir}"
    if not facts.writable:
        yield Finding("disk", False, f"{facts.data_dir} cannot be written to", "see its owner")
    elif facts.free_bytes < LEAST_FREE_BYTES:
        yield Finding("disk", False, f"only {free}", "make room")
    else:
        yield Finding("disk", True, free)
    problem = facts.folder.get("problem", "")
    if facts.status["state"] != "down":
        yield Finding("files", not problem, problem or "run files are made", "")


def _run(facts: Facts) -> Iterator[Finding]:
    status = facts.status
    if status["state"] == "down":
        return
    if status["state"] == "paused":
        said = f"{status['run']} is paused: whole streams are taken in, no records"
        yield Finding("run", False, said, "scheelite run resume")
        return
    if status["state"] not in ("running", "stopping"):
        said = status["problem"] or f"run control is {status['state']}"
        yield Finding("run", False, f"nothing is being recorded: {said}", "scheelite run start")
        return
    yield Finding("run", True, f"{status['run']} is being recorded")
    if status["core"].get("elapsed_s", 0.0) < QUIET_RUN_S:
        return
    for name, row in status["channels"].items():
        if not row["records"]:
            said = f"no record yet, {row['livetime_s']:.0f} s live"
            yield Finding(f"channel {name}", False, said, "is its SQUID locked, its threshold low?")


def _asked(settings: Settings, service: str) -> Told:
    try:
        return system.ask(settings, service, "status", timeout_s=ASK_S)
    except ScheeliteError as error:
        return {"problem": str(error)}


def _existing(folder: Path) -> Path:
    """The folder, or what exists of the way to it."""
    return next(home for home in (folder, *folder.parents) if home.exists())
