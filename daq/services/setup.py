"""From settings to what the acquisition needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from daq.acquire.filters import Filter
from daq.errors import UsageError
from daq.model.channel import PULSE_KINDS, Blinding, Channel, TriggerSettings
from daq.model.plan import Group, Plan, Window
from daq.readout.calibration import Calibration
from daq.services.filterfile import read_filters
from daq.services.guarding import guarding_of
from daq.services.salting import calibration_of, salting_of
from daq.settings.loader import Settings
from daq.settings.sections import (
    ChannelEntry,
    Channels,
    Digitizers,
    Events,
    Experiment,
    Filters,
    Kind,
    Kinds,
    MatchedTrigger,
    PeriodicTrigger,
    Stability,
    Storage,
    Trigger,
    Veto,
)
from daq.store.log import LogSettings
from daq.wire.schemas import StreamHello

ByChannel = Mapping[str, Filter]
NO_FILTERS: ByChannel = MappingProxyType({})
MOST_COUNTS = 65536  # a difference of two samples can be no larger
SAME_RATE = 1e-6  # relative: rates of one digitizer and record length that are told with all digits


def channels_of(
    settings: Settings, hello: StreamHello, filters: ByChannel = NO_FILTERS
) -> list[Channel]:
    """The channels of the config that a digitizer reads, in the order of the config."""
    kinds, calibration = settings.section(Kinds).root, calibration_of(settings)
    found = []
    for name, entry in settings.section(Channels).root.items():
        if entry.digitizer != hello.digitizer or not entry.enabled:
            continue
        if entry.input >= len(hello.channels):
            raise UsageError(
                f"channels.{name}.input: expected below {len(hello.channels)}, the inputs that "
                f"{hello.digitizer} has, found {entry.input}"
            )
        channel = _channel(name, entry, kinds[entry.kind], hello, filters.get(name))
        channel = _salted(channel, kinds[entry.kind], settings)
        found.append(_blinded(channel, kinds[entry.kind], calibration))
    return found


def _channel(
    name: str, entry: ChannelEntry, kind: Kind, hello: StreamHello, one: Filter | None
) -> Channel:
    rate_hz = hello.rate_hz / kind.decimation
    _check_rate(name, one, rate_hz)
    triggers = [trigger_settings(t, rate_hz, one) for t in kind.triggers]
    return Channel(
        name=name,
        digitizer=hello.digitizer,
        row=entry.input,
        sample_rate_hz=hello.rate_hz,
        decimation=kind.decimation,
        record_length=kind.record_length,
        pretrigger=kind.pretrigger,
        volts_per_count=hello.volts_per_count,
        triggers=tuple(triggers),
        merge_window=kind.merge_window,
        pile_up=kind.pile_up,
        second_pulse_sigma=kind.second_pulse_sigma,
        second_pulse_span=kind.second_pulse_span,
        max_rate_hz=kind.max_rate_hz,
        recorded=kind.recorded,
        mass_g=entry.mass_g,
        counts_offset=entry.counts_offset,
        guarding=guarding_of(kind.guard, hello, kind.decimation) if kind.guard else None,
    )


def _salted(channel: Channel, kind: Kind, settings: Settings) -> Channel:
    """The channel with what its kind is salted with; files are relative to the config."""
    if kind.salting is None:
        return channel
    home = settings.path.absolute().parent
    salting = salting_of(
        kind.salting, channel.name, channel.record_rate_hz, channel.pretrigger, home
    )
    return replace(channel, salting=salting)


def _blinded(channel: Channel, kind: Kind, calibration: Calibration) -> Channel:
    """The channel with what of it is kept from everybody, energies by its newest curve."""
    section = kind.blinding
    if section is None:
        return channel
    if section.from_ev is None or section.to_ev is None:
        return replace(channel, blinding=Blinding(fraction=section.fraction))
    curves = [curve for curve in calibration.curves if curve.channel == channel.name]
    if not curves:
        raise UsageError(
            f"experiment.calibration: expected a curve of {channel.name}, whose kind blinds an "
            "energy window, found none"
        )
    low, high = curves[-1].counts(np.array([section.from_ev, section.to_ev])).tolist()
    how = Blinding(fraction=section.fraction, quantity=curves[-1].quantity, low=low, high=high)
    return replace(channel, blinding=how)


def filters_of(settings: Settings) -> dict[str, Filter]:
    """The filters of the config's matched channels; UsageError or FormatError naming what is not
    as the channels need it."""
    kinds = settings.section(Kinds).root
    matched = {
        name: kinds[entry.kind]
        for name, entry in settings.section(Channels).root.items()
        if any(isinstance(t, MatchedTrigger) for t in kinds[entry.kind].triggers)
    }
    if not matched:
        return {}
    path = Path(settings.section(Filters).file).expanduser()
    known = _in_ev(read_filters(path), calibration_of(settings))
    for name, kind in matched.items():
        _check_filter(path, name, known.get(name), kind)
    return {name: known[name] for name in matched}


def _in_ev(filters: ByChannel, calibration: Calibration) -> dict[str, Filter]:
    """Filters with the gain of small pulses that the newest curve of their amplitudes says."""
    gains = {c.channel: c.counts_per_ev for c in calibration.curves if c.quantity == "amplitude"}
    return {
        name: one if one.counts_per_ev else replace(one, counts_per_ev=gains.get(name))
        for name, one in filters.items()
    }


def _check_filter(path: Path, name: str, one: Filter | None, kind: Kind) -> None:
    if one is None:
        raise UsageError(f"{path}: expected a filter for {name}, found none")
    expected, found = (kind.record_length, kind.pretrigger), (one.length, one.pretrigger)
    if expected != found:
        raise UsageError(
            f"{path}: expected the filter of {name} for records of {expected[0]} samples, "
            f"{expected[1]} before the trigger, found {found[0]} and {found[1]}"
        )
    trigger = next(t for t in kind.triggers if isinstance(t, MatchedTrigger))
    try:
        one.counts(sigmas=trigger.threshold_sigma, ev=trigger.threshold_ev)
    except UsageError as error:
        raise UsageError(f"{path}: filter of {name}: {error}") from error


def _check_rate(name: str, one: Filter | None, rate_hz: float) -> None:
    if one is not None and abs(one.rate_hz / rate_hz - 1) > SAME_RATE:
        raise UsageError(
            f"channels.{name}: expected a filter for records of {rate_hz:g} Hz, found one for "
            f"{one.rate_hz:g} Hz"
        )


def log_settings(settings: Settings) -> LogSettings:
    """How the run's log is written."""
    storage = settings.section(Storage)
    return LogSettings(
        sync_s=storage.sync_s, rotate_s=storage.rotate_s, rotate_bytes=storage.rotate_bytes
    )


