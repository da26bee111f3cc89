"""Load a config: every mistake of the whole file at once, each with its place."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from daq.errors import SettingsError, UsageError
from daq.settings import units
from daq.settings.detectors import Detectors
from daq.settings.sections import (
    Channels,
    Digitizers,
    Endpoints,
    Events,
    Experiment,
    ExternalTrigger,
    Filters,
    Kinds,
    MatchedTrigger,
    Security,
    Stability,
)
from daq.settings.watch import watch_problems

GROUP = "scheelite.settings"
REQUIRED = ("experiment", "kinds", "channels", "digitizers")
S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked config: its text, where it came from, and its sections by name."""

    path: Path
    text: str
    sections: Mapping[str, BaseModel]

    def section(self, kind: type[S]) -> S:
        """The section of one type; UsageError where the config has none."""
        for section in self.sections.values():
            if isinstance(section, kind):
                return section
        raise UsageError(f"{self.path} has no section for {kind.__name__.lower()}")

    def endpoint(self, socket: str) -> str:
        """Where a socket is, such as "core.blocks"; behind a "#", the keys that guard it."""
        at = self.section(Endpoints).of(socket, runtime_dir())
        keys = self.keys
        return f"{at}#{keys}" if keys is not None and at.startswith("tcp://") else at

    @property
    def keys(self) -> Path | None:
        """Folder of the keys, absolute; None where only this machine is served."""
        security = self.sections.get("security")
        if not isinstance(security, Security):
            return None
        return Path(security.keys).expanduser().absolute()

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Channels in the order of the config."""
        return tuple(n for n, c in self.section(Channels).root.items() if c.enabled)

    @property
    def digitizer_names(self) -> tuple[str, ...]:
        """Digitizers that channels are on, in the order of the config."""
        return tuple(dict.fromkeys(c.digitizer for c in self.section(Channels).root.values()))

    @property
    def data_dir(self) -> Path:
        """Folder of the run folders, absolute."""
        return Path(self.section(Experiment).data_dir).absolute()

    def validated(self) -> dict[str, Any]:
        """What was understood, as JSON-able values, for the file."""
        return {name: s.model_dump(mode="json") for name, s in self.sections.items()}


def runtime_dir() -> Path:
    """The folder of this user's sockets and of what `up` remembers; made 0700 by who writes there.

    SCHEELITE_RUNTIME overrides it, so that several systems can run side by side.
    """
    chosen = os.environ.get("SCHEELITE_RUNTIME")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "scheelite" if base else Path(f"/tmp/scheelite-{os.getuid()}")


def load(path: Path) -> Settings:
    """The settings in a TOML file; SettingsError lists every mistake with its place."""
    return parse(read_toml(path), path)


def parse(text: str, path: Path) -> Settings:
    """The settings in a text; `path` is what the errors name."""
    document = _document(text, path)
    known = {e.name: e for e in entry_points(group=GROUP)}
    problems = [
        f"{n}: unknown section (known: {', '.join(known)})" for n in document if n not in known
    ]
    problems += [f"{n}: section is missing" for n in REQUIRED if n not in document]
    sections: dict[str, BaseModel] = {}
    for name, entry in known.items():
        if name in document or name in _DEFAULTED:
            section, found = _section(entry.load(), document.get(name, {}), name)
            problems += found
            if section is not None:
                sections[name] = section
    problems += _contradictions(sections, {name for name in document if name not in sections})
    if problems:
        raise SettingsError(str(path), [_with_line(p, text) for p in problems])
    return Settings(path, text, sections)


# Any: what a TOML file holds
def checked(kind: type[S], text: str, path: Path) -> tuple[S | None, list[str]]:
    """A TOML text as one section, and its problems, each with its place and line."""
    section, found = _section(kind, _document(text, path), "")
    return section, [_with_line(p.removeprefix("."), text) for p in found]


# Any: what a TOML file holds
def _document(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and int's own at 4300 digits
        raise SettingsError(str(path), [f"not TOML: {error}"]) from error
    except RecursionError as error:
        raise SettingsError(str(path), ["not TOML: brackets in brackets without end"]) from error


_DEFAULTED = ("endpoints", "storage", "events", "filters", "relock", "stability")


def read_toml(path: Path) -> str:
    """The text of a config; UsageError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such config") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a config: {error}") from error


def _section(kind: type[S], given: Any, name: str) -> tuple[S | None, list[str]]:
    problems: list[str] = []
    converted = _converted(given, name, problems)
    said = {problem.partition(":")[0] for problem in problems}
    try:
        return kind.model_validate(converted), problems
    except ValidationError as error:
        found = [_problem(name, e) for e in error.errors(include_url=False)]
        return None, problems + [f for f in found if f.partition(":")[0] not in said]


