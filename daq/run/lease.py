"""The control lease: one operator commands at a time, the others watch.

Who holds it proves it by a ticket that only he knows; everybody can see the ticket's seal. While
nobody holds it, anybody may command. What makes things safe (a stop) never needs it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from daq.errors import RefusedError

NS = 10**9
LONGEST_S = 24 * 3600.0


def seal(ticket: str) -> str:
    """What may be shown of a ticket."""
    return hashlib.sha256(ticket.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Held:
    """Who commands, since when and until when (UTC, ns), and the seal of his ticket."""

    who: str
    since_ns: int
    until_ns: int
    seal: str

    def check(self, ticket: str, now_ns: int) -> None:
        """RefusedError for another's ticket, unless the lease has run out."""
        if now_ns < self.until_ns and seal(ticket) != self.seal:
            raise RefusedError(
                f"{self.who} holds the control lease for another "
                f"{(self.until_ns - now_ns) / NS:.0f} s; "
                "scheelite lease take --over REASON takes it over"
            )


class Lease:
    """The lease of one system, in the hands of run control. For one thread."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._held: Held | None = None

    @property
    def held(self) -> Held | None:
        """Who holds it now; None where nobody does."""
        if self._held is not None and self._now_ns() >= self._held.until_ns:
            self._held = None
        return self._held

    def take(self, who: str, ticket: str, for_s: float, over: str = "") -> Held:
        """Take, renew, or with a reason take over; RefusedError names who holds it."""
        if not ticket or not who:
            raise RefusedError("expected who takes the lease and a ticket, found none")
        if not 0 < for_s <= LONGEST_S:
            raise RefusedError(f"expected a lease of up to {LONGEST_S:.0f} s, found {for_s:g} s")
        now = self._now_ns()
        held = self.held
        if held is not None and not over:
            held.check(ticket, now)
        mine = held is not None and held.seal == seal(ticket)
        since_ns = held.since_ns if mine and held is not None else now
        self._held = Held(who, since_ns, now + round(for_s * NS), seal(ticket))
        return self._held

    def release(self, ticket: str) -> None:
        """Give it back; RefusedError where another holds it."""
        self.check(ticket)
        self._held = None

    def check(self, ticket: str) -> None:
        """RefusedError where another holds it."""
        if self.held is not None:
            self.held.check(ticket, self._now_ns())
