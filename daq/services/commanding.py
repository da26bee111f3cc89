"""The control lease for as long as something long commands: taken, renewed, given back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from daq.errors import RefusedError, ScheeliteError
from daq.model.operator import Operator
from daq.run.lease import NS, Held, seal
from daq.services import system
from daq.settings import operator
from daq.settings.loader import Settings

logger = logging.getLogger(__name__)

FOR_S, RENEW_S = 60.0, 15.0  # a program that is killed keeps others away no longer than this


@contextmanager
def commanding(settings: Settings) -> Iterator[Operator]:
    """Hold the lease for the length of a with block; RefusedError names who else holds it.

    One that we hold for longer already is left as it is, also at the end. One that somebody takes
    over is not taken back: whatever is commanded after that is refused.
    """
    mine = operator.with_ticket(operator.current())
    before = _ours(settings, mine)
    _take(settings, mine)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(settings, mine, over), name="lease", daemon=True)
    keeper.start()
    try:
        yield mine
    finally:
        over.set()
        keeper.join()
        if before is None or _left_s(before) <= 0:
            with suppress(ScheeliteError):  # it is another's, or ends with run control
                system.ask(settings, "run", "lease-release", ticket=mine.ticket)


def _keep(settings: Settings, mine: Operator, over: threading.Event) -> None:
    while not over.wait(RENEW_S):
        try:
            _take(settings, mine)
        except RefusedError as error:
            logger.error("The control lease is lost: %s", error)
            return
        except ScheeliteError as error:  # run control may be starting anew
            logger.warning("The control lease could not be renewed: %s", error)


def _take(settings: Settings, mine: Operator) -> None:
    """Take or renew it, never for less than it is ours already."""
    held = _ours(settings, mine)
    if held is None or _left_s(held) < FOR_S:
        who, ticket = mine.who, mine.ticket
        system.ask(settings, "run", "lease-take", who=who, ticket=ticket, for_s=FOR_S)


def _ours(settings: Settings, mine: Operator) -> Held | None:
    """The lease as it is, where we hold it."""
    told = system.ask(settings, "run", "status")["lease"]
    held = None if told is None else msgspec.convert(told, Held)
    return held if held is not None and held.seal == seal(mine.ticket) else None


def _left_s(held: Held) -> float:
    return (held.until_ns - time.time_ns()) / NS