def _converted(given: Any, place: str, problems: list[str]) -> Any:
    """The same values with every `key = "12 mK"` turned into `key_k = 0.012`, at any depth."""
    if isinstance(given, list):
        return [_converted(one, f"{place}.{i}", problems) for i, one in enumerate(given)]
    if not isinstance(given, dict):
        return given
    result: dict[str, Any] = {}
    for key, value in given.items():
        new_key, new_value = _quantity(key, value, f"{place}.{key}", problems)
        if new_key in result:
            problems.append(f"{place}.{key}: is given twice, with and without its unit")
        result[new_key] = _converted(new_value, f"{place}.{key}", problems)
    return result


_LOOKS_LIKE_QUANTITY = re.compile(r"\A\s*[-+]?[0-9][0-9_.eE+-]*\s*[A-Za-zµ]+\s*\Z")


def _quantity(key: str, value: Any, place: str, problems: list[str]) -> tuple[str, Any]:
    if not isinstance(value, str) or not _LOOKS_LIKE_QUANTITY.match(value):
        return key, value
    own = units.suffix_of(key)
    for suffix in (own,) if own else tuple(units.SUFFIXES):
        try:
            return (key if own else f"{key}_{suffix}"), units.convert(value, suffix)
        except ValueError as error:
            if own:
                problems.append(f"{place}: {error}")
                return key, value
    return key, value


def _problem(section: str, error: Mapping[str, Any]) -> str:
    place = ".".join([section, *(str(part) for part in error["loc"])])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key, found {error['input']!r}"
    if error["type"] in ("missing", "value_error"):
        return f"{place}: {message[0].lower()}{message[1:]}"
    return f"{place}: {message[0].lower()}{message[1:]}, found {error['input']!r}"


def _contradictions(sections: Mapping[str, BaseModel], broken: set[str]) -> Iterable[str]:
    """What no section can see alone; of what is `broken` nothing is known."""
    yield from _unguarded(sections)
    yield from watch_problems(sections)
    detectors = sections.get("detectors")
    if isinstance(detectors, Detectors) and "instruments" not in broken:
        yield from detectors.mistakes(sections)
    channels, kinds = sections.get("channels"), sections.get("kinds")
    if not isinstance(channels, Channels):
        return
    digitizers = sections.get("digitizers")
    taken: dict[tuple[str, int], str] = {}
    for name, channel in channels.root.items():
        place = f"channels.{name}"
        if isinstance(kinds, Kinds) and channel.kind not in kinds.root:
            yield f"{place}.kind: expected one of {_list(kinds.root)}, found {channel.kind!r}"
        if isinstance(digitizers, Digitizers) and channel.digitizer not in digitizers.root:
            known = _list(digitizers.root)
            yield f"{place}.digitizer: expected one of {known}, found {channel.digitizer!r}"
        other = taken.setdefault((channel.digitizer, channel.input), name)
        if other != name:
            yield f"{place}.input: {channel.input} of {channel.digitizer} is already {other}'s"
    if isinstance(kinds, Kinds):
        yield from _lines(channels, kinds)
        yield from _unfiltered(channels, kinds, sections.get("filters"))
        yield from _leaking(channels, kinds, sections)
    yield from _uncommanded(channels, sections)
    yield from _unheld(sections)
    if isinstance(events := sections.get("events"), Events):
        yield from _members(events, channels)
    storage = sections.get("storage")
    chosen = getattr(storage, "raw", "none")
    for name in [] if isinstance(chosen, str) else chosen:
        if name not in channels.root:
            yield f"storage.raw: expected channels of {_list(channels.root)}, found {name!r}"
    if not channels.root:
        yield "channels: expected at least one channel, found none"
    if len(channels.root) > 64:
        yield f"channels: expected at most 64, found {len(channels.root)}"


def _unguarded(sections: Mapping[str, BaseModel]) -> Iterable[str]:
    """Sockets that other machines could reach without keys."""
    endpoints = sections.get("endpoints")
    if isinstance(endpoints, Endpoints) and "security" not in sections:
        for name, at in endpoints.beyond.items():
            yield (
                f"endpoints.{name}: expected ipc://PATH or tcp://127.0.0.1:PORT, or [security] "
                f"with the keys that a socket beyond this machine needs, found {at!r}"
            )


