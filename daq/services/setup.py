"""From settings to what the acquisition needs."""

from __future__ import annotations

from daq.errors import UsageError
from daq.model.channel import Channel, TriggerSettings
from daq.settings.loader import Settings
from daq.settings.sections import Channels, Digitizers, Events, Kind, Kinds, Storage
from daq.store.log import LogSettings
from daq.wire.schemas import StreamHello


def channels_of(settings: Settings, hello: StreamHello) -> list[Channel]:
    """The channels of the config that a digitizer reads, in the order of the config."""
    kinds = settings.section(Kinds).root
    found = []
    for name, entry in settings.section(Channels).root.items():
        if entry.digitizer != hello.digitizer:
            continue
        if entry.input >= len(hello.channels):
            raise UsageError(
                f"channels.{name}.input: expected below {len(hello.channels)}, the inputs that "
                f"{hello.digitizer} has, found {entry.input}"
            )
        found.append(
            Channel(
                name=name,
                digitizer=hello.digitizer,
                row=entry.input,
                sample_rate_hz=hello.rate_hz,
                decimation=kinds[entry.kind].decimation,
                record_length=kinds[entry.kind].record_length,
                pretrigger=kinds[entry.kind].pretrigger,
                volts_per_count=hello.volts_per_count,
                trigger=_trigger(kinds[entry.kind]),
                mass_g=entry.mass_g,
                counts_offset=entry.counts_offset,
            )
        )
    return found


def log_settings(settings: Settings) -> LogSettings:
    """How the run's log is written."""
    storage = settings.section(Storage)
    return LogSettings(
        sync_s=storage.sync_s, rotate_s=storage.rotate_s, rotate_bytes=storage.rotate_bytes
    )


def window_ns(settings: Settings) -> int:
    """The coincidence window."""
    return round(settings.section(Events).coincidence_window_s * 1e9)


def silent_after_s(settings: Settings, digitizer: str) -> float:
    """After how long without blocks a digitizer counts as silent; its own section says it."""
    return settings.section(Digitizers).root[digitizer].silent_after_s


def _trigger(kind: Kind) -> TriggerSettings:
    t = kind.trigger
    return TriggerSettings(
        kind=t.kind,
        threshold=t.threshold,
        rearm=t.rearm,
        falling=t.falling,
        edge_span=t.edge_span,
        holdoff=t.holdoff,
    )