def plan_of(settings: Settings) -> Plan:
    """What belongs together, with the channels by name."""
    events = settings.section(Events)
    return Plan(
        window_ns=_ns(events.coincidence_window_s),
        windows=tuple(_window(settings, name, veto) for name, veto in events.vetoes.items()),
        groups=tuple(
            Group(
                name=name,
                sources=_named(settings, group.sources),
                receivers=_named(settings, group.receivers),
                causes=tuple(group.causes),
            )
            for name, group in events.groups.items()
        ),
        seed=settings.section(Experiment).seed,
    )


def wander_of(settings: Settings) -> float:
    """How far gains wander that heater pulses follow; 0 where none do."""
    stability = settings.section(Stability)
    return stability.wander_per_rth if stability.generator else 0.0


def silent_after_s(settings: Settings, digitizer: str) -> float:
    """After how long without blocks a digitizer counts as silent; its own section says it."""
    return settings.section(Digitizers).root[digitizer].silent_after_s


def _window(settings: Settings, name: str, veto: Veto) -> Window:
    return Window(
        name=name,
        kind=veto.kind,
        sources=_named(settings, veto.sources),
        tagged=_named(settings, veto.tagged),
        before_ns=_ns(veto.before_s),
        after_ns=_ns(veto.after_s),
        widen_ns_counts=veto.timing_sigmas * veto.timing_s_counts * 1e9,
    )


