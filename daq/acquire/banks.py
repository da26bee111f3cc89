"""Which channels' optimum filters are searched together, and which filters each has had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from daq.acquire.chain import ChainState, first_record_sample
from daq.acquire.filtered import Bank, Filtered, Turn
from daq.acquire.filters import Filter
from daq.acquire.intervals import LONG_AGO
from daq.errors import UsageError
from daq.model.channel import Channel

Alike = tuple[str, int, int, int]


def banked(
    channels: Sequence[Channel],
    states: Sequence[ChainState],
    filters: Mapping[str, Filter],
    loaded: Mapping[str, Filter],
) -> dict[str, Filtered]:
    """The searches of the channels that trigger by their filters, by channel.

    `filters` are by channel, `loaded` by content hash. UsageError where one is missing.
    """
    groups: dict[Alike, list[tuple[Channel, ChainState]]] = {}
    for channel, state in zip(channels, states, strict=True):
        if any(t.kind == "matched" for t in channel.triggers):
            groups.setdefault(_alike(channel), []).append((channel, state))
    found: dict[str, Filtered] = {}
    for group in groups.values():
        start = first_record_sample(group[0][0], group[0][1].start)
        bank = Bank([_turns(channel, state, filters, loaded) for channel, state in group], start)
        found |= {channel.name: bank.channel(i) for i, (channel, _) in enumerate(group)}
    return found


def _alike(channel: Channel) -> Alike:
    """Channels of which this is the same are fed in step, and their filters are alike."""
    return channel.digitizer, channel.decimation, channel.record_length, channel.pretrigger


def _turns(
    channel: Channel,
    state: ChainState,
    filters: Mapping[str, Filter],
    loaded: Mapping[str, Filter],
) -> list[Turn]:
    """The filters that a channel has had and that may still find a pulse."""
    if channel.name not in filters:
        raise UsageError(f"expected a filter for {channel.name}, found none")
    if not state.loaded:
        (threshold,) = (t.threshold for t in channel.triggers if t.kind == "matched")
        return [Turn(LONG_AGO, fitted(filters[channel.name], channel), threshold)]
    return [
        Turn(
            one.since,
            fitted(loaded[one.sha256] if one.sha256 else filters[channel.name], channel),
            one.threshold,
        )
        for one in state.loaded
    ]


def fitted(one: Filter, channel: Channel) -> Filter:
    """A filter of the channel's rate to all digits, of which files may have fewer."""
    rate_hz = channel.record_rate_hz
    return one if one.rate_hz == rate_hz else replace(one, rate_hz=rate_hz)
