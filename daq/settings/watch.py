"""The sections of the config for the night: alarms, whom they tell, the heartbeat, the web page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from daq.run.quantities import known
from daq.settings.sections import Channels, Kinds, Name, Section
from daq.settings.units import SUFFIXES

MOST_NAMES, SHOWN = 60, 16
Action = Literal["pause", "relock", "end-run"]
# any of these may be written with its unit: above = "15 mK"
LEVELS = ("above", "below", "hysteresis")


class Order(Section):
    """A value to write to a parameter of an instrument."""

    instrument: Name = Field(description="Which of [instruments].")
    parameter: str = Field(min_length=1, description='Such as "heater_range".')
    value: bool | int | float | str | dict[str, bool | int | float | str] = Field(
        description="What it takes then, as `scheelite instruments write` does."
    )


@runtime_checkable
class Readable(Protocol):
    """What the drivers' section of instruments knows of their parameters."""

    def quantities(self) -> Mapping[str, str]:
        """Name -> unit of every reading."""

    def cannot_write(self, instrument: str, parameter: str, value: object) -> str:
        """Why an order could not be obeyed; empty where it could."""


# Any: what a TOML table holds
def with_levels(given: Any) -> Any:
    """Levels that were written with a unit, as plain numbers with the unit beside them."""
    if not isinstance(given, Mapping):
        return given
    taken = dict(given)
    for level in LEVELS:
        for suffix, (symbol, _) in SUFFIXES.items():
            if f"{level}_{suffix}" in taken:
                taken[level] = taken.pop(f"{level}_{suffix}")
                taken["unit"] = symbol
    return taken


class Condition(Section):
    """A quantity and its limits, in its own unit."""

    watch: str = Field(min_length=1, description="A quantity: scheelite alarms quantities.")
    above: float | None = Field(None, description="The limit from below.")
    below: float | None = Field(None, description="The limit from above.")
    unit: str = Field("", description="Of the limits, where they were given with one.")

    @model_validator(mode="before")
    @classmethod
    def _levels(cls, given: Any) -> Any:
        return with_levels(given)


class AlarmRule(Condition):
    """An alarm: what is watched, when it is raised, who is told and what is done."""

    stale: bool = Field(False, description="Raised where there is no fresh value.")
    hysteresis: float = Field(0.0, ge=0, description="So far back inside the limit it clears.")
    over_s: float = Field(
        0.0, ge=0, le=86400, description="The change per second over this time is judged; 0: not."
    )
    grace_s: float = Field(0.0, ge=0, le=86400, description="Raised after so long [s].")
    severity: Literal["info", "warning", "critical"] = Field("warning", description="How bad.")
    latching: bool = Field(True, description="Stays until it is acknowledged.")
    tell: list[Name] = Field([], description="Who of [notify] is told when it is raised and over.")
    escalate_to: list[Name] = Field([], description="Who is told where nobody acknowledges it.")
    escalate_after_s: float = Field(900.0, ge=0, le=86400, description="... after this time [s].")
    do: list[Action] = Field([], description="What is done to the run when it is raised.")
    orders: list[Order] = Field([], description="What is written then, such as a heater's range.")
    advice: str = Field("", max_length=200, description="What to do about it.")

    @model_validator(mode="after")
    def _one_kind(self) -> AlarmRule:
        limits = [limit for limit in (self.above, self.below) if limit is not None]
        if self.stale == bool(limits):
            found = "both" if limits else "neither"
            raise ValueError(f"expected stale, or above or below, found {found}")
        if self.above is not None and self.below is not None and self.below >= self.above:
            raise ValueError(f"expected below under above {self.above:g}, found {self.below:g}")
        return self


class AlarmRules(RootModel[dict[Name, AlarmRule]]):
    """Alarms by name."""

    model_config = ConfigDict(frozen=True, strict=True)


class Email(Section):
    """Somebody's mailbox."""

    kind: Literal["email"]
    host: str = Field(min_length=1, description="The mail server.")
    port: int = Field(25, ge=1, le=65535, description="Its port.")
    tls: Literal["none", "starttls", "tls"] = Field("none", description="How it is encrypted.")
    user: str = Field("", description="Where the server wants one.")
    password_file: str = Field("", description="A file with the password, and nothing else.")
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", description="From whom.")
    to: Annotated[list[str], Field(min_length=1)] = Field(description="To whom.")


class Webhook(Section):
    """An address that takes JSON."""

    kind: Literal["webhook"]
    url: str = Field(pattern=r"^https?://[^\s]+$", description="Where it is posted.")
    token_file: str = Field("", description="A file with a bearer token, and nothing else.")


class Command(Section):
    """A program; it gets the sentence as its last argument, and JSON on standard input."""

    kind: Literal["command"]
    command: Annotated[list[str], Field(min_length=1)] = Field(description="And its arguments.")


Notifier = Annotated[Email | Webhook | Command, Field(discriminator="kind")]


class Notifiers(RootModel[dict[Name, Notifier]]):
    """Who can be told, by name."""

    model_config = ConfigDict(frozen=True, strict=True)


class Heartbeat(Section):
    """A sign of life for whoever watches us: sent while no service is lost, and else not."""

    every_s: float = Field(60.0, ge=0.05, le=86400, description="So often [s].")
    url: str = Field("", pattern=r"^(https?://[^\s]+)?$", description="Where it is asked for.")
    file: str = Field("", description="Or a file that is written.")
    command: list[str] = Field([], description="Or a program that is run.")

    @model_validator(mode="after")
    def _one_way(self) -> Heartbeat:
        given = [bool(self.url), bool(self.file), bool(self.command)]
        if sum(given) != 1:
            raise ValueError(f"expected one of url, file and command, found {sum(given)}")
        return self


