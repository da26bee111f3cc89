"""Instruments: their channels and parameters declared, one line to speak over, one identity."""

from __future__ import annotations

import re
import time
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Generic, Protocol, TypeVar, overload

from daq.errors import InstrumentError, NotConnectedError, OutOfRangeError, WrongInstrumentError
from drivers.backoff import Backoff
from drivers.parameter import Action, Bound, BoundAction, Owner, Parameter
from drivers.transport import Line, Link, check_resource

T = TypeVar("T")
C = TypeVar("C", bound="Channel")
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 5.0
RETRIES = 1  # of a question, on a new line, because asking changes nothing


class Wire(Protocol):
    """What an instrument is spoken to over: a Link of text lines, HTTP, a folder of logs."""

    @property
    def resource(self) -> str:
        """Where the instrument is."""

    @property
    def lock(self) -> AbstractContextManager[object]:
        """Guards the line: one exchange at a time; reentrant."""

    @property
    def is_open(self) -> bool:
        """Whether it is open, as far as we know."""

    def is_in_step(self) -> bool:
        """Whether it is open, and the next reply answers the next question."""

    def open(self) -> None:
        """Open it anew; NotConnectedError where that fails."""

    def ask(self, text: str) -> str:
        """The reply to a question; InstrumentError where there is none."""

    def tell(self, text: str) -> None:
        """Send what has no reply."""

    def close(self) -> None:
        """Give everything back."""


class Channel(Owner):
    """A numbered part of an instrument, with parameters of its own."""

    label: ClassVar[str]

    def __init__(self, instrument: Instrument, number: int) -> None:
        self.instrument, self._number = instrument, number
        self._shadows: dict[str, Any] = {}
        instrument.forget_with(self._shadows)

    @property
    def prefix(self) -> str:
        return f"{self.label} {self._number}."

    @property
    def number(self) -> int:
        return self._number

    @property
    def shadows(self) -> dict[str, Any]:
        return self._shadows

    def ask(self, text: str, parse: Callable[[str], T]) -> T:
        return self.instrument.ask(text, parse)

    def tell(self, text: str) -> None:
        self.instrument.tell(text)

    def settle(self) -> None:
        self.instrument.settle()

    def alone(self) -> AbstractContextManager[object]:
        return self.instrument.alone()


class Channels(Generic[C]):
    """Declares the channels of one kind that an instrument may have; it has those in its config.

    Those of a kind that is not `chosen` are always there, and no channels in the config's sense.
    """

    def __init__(self, kind: type[C], numbers: Sequence[int], *, chosen: bool = True) -> None:
        self.kind, self.numbers, self.name, self.chosen = kind, tuple(numbers), "", chosen

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instrument: None, kind: type) -> Channels[C]: ...
    @overload
    def __get__(self, instrument: Instrument, kind: type) -> Mapping[int, C]: ...
    def __get__(self, instrument: Instrument | None, kind: type) -> Channels[C] | Mapping[int, C]:
        if instrument is None:
            return self
        # the instrument keeps channels of every kind in one table
        return instrument.channels[self.name]  # type: ignore[return-value]


