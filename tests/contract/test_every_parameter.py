"""Every driver of the catalogue and every parameter: described, refusing, and holding a value.

`pytest --bench CONFIG` reads every parameter of that config's instruments instead of the simulated
ones', and writes only the values that it lists under [instruments.NAME.safe].
"""

from __future__ import annotations

import contextlib
import math
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from daq.datatypes import Description
from daq.errors import OutOfRangeError
from drivers import catalogue
from drivers.describe import allowed
from drivers.document import catalogued, document, places
from drivers.instrument import Instrument
from drivers.parameter import NoValueError, dated, to_plain
from tests.served_bench import serving

DOCUMENT = Path(__file__).parents[2] / "docs" / "instruments.md"
DRIVERS = catalogued()[0]
KINDS = {"number", "integer", "code", "flags", "switch", "text", "fields"}
# what must be before anything can be written
FIRST = {"avs47b": [("remote", True)]}
ACTED = {"starcryo-pfl102": "initialize", "starcryo-pfl102-200ua": "initialize"}
WRITTEN = [
    # only inputs that are switched on are measured
    ("lakeshore37?", "scan", [{"input": 5, "auto": False}, {"auto": True}]),
    # the range is written together with the current that it must hold
    ("magnicon-xxf1", "*.tes_bias", [{"current": 300.0}, {"current": 50.0}, {"range": "UA_125"}]),
    # the simulated heaters give less than the driver allows, or less than their own limit
    ("triton", "heater.mxc", [1e-4]),
    ("triton", "heater.still", [1e-3]),
    ("triton", "control.range", [0.00316]),
    ("bftc", "heater.heater_?", [0.05]),
    ("bftc", "control.heater_?.setpoint", [0.1]),
    # there must be room for the amplitude, and for the pulse in its period
    ("keysight33500b", "*.offset", [1.0]),
    ("keysight33500b", "*.high", [1.5]),
    ("keysight33500b", "*.low", [-1.5]),
    ("keysight33500b", "*.frequency", [1e3]),
    ("keysight33500b", "*.pulse_width", [1e-4]),
    # the bridge would obey nobody
    ("avs47b", "remote", [True]),
]


@pytest.fixture(params=DRIVERS)
def offline(request):
    """An instrument of each model, with nothing at the other end."""
    driver = DRIVERS[request.param]
    with contextlib.closing(driver(next(iter(places(driver).values())))) as instrument:
        yield instrument


@pytest.fixture
def sent(monkeypatch):
    """Exchanges that somebody wanted: all of them go through this one method."""
    wanted = []
    monkeypatch.setattr(Instrument, "_in_step", lambda self, exchange: wanted.append(exchange))
    return wanted


# --- what is declared


def parts(description: Description):
    """A description and those of its fields."""
    yield description
    for part in (description.fields or {}).values():
        yield from parts(part)


def test_every_parameter_has_a_name_a_title_and_a_datatype(offline):
    names = [bound.name for bound in offline.parameters()]
    assert names
    assert len(set(names)) == len(names)
    for bound in offline.parameters():
        assert bound.parameter.title.endswith("."), bound.name
        for part in parts(bound.parameter.datatype.describe()):
            assert part.kind in KINDS, bound.name
            assert allowed(part), bound.name


def test_every_number_that_can_be_written_has_a_range(offline):
    for bound in writable(offline):
        for part in parts(bound.parameter.datatype.describe()):
            if part.kind in ("number", "integer"):
                assert part.minimum is not None, bound.name
                assert part.maximum is not None, bound.name
                assert part.minimum < part.maximum, bound.name


def test_every_driver_says_what_is_confirmed_and_what_is_not(offline):
    said = sys.modules[type(offline).__module__].__doc__
    assert type(offline).__doc__
    assert "onfirmed" in said
    assert "device" in said


def test_the_document_is_what_the_drivers_say():
    """Where it is not: `scheelite instruments document docs/instruments.md`."""
    assert DOCUMENT.read_text(encoding="utf-8") == document()


# --- what is refused


def writable(instrument):
    return [bound for bound in instrument.parameters() if bound.parameter.tell is not None]


def not_allowed(description: Description):
    """Values outside what a datatype describes."""
    if description.fields is not None:
        yield {"no such field": 1}
        for name, part in description.fields.items():
            yield from ({name: value} for value in not_allowed(part))
        return
    yield from (None, [], object())
    if description.kind in ("number", "integer"):
        yield from (math.nan, math.inf, -math.inf, "much", True)
        yield from (description.minimum - 1, description.maximum + 1)
    elif description.kind == "code":
        yield from ("NO_SUCH_CODE", -7)
    elif description.kind == "switch":
        yield from (7, "perhaps")
    elif description.kind == "text":
        yield from ('a"b', "a;b", "x" * (int(description.maximum or 80) + 1))


