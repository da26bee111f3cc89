"""Thresholds of the run in progress by its own noise so far, set in it by the core's one door."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from daq.acquire.filters import Filter
from daq.acquire.training import LEAST_NOISE, noise_psd
from daq.errors import CheckError, RefusedError
from daq.model.channel import Channel
from daq.services import system
from daq.services.filterfile import kept_filters
from daq.services.levels import REARM, Level, Wanted, judged, levels_of, noise_records
from daq.services.recording import RunFacts
from daq.settings.loader import Settings
from daq.settings.sections import Channels
from daq.store.reader import Run, open_run


def live_levels(settings: Settings, wanted: Wanted) -> list[Level]:
    """For all level, edge and matched triggers of the run in progress, by its random records."""
    told = system.ask(settings, "core", "status")
    if told["folder"] is None:
        raise RefusedError("no run is being recorded; expected one")
    folder = Path(told["folder"])
    with open_run(folder) as run:
        kinds = {name: c.kind for name, c in settings.section(Channels).root.items()}
        filters = filters_in_force(run)
        found = [
            level
            for channel in run.channels
            if channel.name in kinds and channel.recorded
            for level in _of_channel(run, channel, kinds[channel.name], wanted, filters)
        ]
    if not found:
        raise CheckError(
            f"{folder}: expected channels with {LEAST_NOISE} random records so far, found none"
        )
    return judged(found)


def set_live(settings: Settings, found: Sequence[Level], leave: Sequence[str]) -> dict[str, Any]:
    """Set them in the run, but for the channels that are to be left; Any: JSON.

    Where the core refuses one, those before it are set: it says so by the epoch.
    """
    chosen = [one for one in found if one.channel not in leave]
    plain = [_item(one) for one in chosen if one.trigger != "matched"]
    sigmas = {one.channel: one.filter_sigmas for one in chosen if one.trigger == "matched"}
    told: dict[str, Any] = {}
    if plain:
        told |= system.ask(settings, "core", "set_levels", levels=plain)
    if sigmas:
        told |= system.ask(settings, "core", "set_thresholds", sigmas=sigmas)
    return told


def _item(one: Level) -> dict[str, Any]:  # Any: JSON
    rearm = one.base + REARM * (one.threshold - one.base)
    return {
        "channel": one.channel,
        "entry": one.entry,
        "threshold": round(one.threshold, 2),
        "rearm": round(rearm, 2),
    }


def filters_in_force(run: Run) -> dict[str, Filter]:
    """A run's filters by channel, with what was loaded in it."""
    facts = msgspec.json.decode(run.start_text, type=RunFacts)
    filters = dict(kept_filters(run.folder, facts.filters))
    for change in run.inputs():
        if change["input"] == "filters":
            known = kept_filters(run.folder, change["filters"])
            filters |= {name: known[name] for name in change["thresholds"]}
    return filters


def _of_channel(
    run: Run, channel: Channel, kind: str, wanted: Wanted, filters: Mapping[str, Filter]
) -> list[Level]:
    found = levels_of(run, channel, kind, wanted)
    for entry, trigger in enumerate(channel.triggers):
        if trigger.kind == "matched" and channel.name in filters:
            found += _matched(run, channel, kind, entry, wanted, filters[channel.name])
    return found


def _matched(
    run: Run, channel: Channel, kind: str, entry: int, wanted: Wanted, one: Filter
) -> list[Level]:
    """By what the filter makes of the noise; by its formula where that is too little to say."""
    records = noise_records(run, channel.name)
    if len(records) < LEAST_NOISE:
        return []
    _, cut = noise_psd(records, channel.record_rate_hz)
    sigma = one.measured_on(records[cut.kept]).noise_sigma
    sigmas = wanted.sigmas_for(one.f_rms_hz)
    return [
        Level(
            channel=channel.name,
            kind=kind,
            entry=entry,
            trigger="matched",
            base=0.0,
            sigma=sigma,
            threshold=sigmas * sigma,
            noise_hz=one.f_rms_hz * math.exp(-(sigmas**2) / 2),
            filter_sigmas=sigmas * sigma / one.noise_sigma,
        )
    ]
