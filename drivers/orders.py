"""Whether an order could be obeyed, known before it is needed at night."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daq.datatypes import Datatype, Patching
from daq.errors import OutOfRangeError
from drivers.instrument import Instrument


def cannot_write(
    instruments: Mapping[str, Instrument], instrument: str, parameter: str, value: object
) -> str:
    """Why a value cannot be written; empty where it can. No instrument is asked."""
    if instrument not in instruments:
        return f"expected an instrument, found {instrument!r}"
    bounds = {b.name: b for b in instruments[instrument].parameters()}
    bound = bounds.get(parameter)
    if bound is None or bound.parameter.tell is None:
        return f"expected a parameter of {instrument} that can be written, found {parameter!r}"
    try:
        _check_value(bound.parameter.datatype, value)
    except OutOfRangeError as error:
        return f"{instrument}.{bound.name}: {error}"
    return ""


def _check_value(datatype: Datatype[Any], value: object) -> None:  # Any: of any parameter
    if isinstance(datatype, Patching):
        datatype.check(value)
    else:
        datatype.refuse(value)
