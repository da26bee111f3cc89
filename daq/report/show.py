"""The numbers of a run, plain and complete, for a table, for JSON and for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.model.plan import Window
from daq.model.record import DEAD_CAUSES, Flag
from daq.report import text
from daq.report.clocks import Clocks
from daq.report.source import Loaded, RunSource, load

NS = 1e-9
REMARKS = ("comment", "label")  # levels of messages that are a person's


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSummary:
    """One channel; seconds are of its own clock, the rate is records per live second.

    `real_s` = `live_s` + all of `dead_s`; the exposure is live time x mass. `dropped` counts
    triggers without a record by cause. `gaps` are its digitizer's. Medians are over all records;
    None where there are none. `blinded` records are in the restricted files alone; `threshold` is
    what salts and noise say of the triggers.
    """

    name: str
    digitizer: str
    veto: bool
    records: int
    piled_up: int
    saturated: int
    rate_hz: float | None
    real_s: float
    live_s: float
    exposure_g_d: float
    dead_s: dict[str, float]
    dropped: dict[str, int]
    gaps: int
    baseline_rms_v: float | None
    height_v: float | None
    threshold: str = ""
    blinded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplicity:
    """Events with a record in exactly `channels` channels, and how many of them have a veto's."""

    channels: int
    events: int
    with_veto: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """Events with a record in one of the run's windows; a kind of "veto" says they are vetoed."""

    window: str
    kind: str
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """All events; `vetoed` where any record is. In those `absent` a digitizer was silent, `late`
    came back after their time."""

    events: int
    vetoed: int
    tagged: tuple[Tagged, ...]
    with_veto: int
    absent: int
    late: int
    multiplicity: tuple[Multiplicity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapSummary:
    """Samples lost at the digitizers; `inexact` of the gaps are estimates."""

    gaps: int
    samples: int
    inexact: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a person said of the run ("comment"), or of the data that follow ("label"), and when."""

    t: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """Everything that `show` prints; times are RFC 3339 in UTC.

    `start` and `stop` are of the data, by the digitizers' clocks; `recorded` is when the run was
    begun by the host's clock: another time where recorded data were replayed.
    """

    run: int
    name: str
    comment: str
    folder: str
    state: str
    reason: str
    start: str
    stop: str
    duration_s: float
    recorded: str
    software: str
    host: str
    channels: tuple[ChannelSummary, ...]
    events: EventSummary
    gaps: GapSummary
    readings: int
    messages: int
    remarks: tuple[Remark, ...]  # comments of people, and labels of the data
    n_bytes: int


def summary(run: RunSource) -> RunSummary:
    """The numbers of a run; reads its tables, none of its samples."""
    return summarize(load(run))


def summarize(loaded: Loaded) -> RunSummary:
    """The numbers of a run whose tables were read already."""
    run = loaded.run
    start_ns, stop_ns = Clocks(loaded).span_ns()
    return RunSummary(
        run=run.number,
        name=run.name,
        comment=run.comment,
        folder=str(run.folder),
        state=_state(run),
        reason=run.reason,
        start=text.rfc3339(start_ns),
        stop=text.rfc3339(stop_ns),
        duration_s=(stop_ns - start_ns) * NS,
        recorded=text.rfc3339(run.start_ns),
        software=run.software,
        host=run.host,
        channels=_channels(loaded),
        events=_events(loaded.events, veto_bits(run.channels), run.windows),
        gaps=_gaps(loaded.gaps),
        readings=len(loaded.readings),
        messages=len(loaded.messages),
        remarks=_remarks(loaded.messages),
        n_bytes=_n_bytes(run.folder),
    )


def causes_of(channels: Sequence[ChannelSummary]) -> list[str]:
    """The causes of dead time that there were in any channel, in their order."""
    return [cause for cause in DEAD_CAUSES if any(channel.dead_s[cause] for channel in channels)]


def vetoes(channels: Sequence[Channel]) -> list[bool]:
    """Which channels are vetoes: those without crystal mass, where others have one."""
    targets = [channel.mass_g > 0 for channel in channels]
    return [any(targets) and not target for target in targets]


def veto_bits(channels: Sequence[Channel]) -> int:
    """The vetoes as bits of an event's `channels`."""
    return sum(1 << i for i, veto in enumerate(vetoes(channels)) if veto)


def _state(run: RunSource) -> str:
    """What became of the run, in a word or two."""
    if not run.complete:
        return "not complete"
    return "recovered" if run.recovered else "complete"


def _channels(loaded: Loaded) -> tuple[ChannelSummary, ...]:
    channels = loaded.run.channels
    seconds = _seconds(loaded.ledger, channels)
    digitizers = [d.name for d in loaded.run.digitizers]
    gaps = np.bincount(loaded.gaps["digitizer"], minlength=len(digitizers))
    return tuple(
        _channel(
            channel,
            table,
            {column: float(values[i]) for column, values in seconds.items()},
            veto,
            loaded.run,
            int(gaps[digitizers.index(channel.digitizer)]),
        )
        for i, ((channel, table, _), veto) in enumerate(
            zip(loaded.records, vetoes(channels), strict=True)
        )
    )


def _channel(
    channel: Channel,
    table: Rows,
    seconds: dict[str, float],
    veto: bool,
    run: RunSource,
    gaps: int,
) -> ChannelSummary:
    return ChannelSummary(
        name=channel.name,
        digitizer=channel.digitizer,
        veto=veto,
        records=len(table),
        piled_up=_flagged(table, Flag.PILED_UP),
        saturated=_flagged(table, Flag.SATURATED),
        rate_hz=len(table) / seconds["live"] if seconds["live"] else None,
        real_s=seconds["real"],
        live_s=seconds["live"],
        exposure_g_d=seconds["live"] * channel.mass_g / 86_400,
        dead_s={cause: seconds[cause] for cause in DEAD_CAUSES},
        dropped=dict(run.drops.get(channel.name, {})),
        gaps=gaps,
        threshold=run.thresholds.get(channel.name, ""),
        blinded=run.blinded.get(channel.name, 0),
        baseline_rms_v=_median(table["baseline_rms"] * channel.volts_per_count),
        height_v=_median(table["height"] * channel.volts_per_count),
    )


def _seconds(ledger: Rows, channels: Sequence[Channel]) -> dict[str, npt.NDArray[np.float64]]:
    """Real, live and dead time of each channel by its own clock."""
    rates = np.array([channel.sample_rate_hz for channel in channels])
    columns = {name: ledger[name] for name in ("live", *DEAD_CAUSES)}
    columns["real"] = ledger["stop"] - ledger["start"]
    return {
        name: np.bincount(ledger["channel"], weights=samples, minlength=len(channels)) / rates
        for name, samples in columns.items()
    }


def _events(events: Rows, veto_bits: int, windows: Sequence[Window]) -> EventSummary:
    multiplicity = np.bitwise_count(events["channels"])
    vetoed = (events["channels"] & np.uint64(veto_bits)) != 0
    return EventSummary(
        events=len(events),
        vetoed=int(np.count_nonzero(events["vetoed"])),
        tagged=tuple(
            Tagged(
                window=window.name,
                kind=window.kind,
                events=int(np.count_nonzero(events["tags"] >> np.uint32(i) & np.uint32(1))),
            )
            for i, window in enumerate(windows)
        ),
        with_veto=int(vetoed.sum()),
        absent=int(np.count_nonzero(events["absent"])),
        late=int(np.count_nonzero(events["late"])),
        multiplicity=tuple(
            Multiplicity(
                channels=int(n),
                events=int((multiplicity == n).sum()),
                with_veto=int(vetoed[multiplicity == n].sum()),
            )
            for n in np.unique(multiplicity)
        ),
    )


def _gaps(gaps: Rows) -> GapSummary:
    return GapSummary(
        gaps=len(gaps),
        samples=int((gaps["stop"] - gaps["start"]).sum()),
        inexact=int((gaps["exact"] == 0).sum()),
    )


def _remarks(messages: Rows) -> tuple[Remark, ...]:
    return tuple(
        Remark(t=text.rfc3339(int(row["t_ns"])), kind=kind, text=text.words(row["text"]))
        for row in messages
        if (kind := text.words(row["level"])) in REMARKS
    )


def _flagged(table: Rows, flag: Flag) -> int:
    return int(np.count_nonzero(table["flags"] & flag))


def _median(values: npt.NDArray[np.floating]) -> float | None:
    return float(np.median(values)) if len(values) else None


def _n_bytes(folder: Path) -> int:
    """Size of the sealed files; the room that the log keeps in reserve does not count."""
    return sum(path.stat().st_size for path in folder.glob("*.h5"))
