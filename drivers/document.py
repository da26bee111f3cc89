"""The document of all instruments and digitizers that there are drivers for, from the drivers."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator

from daq.errors import UsageError
from drivers import catalogue
from drivers.describe import access, allowed, collapsed, described
from drivers.digitizer.digitizer import Digitizer
from drivers.instrument import Instrument
from drivers.transport import Line

HEAD = """\
# Instruments

Made from the drivers by `scheelite instruments document docs/instruments.md`; do not edit it, edit
them. A range is what a write accepts: anything else is refused before a byte is sent. What stands
at the end of each section says which source confirms what, and what was not confirmed on a device.
"""
PLACES = {
    "TCP": "TCPIP::192.0.2.1::7777::SOCKET",
    "serial line": "ASRL/dev/ttyUSB0::INSTR",
    "HTTP": "http://192.0.2.1:49098",
    "HTTPS": "https://192.0.2.1:49098",
    "folder": "/srv/logs",
}
ENDS = {"\n": "LF", "\r": "CR", "\r\n": "CR LF", "": "nothing"}


def document() -> str:
    """The whole document, in Markdown."""
    instruments, digitizers = catalogued()
    parts = [HEAD, *_contents(instruments, digitizers)]
    parts += [_instrument(model, driver) for model, driver in instruments.items()]
    parts += [_digitizer(model, driver) for model, driver in digitizers.items()]
    return "\n".join(parts)


def catalogued() -> tuple[dict[str, type[Instrument]], dict[str, type[Digitizer]]]:
    """The drivers of this repository, by model."""
    instruments: dict[str, type[Instrument]] = {}
    digitizers: dict[str, type[Digitizer]] = {}
    for entry in sorted(catalogue.OWN, key=lambda entry: entry.name):
        driver = entry.load()
        if issubclass(driver, Instrument):
            instruments[entry.name] = driver
        else:
            digitizers[entry.name] = driver
    return instruments, digitizers


def places(driver: type[Instrument]) -> dict[str, str]:
    """The kinds of places where such an instrument can be, each with an example."""
    return {kind: example for kind, example in PLACES.items() if _fits(driver, example)}


def _fits(driver: type[Instrument], resource: str) -> bool:
    try:
        driver.check_resource(resource)
    except UsageError:
        return False
    return True


def _contents(
    instruments: dict[str, type[Instrument]], digitizers: dict[str, type[Digitizer]]
) -> Iterator[str]:
    yield "| model | what it is |\n| --- | --- |"
    for model, driver in {**instruments, **digitizers}.items():
        yield f"| [{model}](#{model}) | {_cell(_summary(driver))} |"
    yield ""


def _instrument(model: str, driver: type[Instrument]) -> str:
    instrument = driver(next(iter(places(driver).values())))
    rows = (
        (each.name, allowed(each.datatype), access(each), "slow" if each.slow else "", each.title)
        for each in collapsed(map(described, instrument.parameters()))
    )
    actions = {action.action.name: action.action.title for action in instrument.actions()}
    instrument.close()
    said = [f"- `{name}`: {title}" for name, title in actions.items()]
    return "\n".join(
        [
            f"## {model}\n",
            f"{_about(driver)}\n",
            f"Spoken to over: {_wire(driver)}.\n",
            *_table(("parameter", "unit and range", "access", "polled", "what it is"), rows),
            *(["\nActions:\n", *said] if said else []),
            f"\n{_sources(driver)}\n",
        ]
    )


def _digitizer(model: str, driver: type[Digitizer]) -> str:
    fields = driver.settings.model_fields.items()
    rows = (
        (name, "required" if field.is_required() else str(field.default), field.description or "")
        for name, field in fields
    )
    return "\n".join(
        [
            f"## {model}\n",
            f"{_about(driver)}\n",
            *_table(("setting", "default", "what it is"), rows),
            f"\n{_sources(driver)}\n",
        ]
    )


def _wire(driver: type[Instrument]) -> str:
    line = getattr(driver, "line", None)
    kinds = ", ".join(places(driver))
    if not isinstance(line, Line):
        return kinds
    told = [kinds]
    if "serial line" in places(driver):
        port = line.serial
        told.append(f"{port.baud} baud, {port.data_bits} data bits, parity {port.parity}")
    told.append(f"messages end with {_end(line.send_end)}, replies with {_end(line.reply_end)}")
    told.append(f"an answer within {line.timeout_s:g} s")
    told += [f"{1e3 * line.quiet_s:g} ms between messages"] if line.quiet_s else []
    told += [f"{1e3 * driver.settle_s:g} ms to settle"] if driver.settle_s else []
    return "; ".join(told)


def _end(characters: str) -> str:
    return ENDS.get(characters, repr(characters))


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(headings) + " |"
    yield "|" + " --- |" * len(headings)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _summary(driver: type[object]) -> str:
    return _about(driver).split("\n")[0]


def _about(driver: type[object]) -> str:
    return inspect.cleandoc(driver.__doc__ or "")


def _sources(driver: type[object]) -> str:
    """What the module says of where its facts come from."""
    return inspect.cleandoc(sys.modules[driver.__module__].__doc__ or "")
