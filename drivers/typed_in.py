"""What somebody types as the value of a parameter, as the value that is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daq.datatypes import Description
from daq.errors import OutOfRangeError, UsageError
from drivers.describe import Described, allowed

SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


def value_of(parameter: Described, words: Sequence[str]) -> object:
    """The value in words such as "0.012", "MA_1", "on", or FIELD=VALUE for some of the fields.

    UsageError where they have not the form; whether the value is allowed, its datatype says.
    """
    if not parameter.writable:
        raise UsageError(f"{parameter.name} cannot be written: it is only read")
    datatype = parameter.datatype
    if datatype.fields is not None:
        return dict(_field(parameter, word) for word in words)
    if len(words) != 1:
        raise UsageError(
            f"{parameter.name}: expected one value ({allowed(datatype)}), found {len(words)}"
        )
    return _meant(parameter.name, datatype, words[0])


def _field(parameter: Described, word: str) -> tuple[str, object]:
    fields = parameter.datatype.fields or {}
    name, equals, text = word.partition("=")
    if not equals or name not in fields:
        known = ", ".join(f"{field}=VALUE" for field in fields)
        raise UsageError(f"{parameter.name}: expected some of {known}, found {word!r}")
    return name, _meant(f"{parameter.name}.{name}", fields[name], text)


def _meant(name: str, datatype: Description, text: str) -> object:
    if datatype.kind == "number" and text in datatype.choices:
        return text
    kind = "number" if datatype.kind == "code" and datatype.unit else datatype.kind
    try:
        return _MEANT.get(kind, str)(text)
    except (ValueError, KeyError) as error:
        raise OutOfRangeError(f"{name}: expected {allowed(datatype)}, found {text!r}") from error


def _switch(text: str) -> bool:
    return SWITCH[text.lower()]


_MEANT: dict[str, Callable[[str], object]] = {"number": float, "integer": int, "switch": _switch}
