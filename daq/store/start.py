"""What the first and the last frame of a run say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import msgspec

from daq.errors import FormatError
from daq.model.channel import Channel
from daq.model.plan import Plan
from daq.store.disk import Buffer

MAX_NAME, MAX_TRIGGERS = 64, 4096  # bytes in the channel table
Compression = Literal["gzip", "bitshuffle-lz4", "none"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDigitizer:
    """A sample clock of the run; `anchors` are (sample, t_ns) known when it began."""

    name: str
    rate_hz: float
    epoch: str
    start: int
    anchors: list[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """Everything a run is made of."""

    run: int
    name: str
    comment: str
    settings_toml: str
    settings: dict[str, Any]  # Any: the validated config, whatever its sections hold
    channels: tuple[Channel, ...]
    digitizers: tuple[RunDigitizer, ...]
    software: str
    host: str
    user: str
    t_ns: int
    plan: Plan = field(default_factory=Plan)
    raw: tuple[str, ...] = ()  # channels whose whole stream is recorded
    calibration: str = ""  # the text of the file that energies are by; empty: none
    filters: str = ""  # SHA-256 of the matched channels' filters, which the run folder has

    @property
    def blinds(self) -> bool:
        """Whether a part of it is kept from everybody."""
        return any(channel.blinding for channel in self.channels)

    @property
    def compression(self) -> Compression:
        """How its files are compressed: what its settings say, whoever folds it and when."""
        chosen = self.settings.get("storage", {}).get("compression", "gzip")
        return cast(Compression, chosen)  # one that we do not know is refused by who writes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """Why and when it ended; `stops` is one past the last sample, by digitizer.

    `drops` counts the triggers without a record: channel -> cause -> how many. `blinded` are the
    records of each channel that are in the restricted files. `thresholds` are what salts and noise
    say of each channel's triggers, in words.
    """

    reason: str
    t_ns: int
    stops: Mapping[str, int]
    drops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    blinded: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, str] = field(default_factory=dict)


def decode_start(payload: Buffer) -> RunStart:
    """The RUN_START in `payload`; FormatError where it is none that a file can hold."""
    start = _decode(payload, RunStart)
    _check_names("channel", [channel.name for channel in start.channels])
    _check_names("digitizer", [digitizer.name for digitizer in start.digitizers])
    known = {digitizer.name for digitizer in start.digitizers}
    for channel in start.channels:
        if channel.digitizer not in known:
            raise FormatError(
                f"channel {channel.name}: expected one of the digitizers {sorted(known)}, "
                f"found {channel.digitizer!r}"
            )
        if len(msgspec.json.encode(channel.triggers)) > MAX_TRIGGERS:
            raise FormatError(
                f"channel {channel.name}: expected triggers of at most {MAX_TRIGGERS} bytes"
            )
    return start


def decode_end(payload: Buffer) -> RunEnd:
    """The RUN_END in `payload`; FormatError where it is none."""
    return _decode(payload, RunEnd)


def _decode(payload: Buffer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"expected the JSON of a {kind.__name__}: {error}") from error


def _check_names(what: str, found: list[str]) -> None:
    for name in found:
        if not 0 < len(name.encode()) <= MAX_NAME or "/" in name or name in (".", ".."):
            raise FormatError(
                f"expected a {what} name of 1 to {MAX_NAME} bytes without /, found {name!r}"
            )
    if len(set(found)) < len(found):
        raise FormatError(f"expected every {what} once, found {found}")