def _uncommanded(channels: Channels, sections: Mapping[str, BaseModel]) -> Iterable[str]:
    """What run control is to command and is no instrument of the config."""
    if "instruments" not in sections:
        return
    known = getattr(sections["instruments"], "root", {})
    asked = {f"channels.{name}.squid": entry.squid for name, entry in channels.root.items()}
    stability = sections.get("stability")
    asked["stability.generator"] = getattr(stability, "generator", "")
    for place, what in asked.items():
        if what and what.partition(".")[0] not in known:
            yield f"{place}: expected an instrument of {_list(known)} and its part, found {what!r}"


def _unheld(sections: Mapping[str, BaseModel]) -> Iterable[str]:
    """Working points that a servo is to hold, by the bias of no detector."""
    stability, detectors = sections.get("stability"), sections.get("detectors")
    if not isinstance(stability, Stability) or stability.servo is None:
        return
    known = detectors.root if isinstance(detectors, Detectors) else {}
    if not known:
        yield "stability.servo: expected [detectors] whose bias it can move, found none"
    for name in stability.servo.channels or () if known else ():
        if name not in known:
            yield f"stability.servo.channels: expected one of {_list(known)}, found {name!r}"


def _lines(channels: Channels, kinds: Kinds) -> Iterable[str]:
    """External triggers whose line is no channel, or itself waits for a line."""
    external = {
        name: [t.line for t in kind.triggers if isinstance(t, ExternalTrigger)]
        for name, kind in kinds.root.items()
    }
    for name, lines in external.items():
        for line in lines:
            of = channels.root.get(line)
            if of is None:
                known = _list(channels.root)
                yield f"kinds.{name}.triggers: expected line to be one of {known}, found {line!r}"
            elif external.get(of.kind):
                yield f"kinds.{name}.triggers: expected a line without external triggers, {line}"


def _unfiltered(channels: Channels, kinds: Kinds, filters: BaseModel | None) -> Iterable[str]:
    """Matched triggers without a file of filters."""
    if isinstance(filters, Filters) and filters.file:
        return
    used = {channel.kind for channel in channels.root.values()}
    for name, kind in kinds.root.items():
        if name in used and any(isinstance(t, MatchedTrigger) for t in kind.triggers):
            yield f"kinds.{name}.triggers: expected filters.file for a matched trigger, found none"


def _leaking(channels: Channels, kinds: Kinds, sections: Mapping[str, BaseModel]) -> Iterable[str]:
    """Blinding that something else would undo, or that cannot know its energies."""
    chosen = getattr(sections.get("storage"), "raw", "none")
    for name, channel in channels.root.items():
        kind = kinds.root.get(channel.kind)
        if kind is None or kind.blinding is None:
            continue
        if chosen == "all" or name in chosen:
            yield (
                f"storage.raw: expected no raw stream of {name}, whose kind {channel.kind} is "
                "blinded: it would show everything"
            )
        if kind.blinding.to_ev is not None and not getattr(
            sections.get("experiment"), "calibration", ""
        ):
            yield (
                f"kinds.{channel.kind}.blinding: expected experiment.calibration for an energy "
                "window, found none"
            )


def _members(events: Events, channels: Channels) -> Iterable[str]:
    """Groups and vetoes of channels or kinds that there are not."""
    known = {*channels.root, *(channel.kind for channel in channels.root.values())}
    named = [
        *((f"groups.{n}.sources", g.sources) for n, g in events.groups.items()),
        *((f"groups.{n}.receivers", g.receivers) for n, g in events.groups.items()),
        *((f"vetoes.{n}.sources", v.sources) for n, v in events.vetoes.items()),
        *((f"vetoes.{n}.tagged", v.tagged) for n, v in events.vetoes.items()),
    ]
    for place, members in named:
        for member in members:
            if member not in known:
                yield (
                    f"events.{place}: expected one of the channels {_list(channels.root)} or a "
                    f"kind that they have, found {member!r}"
                )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _with_line(problem: str, text: str) -> str:
    """The problem with the line of the file it is in, where that can be found."""
    place = problem.partition(":")[0].split(".")
    line = _line_of(place, text)
    return f"line {line}: {problem}" if line else problem


def _line_of(place: list[str], text: str) -> int:
    """Line of the deepest table or key of `place` that the text writes out; 0 for none."""
    table: list[str] = []
    best, depth = 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = [part.strip().strip("\"'") for part in header[1].split(".")]
            found = table
        elif key := re.match(r"\s*([A-Za-z0-9_\"'.-]+)\s*=", line):
            found = [*table, key[1].strip("\"'")]
        else:
            continue
        matches = len(found) <= len(place) and found == place[: len(found)]
        if matches and len(found) > depth:
            best, depth = number, len(found)
    return best
