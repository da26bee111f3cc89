"""The streams that the core has: what each sends, by which clock, and where a run can begin."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from daq.acquire.clocks import Clock
from daq.errors import NotConnectedError, RefusedError, UsageError
from daq.model.channel import Channel
from daq.services.raw import Source
from daq.services.recording import DigitizerFacts
from daq.services.setup import channels_of, filters_of, silent_after_s
from daq.services.streams import Stream
from daq.settings.loader import Settings
from daq.wire import sockets
from daq.wire.schemas import StreamHello


class Inputs:
    """All streams of a config with their channels and clocks. For one thread."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        local = sockets.is_local(settings.endpoint("core.blocks"))
        self.streams = {name: Stream(name, local) for name in settings.digitizer_names}
        self.channels: dict[str, list[Channel]] = {}
        self.clocks: dict[str, Clock] = {}
        self.filters = filters_of(settings)

    def greet(self, stream: Stream, peer: bytes, hello: StreamHello) -> bool:
        """Take a hello; true where the stream is new and must be asked for."""
        if not stream.greet(peer, hello):
            return False
        self.channels[stream.name] = channels_of(self._settings, hello, self.filters)
        self.clocks[stream.name] = Clock.at_rate(hello.rate_hz, stream.anchors)
        return True

    def all_channels(self) -> list[Channel]:
        """The channels in the order of the config, as far as their digitizers are known."""
        by_name = {c.name: c for channels in self.channels.values() for c in channels}
        return [by_name[name] for name in self._settings.channel_names if name in by_name]

    def quiet_s(self, name: str) -> float:
        """How long a stream has sent nothing."""
        return self._clock() - self.streams[name].heard_s

    def silent(self, name: str) -> bool:
        """Whether that is longer than its config allows."""
        return self.quiet_s(name) > silent_after_s(self._settings, name)

    def silence_of(self, name: str) -> str:
        """The sentence for a stream that is silent."""
        return f"digitizer {name} has sent nothing for {self.quiet_s(name):.0f} s"

    def can_wait(self, name: str) -> bool:
        """Whether a stream stands still while nobody reads."""
        hello = self.streams[name].hello
        return hello is not None and hello.can_wait

    def starts(self, asked: dict[str, int]) -> dict[str, int]:
        """Where a run that begins now begins in each stream: at one moment of UTC in all.

        `asked` overrides it, stream by stream; UsageError for a sample that has passed.
        """
        waiting = [name for name in self.streams if not self._ready(name)]
        if waiting:
            raise NotConnectedError(
                f"expected every digitizer to stream, found nothing from {', '.join(waiting)}: "
                "see scheelite status"
            )
        moment = max(self.clocks[name].t_ns(s.next) for name, s in self.streams.items())
        starts = {}
        for name in self.streams:
            earliest = self._earliest(name)
            now = self.clocks[name].sample_at(moment) + 1
            starts[name] = asked.get(name, earliest if self.can_wait(name) else now)
            if starts[name] < earliest:
                raise UsageError(
                    f"expected a start at {earliest} of {name} or later, found {starts[name]}"
                )
        return starts

    def facts(self, name: str, start: int) -> DigitizerFacts:
        """What a run that begins at `start` remembers of a stream."""
        hello = self.streams[name].hello
        assert hello is not None  # `starts` has seen it
        anchors = [(a.sample, a.t_ns) for a in self.clocks[name].anchors()]
        return DigitizerFacts(
            name=name, rate_hz=hello.rate_hz, epoch=hello.epoch, start=start, anchors=anchors
        )

    def sample_at(self, name: str, moment: int, otherwise: int) -> int:
        """The sample of a stream at a moment; `otherwise` for a source that can wait."""
        if name not in self.clocks or self.can_wait(name):
            return otherwise
        return self.clocks[name].sample_at(moment)

    def source_of(self, channel: str) -> Source:
        """Where a channel's samples come from; NotConnectedError or UsageError where from none.

        RefusedError where some of them are kept from everybody.
        """
        for name, channels in self.channels.items():
            for c in channels:
                if c.name == channel and c.blinding is not None:
                    raise RefusedError(
                        f"expected a channel that shows all it has, found {channel}: it is blinded"
                    )
                if c.name == channel and self.streams[name].streaming:
                    return Source(name, c.row, c.sample_rate_hz, c.volts_per_count)
        if channel in self._settings.channel_names:
            raise NotConnectedError(f"the digitizer of {channel} is not streaming")
        known = ", ".join(self._settings.channel_names)
        raise UsageError(f"expected one of the channels {known}, found {channel!r}")

    # Any: JSON
    def table(self) -> dict[str, dict[str, Any]]:
        """One row per digitizer for the core's state."""
        return {
            name: {
                "state": self._state(name),
                "rate_hz": stream.hello.rate_hz if stream.hello else 0.0,
                "next": stream.next,
                "begun": stream.n_begun,
                "shared": stream.shares,
                "refused": stream.refused,
            }
            for name, stream in self.streams.items()
        }

    def _state(self, name: str) -> str:
        stream = self.streams[name]
        if stream.hello is None:
            return "absent"
        if stream.ended is not None:
            return "ended"
        if not stream.streaming:
            return "waiting"
        return "silent" if self.silent(name) else "streaming"

    def _ready(self, name: str) -> bool:
        stream = self.streams[name]
        known = name in self.clocks and self.clocks[name].known
        return known and (self.can_wait(name) or (stream.streaming and not self.silent(name)))

    def _earliest(self, name: str) -> int:
        stream = self.streams[name]
        if self.can_wait(name) and not stream.wanted and stream.hello is not None:
            return stream.hello.oldest
        return stream.next
