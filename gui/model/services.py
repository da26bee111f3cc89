"""What each service last said of itself, and for how long it has said nothing."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from daq.errors import WireError
from daq.wire.schemas import State

STALE_S = 2.0  # services speak every second; after twice that an operator must know


class Lease(msgspec.Struct, frozen=True):
    """Who commands, and until when."""

    who: str = ""
    until_ns: int = 0
    seal: str = ""


class Row(msgspec.Struct, frozen=True):
    """One service, in the conductor's word."""

    pid: int | None = None
    state: str = ""
    problem: str = ""


class Alarm(msgspec.Struct, frozen=True):
    """An alarm that stands, is over and unseen, or is silenced."""

    name: str
    severity: str = "warning"
    state: str = "standing"
    value: float | None = None
    unit: str = ""
    since_ns: int = 0
    acknowledged_by: str = ""
    silent_until_ns: int = 0
    sentence: str = ""

    @property
    def calls(self) -> bool:
        """Whether somebody has yet to look at it."""
        return self.state in ("standing", "over") and not self.acknowledged_by


class RunBody(msgspec.Struct, frozen=True):
    """What the conductor says; `verbs` are the commands allowed now."""

    run: int | None = None
    folder: str | None = None
    verbs: list[str] = []
    elapsed_s: float = 0.0
    last: dict[str, Any] | None = None  # Any: {"run", "folder", "reason"} and what comes
    services: dict[str, Row] = {}
    lease: Lease | None = None
    alarms: list[Alarm] = []
    problem: str = ""


class Threshold(msgspec.Struct, frozen=True):
    """What salts and noise say of a channel's triggers; `text` is all of it in words."""

    text: str = ""
    half_ev: float | None = None
    noise_per_day: float | None = None


class ChannelCounts(msgspec.Struct, frozen=True):
    """What the core has counted in one channel during this run."""

    rate_hz: float = 0.0
    records: int = 0
    livetime_s: float = 0.0
    exposure_g_d: float = 0.0
    blinded: int = 0
    threshold: Threshold | None = None
    throttled: bool = False
    efficiency: dict[str, Any] | None = None  # Any: {"half_ev", "curve"}
    drops: dict[str, int] = {}


class Safe(msgspec.Struct, frozen=True):
    """What a power cut could not take any more."""

    records: int = 0
    until_ns: int = 0


class DigitizerState(msgspec.Struct, frozen=True):
    """How one digitizer's stream is doing, in the core's word."""

    state: str = ""
    rate_hz: float = 0.0


class CoreBody(msgspec.Struct, frozen=True):
    """What the core says."""

    run: int | None = None
    folder: str | None = None
    elapsed_s: float = 0.0
    n_bytes: int = 0
    channels: dict[str, ChannelCounts] = {}
    gaps: int = 0
    lost_samples: int = 0
    safe: Safe = Safe()
    unsafe: int = 0
    digitizers: dict[str, DigitizerState] = {}
    disk_hours_left: float | None = None
    label: str = ""
    problem: str = ""

    @property
    def exposure_g_d(self) -> float:
        """Of all channels together."""
        return sum(channel.exposure_g_d for channel in self.channels.values())


class ReadingItem(msgspec.Struct, frozen=True):
    """One reading: `value` is None where there was an error, which `text` tells."""

    value: float | int | str | bool | None = None
    unit: str = ""
    source: str = ""
    t_ns: int = 0
    stale: bool = False
    text: str = ""


class Health(msgspec.Struct, frozen=True):
    """How an instrument is."""

    state: str = ""
    problem: str = ""


class InstrumentsBody(msgspec.Struct, frozen=True):
    """What the instruments service says."""

    readings: dict[str, ReadingItem] = {}
    instruments: dict[str, Health] = {}
    problem: str = ""


class AnyBody(msgspec.Struct, frozen=True):
    """What any service says."""

    problem: str = ""


B = TypeVar("B", RunBody, CoreBody, InstrumentsBody, AnyBody)


class Service(Generic[B]):
    """One service as its states tell; `body` and `state` are the last ones heard."""

    def __init__(self, name: str, body: type[B], born_s: float) -> None:
        self.name, self._born_s = name, born_s
        self.state, self.boot = "", ""
        self.body: B = body()
        self.told: dict[str, Any] = {}  # the whole body; Any: also what we know nothing of
        self._heard_s: float | None = None

    def hear(self, state: State, now_s: float) -> None:
        """Take in a state; WireError where its body is not as documented."""
        try:
            self.body = msgspec.convert(state.body, type(self.body))
        except msgspec.ValidationError as error:
            raise WireError(f"expected the state of {self.name}, found: {error}") from error
        self.state, self.boot, self._heard_s = state.state, state.boot, now_s
        self.told = state.body

    def excuse(self, stalled_s: float) -> None:
        """For so long nobody listened."""
        self._born_s += stalled_s
        if self._heard_s is not None:
            self._heard_s += stalled_s

    def is_fresh(self, now_s: float) -> bool:
        """Whether it spoke within the last STALE_S."""
        return self._heard_s is not None and now_s - self._heard_s <= STALE_S

    def quiet_s(self, now_s: float) -> float | None:
        """How long ago it spoke last; None for never."""
        return None if self._heard_s is None else now_s - self._heard_s

    def silence(self, now_s: float) -> str:
        """One sentence about a service that says nothing; empty for one that speaks."""
        since_s = self._born_s if self._heard_s is None else self._heard_s
        if now_s - since_s <= STALE_S:
            return ""
        silent = f"{self.name}: no news for {now_s - since_s:.0f} s"
        return silent if self._heard_s is not None else f"{silent}: is the service up?"
