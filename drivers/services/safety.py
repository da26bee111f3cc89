"""Hard limits on what may be written, and the safe state when nobody is in command any more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from daq.datatypes import Patching
from daq.errors import OutOfRangeError, UsageError
from daq.run.lease import Held
from daq.settings.watch import Order
from drivers.instrument import Instrument
from drivers.orders import cannot_write
from drivers.parameter import Bound
from drivers.settings import Limit, Safety

NUMBERS = ("number", "integer")


class Limits:
    """The laboratory's own limits, tighter than the instruments'; whoever asks, they hold."""

    def __init__(self, limits: Mapping[str, Limit], instruments: Mapping[str, Instrument]) -> None:
        """UsageError for a limit on what there is not: it would protect nothing."""
        self._limits = limits
        self._patching = {
            f"{name}.{bound.name}": datatype
            for name, instrument in instruments.items()
            for bound in instrument.parameters()
            if isinstance(datatype := bound.parameter.datatype, Patching)
        }
        known = {
            f"{name}.{each}"
            for name, instrument in instruments.items()
            for bound in instrument.parameters()
            for each in _places(bound)
        }
        for name in limits:
            if name not in known:
                raise UsageError(f"safety.limits: expected a number to write, found {name!r}")

    def check(self, instrument: str, parameter: str, value: object) -> None:
        """OutOfRangeError before anything is sent; a field of several is "parameter.field"."""
        place = f"{instrument}.{parameter}"
        if place in self._patching:
            value = self._patching[place].by_field(value)
        if isinstance(value, Mapping):
            for field, part in value.items():
                self._check(f"{place}.{field}", part)
        else:
            self._check(place, value)

    def _check(self, place: str, value: object) -> None:
        limit = self._limits.get(place)
        if limit is None:
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise OutOfRangeError(f"{place}: expected a number, found {value!r}")
        if not limit.least <= value <= limit.most:
            raise OutOfRangeError(
                f"{place}: {value:g} is outside {limit.least:g} to {limit.most:g}, "
                "which [safety] or [detectors] allow here"
            )


@dataclass(frozen=True, slots=True)
class News:
    """What is known of who commands: who holds the lease, and how old run control's news is."""

    held: Held | None
    quiet_s: float


class Watch:
    """Says once when the safe state is due, and again only after all was well in between."""

    def __init__(self, safety: Safety, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._safety, self._now_ns = safety, now_ns
        self._last: Held | None = None  # who commanded last, unless he gave the lease back
        self._fired = False

    def due(self, news: News) -> str:
        """Why the safe state must be taken now, or ""."""
        reason = self._reason(news)
        fires = bool(reason) and not self._fired
        self._fired = bool(reason)
        return reason if fires else ""

    def _reason(self, news: News) -> str:
        patience_s = self._safety.without_run_control_s
        if patience_s is not None and news.quiet_s > patience_s:
            return f"run control has said nothing for {news.quiet_s:.0f} s"
        patience_s, alone_s = self._safety.without_operator_s, self._alone_s(news.held)
        if patience_s is not None and alone_s > patience_s:
            assert self._last is not None
            return f"the lease of {self._last.who} ran out {alone_s:.0f} s ago"
        return ""

    def _alone_s(self, held: Held | None) -> float:
        """For how long a lease that nobody gave back has been over."""
        if held is not None:
            self._last = held
        elif self._last is not None and self._now_ns() < self._last.until_ns:
            self._last = None  # it was given back
        return -math.inf if self._last is None else (self._now_ns() - self._last.until_ns) / 1e9


def check_orders(orders: Iterable[Order], instruments: Mapping[str, Instrument]) -> None:
    """UsageError for an order that no instrument could obey, before it is needed at night."""
    for order in orders:
        why = cannot_write(instruments, order.instrument, order.parameter, order.value)
        if why:
            raise UsageError(f"safety.orders: {why}")


def _places(bound: Bound[Any]) -> Iterable[str]:  # Any: of any parameter
    """The names of the numbers that can be written to a parameter."""
    described = bound.parameter.datatype.describe()
    parts = described.fields or {}
    if bound.parameter.tell is None:
        return ()
    if parts:
        return [f"{bound.name}.{n}" for n, part in parts.items() if part.kind in NUMBERS]
    return [bound.name] if described.kind in NUMBERS else ()
