"""What the operator wants, on its way to the services; whether it was done, the console hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gui.feed import OPERATOR, Feed
from gui.model import alarms
from gui.model.console import Console
from gui.windows.noise import STREAM_S
from gui.windows.run import LEASE_S


class Orders:
    """Gives commands to a feed; `sent` is called where something shows that it is on its way."""

    def __init__(
        self, feed: Feed, console: Console, now: Callable[[], float], sent: Callable[[], None]
    ) -> None:
        self._feed, self._console, self._now, self._sent = feed, console, now, sent

    def start(self, comment: str, label: str) -> None:
        """Ask the conductor to start a run."""
        given = {"comment": comment} | ({"label": label} if label else {})
        self.command("start", **given)

    def stop(self) -> None:
        """Ask the conductor to stop the run."""
        self.command("stop")

    def comment(self, text: str) -> None:
        """Write a sentence into the run."""
        self.command("comment", text=text, who=OPERATOR)

    def lease(self, verb: str) -> None:
        """Take the control lease, or give it back."""
        if verb == "take":
            self._feed.send("lease-take", who=OPERATOR, ticket=OPERATOR, for_s=LEASE_S)
        else:
            self._feed.send("lease-release", ticket=OPERATOR)

    def acknowledge(self, name: str) -> None:
        """Say that an alarm was seen."""
        self._feed.send("alarm-acknowledge", name=name, who=OPERATOR)

    def write(self, instrument: str, parameter: str, value: Any, reading: str) -> None:
        """Write to an instrument; Any: a value or a table of fields."""
        given = {"instrument": instrument, "parameter": parameter, "value": value}
        self._feed.send("write", service="instruments", tag=f"write {reading}", **given)

    def act(self, instrument: str, action: str) -> None:
        """Let an instrument do something."""
        self._feed.send("act", service="instruments", instrument=instrument, action=action)

    def tune(self, channel: str) -> None:
        """Tune a channel."""
        self._console.begin_tune(channel)
        self._feed.tune(channel)
        self._sent()

    def undo_tune(self) -> None:
        """Take the latest tuning back."""
        self._console.begin_tune("undo")
        self._feed.undo_tune()
        self._sent()

    # Any: each verb's own arguments
    def command(self, verb: str, **arguments: Any) -> None:
        if self._console.may(verb, self._now()):
            self._console.pending = verb
            self._feed.send(verb, **arguments)
            self._sent()

    def acknowledge_worst(self) -> None:
        calling = alarms.calling(self._console.run.body.alarms)
        if calling:
            self.acknowledge(calling[0].name)

    def measure(self, channel: str) -> None:
        rates = [d.rate_hz for d in self._console.core.body.digitizers.values() if d.rate_hz]
        if channel and rates:
            self._feed.take_stream(channel, round(STREAM_S * max(rates)))
        elif channel:
            self._console.note("noise: no digitizer streams, nothing can be taken", "attention")
