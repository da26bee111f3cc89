"""The first config of a laboratory: what was answered to the questions, and what was found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import tomlkit
from tomlkit.items import Table

from daq.errors import InstrumentError, NotConnectedError, UsageError
from daq.settings import loader
from drivers import catalogue
from drivers.instrument import Instrument
from drivers.transport import Line, Link

QUESTION = "*IDN?"
HEAD = """\
Written by scheelite init. After changes: scheelite config check FILE. The first day of each
instrument on its real wire: docs/howto/first-contact.md. What else there is: config/bench.toml.
"""
TARGET = {"record_length": 8192, "pretrigger": 2048}
TRIGGER = {"kind": "edge", "threshold": 40.0, "rearm": 20.0, "edge_span": 24, "holdoff": 4096}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What answers at a resource: the models that it may be, best first, and what was said."""

    models: tuple[str, ...]
    said: str
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a first config is made of."""

    name: str
    data_dir: str
    digitizer: tuple[str, str]  # model, resource
    channels: tuple[str, ...]
    instruments: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # model, resource


def probe(resource: str) -> Found:
    """Ask whatever is at a resource for its identity, and nothing else.

    UsageError for a resource of no known kind. Where nothing says who it is (a folder, HTTP, an
    instrument that does not know the question), every model that can be there is named.
    """
    possible = _possible(resource)
    said = "it cannot be asked"
    for line in _lines(possible.values()):
        try:
            answer = _identity(resource, line)
        except NotConnectedError as error:
            return Found(models=tuple(possible), said=str(error), certain=False)
        except InstrumentError as error:
            said = str(error)
            continue
        known = _by_match(possible, answer)
        return Found(models=tuple(known or possible), said=f"found {answer!r}", certain=bool(known))
    return Found(models=tuple(possible), said=said, certain=False)


def write(path: Path, answers: Answers) -> None:
    """Write the config, once it is known to be all right; a file that is there stays as it is."""
    text = text_of(answers)
    loader.parse(text, path)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def text_of(answers: Answers) -> str:
    """The config as TOML."""
    document = tomlkit.document()
    for line in HEAD.splitlines():
        document.add(tomlkit.comment(line))
    model, resource = answers.digitizer
    places = {n: {"kind": "target", "digitizer": "targets", "input": i}
              for i, n in enumerate(answers.channels)}  # fmt: skip
    document["experiment"] = _table({"name": answers.name, "data_dir": answers.data_dir})
    document["digitizers"] = _super({"targets": {"model": model, "resource": resource}})
    document["kinds"] = _super({"target": {"decimation": 1, **TARGET, "triggers": [TRIGGER]}})
    document["channels"] = _table(places)
    document["instruments"] = _super(
        {name: {"model": m, "resource": r} for name, (m, r) in answers.instruments.items()}
    )
    return tomlkit.dumps(document)


def name_for(model: str, taken: Iterable[str]) -> str:
    """A name for an instrument of this model that nothing has yet."""
    base, known = re.sub(r"[^a-z0-9_]", "_", model.lower()), set(taken)
    names = (base if n == 1 else f"{base}_{n}" for n in range(1, len(known) + 2))
    return next(name for name in names if name not in known)


def _possible(resource: str) -> dict[str, type[Instrument]]:
    refusals: list[str] = []
    drivers: dict[str, type[Instrument]] = {}
    for model in catalogue.models():
        try:
            driver = catalogue.instrument(model)
            driver.check_resource(resource)
        except UsageError as error:
            refusals.append(str(error))
            continue
        drivers[model] = driver
    if not drivers:
        raise UsageError(
            "expected a resource like TCPIP::192.168.0.12::7777::SOCKET, ASRL/dev/ttyUSB0::INSTR, "
            f"http://192.168.0.12:49098 or a folder of logs, found {resource!r}"
        )
    return drivers


def _lines(drivers: Iterable[type[Instrument]]) -> list[Line]:
    """Every way to ask for an identity, once."""
    asked = [driver for driver in drivers if driver.identity_question == QUESTION]
    return list(dict.fromkeys(d.line for d in asked if isinstance(getattr(d, "line", None), Line)))


def _identity(resource: str, line: Line) -> str:
    link = Link(resource, line)
    try:
        link.open()
        return link.ask(QUESTION)
    finally:
        link.close()


def _by_match(drivers: Mapping[str, type[Instrument]], answer: str) -> list[str]:
    """The models that answer so, best match first; without those that any answer suits."""
    asked = {model: d for model, d in drivers.items() if d.identity_question == QUESTION}
    found = {model: re.match(driver.identity, answer) for model, driver in asked.items()}
    ends = {model: match.end() for model, match in found.items() if match}
    known = [model for model in ends if not re.match(asked[model].identity, "")]
    return sorted(known, key=lambda model: -ends[model])


def _table(values: Mapping[str, object]) -> Table:
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, _item(value))
    return table


def _item(value: object) -> object:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        items = tomlkit.array()
        for one in value:
            items.append(_inline(one))
        return items
    return _inline(value) if isinstance(value, Mapping) else value


def _inline(values: Mapping[str, object]) -> tomlkit.items.InlineTable:
    table = tomlkit.inline_table()
    table.update(values)
    return table


def _super(tables: Mapping[str, Mapping[str, object]]) -> Table:
    parent = tomlkit.table(is_super_table=bool(tables))
    for name, values in tables.items():
        parent.add(name, _table(values))
    return parent