def test_what_is_not_allowed_is_refused_before_a_byte_is_sent(offline, sent):
    for bound in writable(offline):
        for value in not_allowed(bound.parameter.datatype.describe()):
            with pytest.raises(OutOfRangeError) as refused:
                bound.write(value)
            assert "found" in str(refused.value) or "outside" in str(refused.value), bound.name
            assert sent == [], f"{bound.name} = {value!r}"


# --- what is answered and held, by each simulated instrument, or by those of --bench


@pytest.fixture
def online(subject, tmp_path):
    """An instrument that answers; `subject` is from conftest: a model, or a section of a config."""
    with contextlib.ExitStack() as stack:
        if isinstance(subject, str):
            resource = stack.enter_context(serving({"it": subject}, tmp_path))["it"]
            instrument = DRIVERS[subject](resource)
        else:
            driver = catalogue.instrument(subject.model)
            instrument = driver(subject.resource, channels=subject.channels, **subject.extras)
        yield stack.enter_context(contextlib.closing(instrument))


def one_of_each(instrument):
    """Every parameter; of those that many channels have, the last one's."""
    return {id(bound.parameter): bound for bound in instrument.parameters()}.values()


def test_every_parameter_is_answered_in_its_datatype(online, subject):
    for bound in one_of_each(online) if isinstance(subject, str) else online.parameters():
        with contextlib.suppress(NoValueError):
            for reading in bound.as_readings(bound.read(), 0):
                assert isinstance(reading.value, str) or math.isfinite(reading.value), reading


def other_values(description: Description, held):
    """For each value, or field of one, another one that is allowed."""
    if description.fields is not None and held is None:
        yield {n: next(other_values(part, None)) for n, part in description.fields.items()}
    elif description.fields is not None:
        for name, part in description.fields.items():
            yield from ({name: value} for value in other_values(part, held[name]))
    elif description.kind == "switch":
        yield not held
    elif description.choices:
        yield from _others(description, held)
    elif description.kind == "text":
        yield "mixing"
    else:
        yield _between(description, held)


def _others(description, held):
    """A choice that is not the present one; numbers among choices have a unit."""
    numbers = description.kind == "code" and description.unit
    choices = [float(choice) if numbers else choice for choice in description.choices]
    yield next(choice for choice in choices if held is None or choice != to_plain(held))


def _between(description, held):
    low, high = description.minimum, description.maximum
    in_upper_part = held is not None and held > low + (high - low) / 3
    value = low + (high - low) / (4 if in_upper_part else 2)
    return int(value) if description.kind == "integer" else value


def assert_held(found, written, description, name):
    """A number within a step of any converter; everything else as it was written."""
    if isinstance(written, dict):
        for field, part in written.items():
            assert_held(found[field], part, description.fields[field], f"{name}.{field}")
    elif description.kind == "number" and not isinstance(written, str):
        step = 2e-3 * (description.maximum - description.minimum)
        assert found == pytest.approx(written, abs=step), name
    else:
        assert to_plain(found) == written, name


def held_by(bound):
    """What it holds; a shadow knows nothing before the first write."""
    return None if bound.source == "shadow" else dated(bound.read(), 0).value


def to_write(model, bound, held):
    """Values that a simulated instrument of this model can take now."""
    for of_model, name, values in WRITTEN:
        if fnmatch(model, of_model) and fnmatch(bound.name, name):
            return values
    return list(other_values(bound.parameter.datatype.describe(), held))


def test_every_parameter_holds_what_is_written(online, subject):
    if not isinstance(subject, str):
        check_safe_writes(online, subject)
        return
    prepare(online, subject)
    for bound in one_of_each(online):
        if bound.parameter.tell is not None:
            check_writes(bound, to_write(subject, bound, held_by(bound)))


def check_safe_writes(instrument, settings):
    """What the config allows; afterwards the instrument holds what it held before."""
    if not settings.safe:
        pytest.skip("its config has no table `safe`, so nothing may be written to it")
    bounds = {name: bound for bound in writable(instrument) for name in names_in(bound)}
    assert set(settings.safe) <= set(bounds), "safe: expected names of parameters to write"
    for name, values in settings.safe.items():
        bound, held = bounds[name], held_by(bounds[name])
        field = name.removeprefix(bound.name).removeprefix(".")
        try:
            check_writes(bound, [{field: value} if field else value for value in values])
        finally:
            if held is not None:
                bound.write(held)


def names_in(bound):
    """The name of a parameter, and of each of its fields."""
    fields = bound.parameter.datatype.describe().fields or {}
    return [bound.name, *(f"{bound.name}.{field}" for field in fields)]


def prepare(instrument, model):
    """Have it take what is written."""
    for name, value in FIRST.get(model, ()):
        named(instrument.parameters(), name).write(value)
    for action in instrument.actions():
        if action.action.name == ACTED.get(model):
            action()


def check_writes(bound, values):
    for value in values:
        found = dated(bound.write(value), 0).value
        assert_held(found, value, bound.parameter.datatype.describe(), bound.name)


def named(bounds, name):
    (found,) = [bound for bound in bounds if bound.name == name]
    return found
