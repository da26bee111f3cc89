"""Filters and thresholds that are loaded into a run: whether they fit it, and as what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from daq.acquire.filters import Filter
from daq.acquire.filterset import filters_from_bytes
from daq.errors import FormatError, RefusedError, UsageError
from daq.model.channel import Channel, TriggerSettings
from daq.services.recording import Recording
from daq.services.setup import SAME_RATE

Loading = tuple[dict[str, Filter], dict[str, float]]  # filters and thresholds [counts], by channel


def loaded_filters(path: Path, sha256: str) -> dict[str, Filter]:
    """The filters of a file that is the one that the caller has; FormatError where it is not."""
    if not path.is_file():  # a pipe would make the core wait
        raise FormatError(f"{path}: expected a file of filters that the core can read, found none")
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: expected a file of filters: {error.strerror}") from error
    found = hashlib.sha256(stored).hexdigest()
    if found != sha256:
        raise FormatError(f"{path}: expected the SHA-256 {sha256[:12]}, found {found[:12]}")
    try:
        return filters_from_bytes(stored)
    except UsageError as error:
        raise FormatError(f"{path}: {error}") from error


def fitting(known: Mapping[str, Filter], only: Sequence[str], recording: Recording) -> Loading:
    """The filters for the run's matched channels, or for those that are named; a threshold stays
    what it is in resolutions, or in eV where the config says so. UsageError where one does not fit.
    """
    matched = _matched(recording)
    unknown = [name for name in only if name not in known or name not in matched]
    if unknown:
        raise UsageError(
            f"expected channels with a matched trigger and a filter in the file, found "
            f"{', '.join(unknown)}"
        )
    names = [name for name in matched if name in (only or known)]
    if not names:
        raise UsageError(
            f"expected filters for {', '.join(matched)}, found {', '.join(known) or 'none'}"
        )
    filters = {name: known[name] for name in names}
    thresholds = {}
    for name, one in filters.items():
        channel, trigger = matched[name]
        _check(channel, trigger, one)
        thresholds[name] = _kept_threshold(recording, name, trigger.threshold, one)
    return filters, thresholds


def at_sigmas(sigmas: Mapping[str, float], recording: Recording) -> Loading:
    """The filters that are in force, with other thresholds; UsageError for other channels."""
    matched = _matched(recording)
    for name, value in sigmas.items():
        if name not in matched:
            raise UsageError(f"expected a channel with a matched trigger, found {name}")
        if not 0 < value <= 1000:
            raise UsageError(f"expected a threshold from 0 to 1000 sigma for {name}, found {value}")
    if not sigmas:
        raise UsageError("expected thresholds of channels, found none")
    filters = {name: recording.filters[name] for name in sigmas}
    return filters, {name: one.counts(sigmas=sigmas[name]) for name, one in filters.items()}


def _matched(recording: Recording) -> dict[str, tuple[Channel, TriggerSettings]]:
    """The run's channels with a matched trigger, and that as it is in force."""
    found = {}
    for channel in recording.facts.channels:
        for trigger in recording.pipeline.triggers(channel.name):
            if trigger.kind == "matched":
                found[channel.name] = channel, trigger
    if not found:
        raise RefusedError("no channel of the run has a matched trigger; expected one")
    return found


def _check(channel: Channel, trigger: TriggerSettings, one: Filter) -> None:
    """Whether records and pulses are those of the channel."""
    expected = channel.record_length, channel.pretrigger
    if (one.length, one.pretrigger) != expected:
        raise UsageError(
            f"expected the filter of {channel.name} for records of {expected[0]} samples, "
            f"{expected[1]} before the trigger, found {one.length} and {one.pretrigger}"
        )
    if abs(one.rate_hz / channel.record_rate_hz - 1) > SAME_RATE:
        raise UsageError(
            f"expected the filter of {channel.name} for {channel.record_rate_hz:g} Hz, "
            f"found {one.rate_hz:g} Hz"
        )
    found = "falling" if one.falling else "rising"
    if found != trigger.direction:
        raise UsageError(
            f"expected the filter of {channel.name} for {trigger.direction} pulses, found {found}"
        )


def _kept_threshold(recording: Recording, name: str, threshold: float, one: Filter) -> float:
    """A threshold [counts] of the filter in force, as the same for another."""
    before = recording.filters[name]
    if not _by_energy(recording, name):
        return one.counts(sigmas=threshold / before.noise_sigma)
    assert before.counts_per_ev is not None  # else the run could not have begun
    return one.counts(ev=threshold / before.counts_per_ev)


def _by_energy(recording: Recording, name: str) -> bool:
    """Whether the run's config gives the threshold of a channel as an energy."""
    settings = recording.facts.settings
    kind = settings["channels"][name]["kind"]
    triggers = settings["kinds"][kind]["triggers"]
    return any(t.get("threshold_ev") is not None for t in triggers if t["kind"] == "matched")
