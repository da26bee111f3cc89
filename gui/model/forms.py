"""Forms made from the instruments' own descriptions: what can be set, within what, and what holds.

A value out of its range cannot be sent; the sentence that says so is made here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from daq.errors import WireError
from gui.model.services import ReadingItem
from gui.model.text import NONE, number

Plain = float | int | str | bool
Stage = Literal["idle", "pending", "done", "refused"]
WORDS = {"idle": "", "pending": "◌ sent", "done": "✓ done", "refused": "■ refused"}
ON = ("on", "true", "1", "yes")
OFF = ("off", "false", "0", "no")


class Kind(msgspec.Struct, frozen=True):
    """The description of a datatype: what values there are."""

    kind: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    fields: dict[str, Kind] | None = None


class Listed(msgspec.Struct, frozen=True):
    """One parameter as the instruments service lists it."""

    name: str
    title: str
    writable: bool
    slow: bool
    shadow: bool
    datatype: Kind


class ListedAction(msgspec.Struct, frozen=True):
    """Something an instrument does."""

    name: str
    title: str


class Instrument(msgspec.Struct, frozen=True):
    """One instrument as it is listed."""

    model: str
    resource: str
    parameters: list[Listed]
    actions: list[ListedAction] = []


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a form: a parameter, or one field of it, of one instrument."""

    instrument: str
    parameter: str
    part: str  # the field's name; "" for the parameter itself
    title: str
    writable: bool
    shadow: bool
    kind: Kind

    @property
    def reading(self) -> str:
        """The name of its reading in the service's state."""
        name = f"{self.parameter}.{self.part}" if self.part else self.parameter
        return f"{self.instrument}.{name}"

    @property
    def range(self) -> str:
        """What may be set, in words."""
        kind = self.kind
        if kind.kind == "switch":
            return "off or on"
        if kind.choices and kind.kind != "number":
            return " | ".join(kind.choices) + (f" {pretty(kind.unit)}" if kind.unit else "")
        if kind.kind == "text":
            return f"text of up to {kind.maximum:g} characters" if kind.maximum else "text"
        low = NONE if kind.minimum is None else number(kind.minimum)
        high = NONE if kind.maximum is None else number(kind.maximum)
        also = f" | {' | '.join(kind.choices)}" if kind.choices else ""
        return f"{low} to {high} {pretty(kind.unit)}".strip() + also

    def parse(self, text: str) -> tuple[Plain | None, str]:
        """The value to send, or None and why it cannot be sent."""
        text = text.strip()
        kind = self.kind
        if kind.kind == "switch":
            known = {**dict.fromkeys(ON, True), **dict.fromkeys(OFF, False)}
            found = known.get(text.lower())
            return (found, "") if found is not None else (None, f"off or on, not {text!r}")
        if kind.choices and text in kind.choices:
            return self._chosen(text), ""
        if kind.kind in ("number", "integer", "whole"):
            return self._number(text)
        if kind.choices:
            return None, f"one of {' | '.join(kind.choices)}, not {text!r}"
        if kind.kind == "text" and kind.maximum is not None and len(text) > kind.maximum:
            return None, f"at most {kind.maximum:g} characters, not {len(text)}"
        return text, ""

    def _chosen(self, text: str) -> Plain:
        """A choice with a unit is a number; the rest goes by its name."""
        return float(text) if self.kind.unit and self.kind.kind == "code" else text

    def _number(self, text: str) -> tuple[Plain | None, str]:
        kind = self.kind
        try:
            value = float(text)
        except ValueError:
            return None, f"a number, {self.range}; not {text!r}"
        if not math.isfinite(value):
            return None, f"a finite number, not {text!r}"
        low = -math.inf if kind.minimum is None else kind.minimum
        high = math.inf if kind.maximum is None else kind.maximum
        if not low <= value <= high:
            return None, f"{number(value)} {pretty(kind.unit)} is outside {self.range}"
        if kind.kind != "number":
            if value != int(value):
                return None, f"a whole number, not {text!r}"
            return int(value), ""
        return value, ""


