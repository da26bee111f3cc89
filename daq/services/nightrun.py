"""A night in progress: which step it is at, driven by looks, and kept on the disk step by step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from daq.errors import ScheeliteError
from daq.services.nightsteps import (
    Answer,
    Ask,
    Facts,
    Look,
    Step,
    StepError,
    said,
    step_of,
)
from daq.settings.nightplan import PARTS, NightPlan
from daq.store import disk

PLAN, JOURNAL, REPORT = "plan.toml", "journal.json", "report.html"
Deed = Callable[[Ask], Answer | Future[Answer]]


class Row(msgspec.Struct):
    """A step that is over, or the one that is being done; times are UTC [ns]."""

    place: str
    round: int
    what: str
    began_ns: int
    ended_ns: int = 0
    outcome: str = ""
    failed: bool = False
    runs: list[int] = []


class Journal(msgspec.Struct):
    """All of a night that a crash must not take."""

    name: str
    began_ns: int
    until_ns: int  # of what repeats; 0 where nothing does
    who: str = ""
    part: str = "first"
    index: int = 0
    round: int = 0
    memory: dict[str, Any] = {}  # Any: the step's own few JSON values
    rows: list[Row] = []
    ended_ns: int = 0
    outcome: str = ""
    hurry: str = ""  # why it comes to its end before its time


class NightRun:
    """One night. `tick` is called with what there is to see; `do` does what a step asks for."""

    def __init__(self, folder: Path, plan: NightPlan, journal: Journal, do: Deed) -> None:
        self.folder, self.plan, self.journal, self._do = folder, plan, journal, do
        self._step: Step | None = None
        self._ask: Ask = Look()
        self._deed: Future[Answer] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return bool(self.journal.ended_ns)

    def hurry(self, why: str) -> None:
        """End the step at hand, and then do [[last]]; a second time end [[last]] as well."""
        journal = self.journal
        again = bool(journal.hurry)
        journal.hurry = why
        if again and journal.part == "last":
            journal.memory["abandoned"] = why
        self._save()

    def tick(self, facts: Facts) -> bool:
        """Go as far as can be gone with what is seen now; whether the night is over."""
        if self._step is None:
            self._next(facts)
        else:
            answer = self._answer(self._hurried(facts))
            if answer is not None:
                self._advance(answer, facts)
        return self.over

    def body(self) -> dict[str, Any]:  # Any: JSON, for the state
        """What is told of it."""
        journal = self.journal
        return {
            "name": journal.name,
            "folder": str(self.folder),
            "state": "over" if self.over else "running",
            "part": journal.part,
            "round": journal.round,
            "began_ns": journal.began_ns,
            "until_ns": journal.until_ns,
            "ended_ns": journal.ended_ns,
            "outcome": journal.outcome,
            "steps": msgspec.to_builtins(journal.rows[-20:]),
        }

    @property
    def runs(self) -> list[int]:
        """Every run of the night so far."""
        return [run for row in self.journal.rows for run in row.runs]

    # --- the step at hand -----------------------------------------------------------------------

    def _answer(self, facts: Facts) -> Answer | None:
        """To what the step asked last; None while that is being done."""
        if isinstance(self._ask, Look):
            return Answer(facts=facts)
        if self._deed is not None and self._deed.done():
            deed, self._deed = self._deed, None
            return deed.result()
        return None

    def _advance(self, answer: Answer, facts: Facts) -> None:
        assert self._step is not None
        try:
            self._ask = self._step.send(answer)
            while not isinstance(self._ask, Look):
                self._save()  # what is about to be done must be known to who comes after us
                done = self._do(self._ask)
                if isinstance(done, Future):
                    self._deed = done
                    break
                self._ask = self._step.send(done)
        except StopIteration as stop:
            self._ended(str(stop.value), facts, failed=False)
        except StepError as error:
            self._ended(str(error), facts, failed=True)
        else:
            self._row.runs = list(self.journal.memory.get("runs", []))

    def _ended(self, outcome: str, facts: Facts, *, failed: bool) -> None:
        journal, row = self.journal, self._row
        row.runs = list(journal.memory.get("runs", []))
        row.ended_ns, row.outcome, row.failed = facts.t_ns, outcome, failed
        self._step, journal.memory = None, {}
        journal.index += 1
        if failed and journal.part != "last":
            journal.outcome = journal.outcome or f"{row.place}: {outcome}"
            journal.part, journal.index = "last", 0
        self._save()

    def _next(self, facts: Facts) -> None:
        """Begin the step that is due, or end the night."""
        journal = self.journal
        steps = getattr(self.plan, journal.part)
        while not journal.ended_ns and self._is_past(facts, len(steps)):
            self._turn(facts)
            steps = getattr(self.plan, journal.part)
        if journal.ended_ns:
            self._save()
            return
        step = steps[journal.index]
        place = f"{journal.part}.{journal.index}"
        if not (journal.rows and not journal.rows[-1].ended_ns):  # else it goes on after a crash
            journal.rows.append(Row(place, journal.round, said(step), facts.t_ns))
        self._step = step_of(step, journal.name, journal.memory)
        self._ask = next(self._step)  # every step looks first
        self._save()

    def _is_past(self, facts: Facts, n_steps: int) -> bool:
        journal = self.journal
        if journal.part != "last" and journal.hurry:
            return True
        if journal.part == "repeat" and facts.t_ns >= journal.until_ns:
            return True
        return journal.index >= n_steps

    def _turn(self, facts: Facts) -> None:
        """The next round, the next part, or the end."""
        journal = self.journal
        more = journal.part == "repeat" and not journal.hurry and facts.t_ns < journal.until_ns
        if more and self.plan.repeat:
            journal.index, journal.round = 0, journal.round + 1
        elif journal.part == PARTS[-1]:
            journal.ended_ns = facts.t_ns
            journal.outcome = journal.outcome or journal.hurry or "done"
        else:
            journal.part, journal.index = PARTS[PARTS.index(journal.part) + 1], 0

    def _hurried(self, facts: Facts) -> Facts:
        """With the reason why the step must come to its end, where there is one."""
        journal, why = self.journal, ""
        if journal.part == "last":
            why = str(journal.memory.get("abandoned", ""))
        elif journal.hurry:
            why = journal.hurry
        elif journal.part == "repeat" and facts.t_ns >= journal.until_ns:
            why = f"it is {self.plan.until}"
        return replace(facts, hurry=why) if why else facts

    @property
    def _row(self) -> Row:
        return self.journal.rows[-1]

    def _save(self) -> None:
        path = self.folder / JOURNAL
        disk.publish(path, msgspec.json.encode(self.journal))


def begin(
    home: Path, plan: NightPlan, text: str, journal: Journal, stamp: str, do: Deed
) -> NightRun:
    """A new night in a folder of its own below `home`."""
    folder = home / stamp
    with disk.naming("make", folder):
        folder.mkdir(parents=True)
    disk.publish(folder / PLAN, text.encode())
    night = NightRun(folder, plan, journal, do)
    disk.publish(folder / JOURNAL, msgspec.json.encode(journal))
    return night


def newest(home: Path) -> Path | None:
    """The folder of the last night; None where there was none."""
    folders = sorted(path for path in home.glob("*") if (path / JOURNAL).exists())
    return folders[-1] if folders else None


def read_journal(folder: Path) -> Journal:
    """What is known of a night; ScheeliteError where it cannot be read."""
    try:
        return msgspec.json.decode((folder / JOURNAL).read_bytes(), type=Journal)
    except (OSError, msgspec.DecodeError) as error:
        raise ScheeliteError(f"{folder / JOURNAL}: expected a night's journal: {error}") from error