class Instrument(Owner, ABC):
    """One instrument: what it is called on the wire, how it is spoken to, what it has.

    A subclass declares `identity` (a pattern that its answer to `identity_question` must match)
    and `line`, and its Parameters, Channels and Actions. `clock` counts seconds and never jumps.
    One that is not spoken to in lines of text brings its own `wire` instead of `line`.
    """

    identity: ClassVar[str]
    identity_question: ClassVar[str] = "*IDN?"
    line: ClassVar[Line]
    settle_s: ClassVar[float] = 0.0
    lag_s: ClassVar[float] = 0.0  # how old its values may be when it gives them, by their own dates
    extras: ClassVar[frozenset[str]] = frozenset()  # settings of its own, given by keyword

    @classmethod
    def check_resource(cls, resource: str) -> str:
        """`resource`, where it can lead to such an instrument; UsageError otherwise."""
        return check_resource(resource)

    def __init__(
        self,
        resource: str,
        *,
        channels: Sequence[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        wire: Wire | None = None,
    ) -> None:
        self.link: Wire = wire or Link(resource, self.line, clock=clock, sleep=sleep)
        self._sleep = sleep
        self._backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, clock)
        self._problem = ""  # why the last attempt to connect failed
        self._shadows: dict[str, Any] = {}
        self._all_shadows = [self._shadows]
        self.channels = self._chosen(channels)

    @property
    def prefix(self) -> str:
        return ""

    @property
    def number(self) -> int:
        return 0

    @property
    def shadows(self) -> dict[str, Any]:
        return self._shadows

    def ask(self, text: str, parse: Callable[[str], T]) -> T:
        """The answer; a question that failed is asked once more, on a new line."""
        for _ in range(RETRIES):
            try:
                return self._in_step(lambda: parse(self._question(text)))
            except InstrumentError as error:
                if not error.retryable or self._backoff.remaining_s > 0:
                    raise
        return self._in_step(lambda: parse(self._question(text)))

    def tell(self, text: str) -> None:
        """Have it done; never twice, because we cannot know whether the first time worked."""
        self._in_step(lambda: self._command(text))

    def settle(self) -> None:
        self.pause(self.settle_s)

    def pause(self, duration_s: float) -> None:
        """Leave the instrument in peace for a while."""
        if duration_s > 0:
            self._sleep(duration_s)

    def alone(self) -> AbstractContextManager[object]:
        return self.link.lock

    def close(self) -> None:
        """Give the line back; the next question opens it again."""
        self.link.close()

    def parameters(self) -> Iterator[Bound[Any]]:
        """All its parameters, and those of its channels."""
        for owner in self._owners():
            yield from (Bound(p, owner) for p in _declared(type(owner), Parameter))

    def actions(self) -> Iterator[BoundAction]:
        """All that it and its channels can do."""
        for owner in self._owners():
            yield from (BoundAction(a, owner) for a in _declared(type(owner), Action))

    def forget_with(self, shadows: dict[str, Any]) -> None:
        """Also clear these shadows when the line was lost: the instrument may have been off."""
        self._all_shadows.append(shadows)

    def _question(self, text: str) -> str:
        """One question in the instrument's own framing, on an open line."""
        return self.link.ask(text)

    def _command(self, text: str) -> None:
        """One command in the instrument's own framing, on an open line."""
        self.link.tell(text)

    def _in_step(self, exchange: Callable[[], T]) -> T:
        """Do one exchange; after a reply that makes no sense the next one begins on a new line."""
        with self.alone():
            self._connect()
            try:
                return exchange()
            except InstrumentError as error:
                if error.retryable:
                    self.link.close()
                raise

    def _connect(self) -> None:
        """Make sure that the line is open, in step, and leads to the right instrument."""
        if self.link.is_in_step():
            return
        self.link.close()
        if self._backoff.remaining_s > 0:
            raise NotConnectedError(
                f"{self._problem}; next attempt in {self._backoff.remaining_s:.1f} s"
            )
        try:
            self.link.open()
            self._check_identity()
        except InstrumentError as error:
            self.link.close()
            self._problem = str(error)
            self._backoff.failed()
            raise
        self._backoff.succeeded()
        for shadows in self._all_shadows:
            shadows.clear()

    def _check_identity(self) -> None:
        answer = self._question(self.identity_question)
        if not re.match(self.identity, answer):
            raise WrongInstrumentError(
                f"expected {type(self).__name__} ({self.identity}) at {self.link.resource}, "
                f"found {answer!r}"
            )

    def _owners(self) -> Iterator[Owner]:
        yield self
        for group in self.channels.values():
            yield from group.values()

    def _chosen(self, numbers: Sequence[int] | None) -> dict[str, dict[int, Channel]]:
        declared = list(_declared(type(self), Channels))
        known = sorted({n for group in declared if group.chosen for n in group.numbers})
        unknown = [n for n in numbers or () if n not in known]
        if unknown:
            raise OutOfRangeError(
                f"{type(self).__name__}: expected channels among {known}, found {unknown}"
            )
        chosen = set(known if numbers is None else numbers)
        return {
            group.name: {
                n: group.kind(self, n) for n in group.numbers if n in chosen or not group.chosen
            }
            for group in declared
        }


D = TypeVar("D")


def _declared(kind: type, what: type[D]) -> Iterator[D]:
    """What a class and its bases declare of one sort, in the order of the text."""
    seen = {name: v for base in reversed(kind.__mro__) for name, v in vars(base).items()}
    return (value for value in seen.values() if isinstance(value, what))