def _named(settings: Settings, members: list[str]) -> tuple[str, ...]:
    """The channels that are named, or whose kind is, in the order of the config."""
    channels = settings.section(Channels).root
    return tuple(
        n
        for n, entry in channels.items()
        if entry.enabled and (n in members or entry.kind in members)
    )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


# Any: what came in a message, checked here
def triggers_of(
    given: list[dict[str, Any]],
    channel: Channel,
    one: Filter | None = None,
    in_force: tuple[TriggerSettings, ...] | None = None,
) -> tuple[TriggerSettings, ...]:
    """Triggers to be set in a run; UsageError with every mistake. Lines stay as they were, and a
    matched one as it is `in_force` (default: the channel's own)."""
    try:
        checked = _TRIGGERS.validate_python(given)
    except ValidationError as error:
        told = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(f"triggers of {channel.name}: {'; '.join(told)}") from error
    rate_hz = channel.record_rate_hz
    triggers = tuple(trigger_settings(trigger, rate_hz, one) for trigger in checked)
    before, after = (
        [(i, t.line) for i, t in enumerate(some) if t.line] for some in (channel.triggers, triggers)
    )
    if before != after:
        raise UsageError(
            f"triggers of {channel.name}: expected the external ones to stay in their places in "
            f"a run, {before}, found {after}"
        )
    _check_matched(channel, channel.triggers if in_force is None else in_force, triggers)
    return triggers


def with_level(
    name: str, triggers: tuple[TriggerSettings, ...], entry: int, threshold: float, rearm: float
) -> tuple[TriggerSettings, ...]:
    """A channel's triggers with another level of one of them; UsageError where it has none."""
    leveled = [i for i, t in enumerate(triggers) if t.kind in ("level", "edge")]
    if entry not in leveled:
        raise UsageError(f"expected one of the level or edge triggers {leveled} of {name}, "
                         f"found {entry}")  # fmt: skip
    if not -MOST_COUNTS <= rearm < threshold <= MOST_COUNTS:
        raise UsageError(
            f"expected rearm below threshold, within {MOST_COUNTS} counts, for {name}, "
            f"found {rearm:g} and {threshold:g}"
        )
    changed = replace(triggers[entry], threshold=threshold, rearm=rearm)
    return (*triggers[:entry], changed, *triggers[entry + 1 :])


def _check_matched(
    channel: Channel, in_force: tuple[TriggerSettings, ...], triggers: tuple[TriggerSettings, ...]
) -> None:
    """A filter goes on across the change, and is the first of the pulse triggers or is not."""
    before, after = (_matched(some) for some in (in_force, triggers))
    if before != after:
        raise UsageError(
            f"triggers of {channel.name}: expected the matched one to stay as it is and in its "
            f"place in a run, {before}, found {after}"
        )


def _matched(triggers: tuple[TriggerSettings, ...]) -> tuple[int, int, float] | None:
    """Place in the list and among the pulse triggers, and threshold [counts]."""
    kinds = [t.kind for t in triggers]
    if "matched" not in kinds:
        return None
    at = kinds.index("matched")
    return at, sum(kind in PULSE_KINDS for kind in kinds[:at]), triggers[at].threshold


_TRIGGERS = TypeAdapter(Annotated[list[Trigger], Field(max_length=8)])


def trigger_settings(
    trigger: Trigger, record_rate_hz: float, one: Filter | None = None
) -> TriggerSettings:
    """A trigger of the config with its times in record samples and its levels in counts."""
    given = trigger.model_dump()
    if isinstance(trigger, MatchedTrigger):
        if one is None:
            raise UsageError("expected a filter for a matched trigger, found none")
        sigmas, ev = given.pop("threshold_sigma"), given.pop("threshold_ev")
        given["threshold"] = one.counts(sigmas=sigmas, ev=ev)
        given["direction"] = "falling" if one.falling else "rising"
    if isinstance(trigger, PeriodicTrigger):
        given["period"] = max(round(given.pop("period_s") * record_rate_hz), 1)
        given["phase"] = round(given.pop("phase_s") * record_rate_hz)
    return TriggerSettings(**given)