@dataclass(slots=True)
class Progress:
    """How far a line's last write has come."""

    stage: Stage = "idle"
    said: str = ""


@dataclass(slots=True)
class Forms:
    """All instruments' lines, and what became of what was sent."""

    instruments: dict[str, Instrument] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)  # by reading

    def take(self, listed: object) -> None:
        """Take in the answer to "list"; WireError where it is none."""
        try:
            self.instruments = msgspec.convert(listed, dict[str, Instrument])
        except msgspec.ValidationError as error:
            raise WireError(f"expected a list of instruments, found: {error}") from error

    def lines(self, instrument: str, part: str = "") -> list[Line]:
        """The lines of an instrument, or of its channel `part` such as "squid 1"."""
        described = self.instruments.get(instrument)
        if described is None:
            return []
        chosen = [p for p in described.parameters if not part or p.name.startswith(f"{part}.")]
        return [line for each in chosen for line in _lines(instrument, each)]

    def parts(self, instrument: str) -> list[str]:
        """The channels that an instrument's parameters belong to; "" is itself."""
        described = self.instruments.get(instrument)
        names = [p.name for p in described.parameters] if described else []
        found = dict.fromkeys(name.rpartition(".")[0] for name in names)
        return list(found)

    def actions(self, instrument: str, part: str = "") -> list[ListedAction]:
        """What an instrument, or its channel, can do."""
        described = self.instruments.get(instrument)
        listed = described.actions if described else []
        return [a for a in listed if a.name.rpartition(".")[0] == part]

    def composed(
        self, line: Line, value: Plain, readings: Mapping[str, ReadingItem]
    ) -> tuple[Any, str]:
        """What "write" takes, or None and why not; Any: a value, or a table of all fields.

        A field is written together with what the others hold.
        """
        if not line.part:
            return value, ""
        others = [o for o in self.lines(line.instrument) if o.parameter == line.parameter]
        held = {o.part: readings.get(o.reading, ReadingItem()).value for o in others}
        unknown = [part for part, held_value in held.items() if held_value is None]
        if set(unknown) - {line.part}:
            return None, f"{', '.join(unknown)} of {line.parameter} are not known: write them first"
        return {**held, line.part: value}, ""

    def begin(self, reading: str) -> None:
        """Something is on its way."""
        self.progress[reading] = Progress("pending")

    def end(self, reading: str, refusal: str, result: Mapping[str, Any]) -> None:
        """It was done, or refused."""
        said = refusal or f"now {shown_value(result.get('value'))}"
        self.progress[reading] = Progress("refused" if refusal else "done", said)


def _lines(instrument: str, listed: Listed) -> list[Line]:
    fields = listed.datatype.fields or {"": listed.datatype}
    return [
        Line(
            instrument=instrument,
            parameter=listed.name,
            part=part,
            title=listed.title,
            writable=listed.writable,
            shadow=listed.shadow,
            kind=kind,
        )
        for part, kind in fields.items()
    ]


def shown_value(value: object) -> str:
    """A value as a form shows it, without its unit."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown_value(part)}" for key, part in value.items())
    return str(value)


def pretty(unit: str) -> str:
    """A unit as one reads it: kohm -> kΩ, uA -> µA, pA/rtHz -> pA/√Hz."""
    unit = unit.replace("ohm", "Ω").replace("rtHz", "√Hz")
    return f"µ{unit[1:]}" if unit[:1] == "u" and len(unit) > 1 else unit


def labelled(text: str) -> str:
    """An axis' label with its unit in brackets as one reads it."""
    return re.sub(r"\[(.+?)\]", lambda unit: f"[{pretty(unit[1])}]", text)


def shown_reading(reading: ReadingItem | None) -> tuple[str, str, str]:
    """A reading's (text with unit, tone, source in words)."""
    if reading is None:
        return NONE, "stale", "not read yet"
    if reading.value is None:
        return NONE, "stale", reading.text or reading.source
    text = f"{shown_value(reading.value)} {pretty(reading.unit)}".strip()
    if reading.stale:
        return text, "stale", f"{reading.source}, old {reading.text}".strip()
    return text, "normal", reading.source
