"""What instruments have, in words: parameters with units and ranges, for lists and documents."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from daq.datatypes import Description
from daq.errors import UsageError
from drivers.parameter import Bound

FEW, NAMED = 12, 5  # names in one sentence: all of so many, or so many of all
WIDEST = 2**31 - 1  # a whole number without a range of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One parameter of an instrument, as the instruments service lists it too."""

    name: str
    title: str
    writable: bool
    slow: bool
    datatype: Description
    shadow: bool = False  # it cannot be asked: what was last written stands for it


def described(bound: Bound[Any]) -> Described:
    """A parameter of an instrument; Any: of any datatype."""
    parameter = bound.parameter
    return Described(
        name=bound.name,
        title=parameter.title,
        writable=parameter.tell is not None,
        slow=parameter.slow,
        datatype=parameter.datatype.describe(),
        shadow=parameter.ask is None,
    )


def allowed(datatype: Description) -> str:
    """What values there are, with the unit: "0 to 2 K", "OFF | ON"; fields one after the other."""
    if datatype.fields is not None:
        return ", ".join(f"{name}: {allowed(part)}" for name, part in datatype.fields.items())
    if datatype.choices:
        text = " | ".join([_range(datatype)] * (datatype.kind == "number") + [*datatype.choices])
    elif datatype.kind == "switch":
        text = "off | on"
    elif datatype.kind == "text":
        text = f"text of up to {datatype.maximum:g}" if datatype.maximum else "text"
    else:
        text = _range(datatype)
    return f"{text} {datatype.unit}".strip()


def unknown(kind: str, known: Collection[str], found: str) -> UsageError:
    """What to say of a name that nothing has: those there are or, of many, the most like it."""
    if len(known) <= FEW:
        return UsageError(
            f"expected one of the {kind}s {', '.join(known) or '(none)'}, found {found!r}"
        )
    like = get_close_matches(found, known, NAMED) or list(known)[:NAMED]
    return UsageError(
        f"expected one of {len(known)} {kind}s such as {', '.join(like)}, found {found!r}; "
        "scheelite instruments list names them all"
    )


def units(datatype: Description, name: str) -> dict[str, str]:
    """The unit of each reading that a parameter of this name gives."""
    if datatype.fields is None:
        return {name: datatype.unit}
    parts = (units(part, f"{name}.{field}") for field, part in datatype.fields.items())
    return {key: unit for part in parts for key, unit in part.items()}


def collapsed(parameters: Iterable[Described]) -> Iterator[Described]:
    """With channels that have the same parameters as one: "input {1 to 16}.temperature"."""
    alike: dict[tuple[str, ...], list[Described]] = {}
    for each in parameters:
        shape = re.sub(r"(?<= )[0-9]+(?=\.)", "#", each.name)
        key = (shape, each.title, allowed(each.datatype), f"{each.writable}{each.slow}")
        alike.setdefault(key, []).append(each)
    for (shape, *_), group in alike.items():
        yield _joined(shape, group)


def access(parameter: Described) -> str:
    """Whether it is read or written, in words."""
    if parameter.shadow:
        return "written, never read: shadow"
    return "read, written" if parameter.writable else "read"


def _joined(shape: str, group: list[Described]) -> Described:
    first = group[0]
    if len(group) == 1:
        return first
    numbers = [int(found[1]) for e in group if (found := re.search(r" ([0-9]+)\.", e.name))]
    return Described(
        name=shape.replace("#", f"{{{_numbers(numbers)}}}"),
        title=first.title,
        writable=first.writable,
        slow=first.slow,
        datatype=first.datatype,
        shadow=first.shadow,
    )


def _numbers(numbers: list[int]) -> str:
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _range(datatype: Description) -> str:
    low, high = datatype.minimum, datatype.maximum
    if (low is None and high is None) or high == WIDEST:
        return "any" if datatype.kind != "number" or not datatype.unit else ""
    if low is None or high is None:
        return f"at most {high:g}" if low is None else f"at least {low:g}"
    return f"{low:g} to {high:g}"