class Night(Section):
    """How run control's timers go."""

    speed: float = Field(
        1.0, ge=1, le=1e4, description="Simulated seconds per second; for benches of that speed."
    )


class Web(Section):
    """The page for the telephone, and the numbers for Prometheus."""

    host: str = Field("127.0.0.1", min_length=1, description="Beyond this machine: a token_file.")
    port: int = Field(8411, ge=0, le=65535, description="0: chosen by the system.")
    token_file: str = Field("", description="A file with the token that is asked for.")

    @model_validator(mode="after")
    def _guarded(self) -> Web:
        if self.host not in ("127.0.0.1", "localhost", "::1") and not self.token_file:
            raise ValueError(
                f"expected host 127.0.0.1, or a token_file for who comes from beyond this machine, "
                f"found {self.host}"
            )
        return self


# --- what no section can see alone -----------------------------------------------------------


def quantities_of(sections: Mapping[str, BaseModel]) -> dict[str, str]:
    """Name -> unit of everything that can be watched."""
    channels = sections.get("channels")
    instruments: object = sections.get("instruments")
    entries = channels.root if isinstance(channels, Channels) else {}
    digitizers = list(dict.fromkeys(entry.digitizer for entry in entries.values()))
    readings = dict(instruments.quantities()) if isinstance(instruments, Readable) else {}
    services = ["folder", "core", *(["instruments"] if instruments else [])]
    services += [f"digitizer.{name}" for name in digitizers]
    return known((n for n, e in entries.items() if e.enabled), digitizers, services, readings)


def watch_problems(sections: Mapping[str, BaseModel]) -> Iterable[str]:
    """Alarms on what there is not, that tell nobody who is, or order what cannot be written."""
    rules = sections.get("alarms")
    if not isinstance(rules, AlarmRules):
        return
    names = quantities_of(sections)
    notify = sections.get("notify")
    told = notify.root if isinstance(notify, Notifiers) else {}
    for name, rule in rules.root.items():
        place = f"alarms.{name}"
        yield from condition_problems(f"{place}.", rule, names)
        for key, people in (("tell", rule.tell), ("escalate_to", rule.escalate_to)):
            for person in [each for each in people if each not in told]:
                those = ", ".join(told) or "none"
                yield f"{place}.{key}: expected one of [notify] ({those}), found {person!r}"
        if "relock" in rule.do and channel_of(rule.watch) not in lockable(sections):
            those = ", ".join(lockable(sections)) or "none"
            yield (
                f"{place}.do: expected relock for a quantity of a channel with a squid and a guard "
                f"({those}), found {rule.watch}"
            )
        yield from order_problems(f"{place}.orders", rule.orders, sections)


def lockable(sections: Mapping[str, BaseModel]) -> list[str]:
    """The channels that run control can lock anew."""
    channels, kinds = sections.get("channels"), sections.get("kinds")
    if not isinstance(channels, Channels) or not isinstance(kinds, Kinds):
        return []
    found = {n: kinds.root.get(e.kind) for n, e in channels.root.items() if e.squid and e.enabled}
    return [name for name, kind in found.items() if kind is not None and kind.guard]


def channel_of(watch: str) -> str:
    """The channel that a quantity is of; empty where it is of none."""
    group, _, rest = watch.partition(".")
    return rest.partition(".")[0] if group == "channels" else ""


def condition_problems(
    prefix: str, condition: Condition, names: Mapping[str, str]
) -> Iterable[str]:
    """A quantity that there is not, or a unit that is not its own."""
    if condition.watch not in names:
        found = f"found {condition.watch!r}"
        yield f"{prefix}watch: expected one of {_like(condition.watch, names)}; {found}"
    elif condition.unit and condition.unit != names[condition.watch]:
        unit = names[condition.watch] or "no unit"
        yield f"{prefix}watch: {condition.watch} is in {unit}, found limits in {condition.unit}"


def order_problems(
    place: str, orders: Iterable[Order], sections: Mapping[str, BaseModel]
) -> Iterable[str]:
    """Orders that no instrument could obey."""
    instruments: object = sections.get("instruments")
    for i, order in enumerate(orders):
        if not isinstance(instruments, Readable):
            yield f"{place}.{i}: expected [instruments] for an order, found none"
            continue
        why = instruments.cannot_write(order.instrument, order.parameter, order.value)
        if why:
            yield f"{place}.{i}: {why}"


def secret(path: str, beside: Path) -> str:
    """What a file holds that is named in a config; empty for no file."""
    return (beside / Path(path).expanduser()).read_text(encoding="utf-8").strip() if path else ""


def _like(found: str, names: Mapping[str, str]) -> str:
    """The known names: all of a few, else those most like the one that was found."""
    if len(names) <= MOST_NAMES:
        return ", ".join(names)
    first = found.partition(".")[0]
    close = get_close_matches(found, names, 8, 0.3)
    near = list(dict.fromkeys([*close, *(n for n in names if n.startswith(f"{first}."))]))
    shown = near[:SHOWN] or sorted({f"{n.partition('.')[0]}..." for n in names})
    rest = len(names) - len(shown)
    return f"{', '.join(shown)} (scheelite alarms quantities lists {rest} more)"
