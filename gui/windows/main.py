"""The live window: the run, the channels, their traces and their records."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt
from PySide6.QtGui import QCloseEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QMainWindow, QSplitter, QVBoxLayout, QWidget

from daq.wire.schemas import State
from gui.feed import Feed
from gui.model.console import SPAN_S, Console
from gui.model.frames import Item, PulseFrame, TraceFrame
from gui.model.headline import emptiness
from gui.model.rolling import Rolling
from gui.model.text import clock, si
from gui.palette import SPACE_PX, Palette
from gui.windows.channels import ChannelTable
from gui.windows.controls import Controls
from gui.windows.log import Log
from gui.windows.pulse import PulseView
from gui.windows.strip import Strip, put
from gui.windows.traces import TraceView


class MainWindow(QMainWindow):
    """Shows a console and gives the operator's commands to its feed; holds nothing of the run."""

    def __init__(
        self,
        feed: Feed,
        channels: Sequence[str],
        palette: Palette,
        *,
        now: Callable[[], float] = time.monotonic,
        utc_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__()
        self._feed, self._palette, self._now = feed, palette, now
        self.console = Console(channels, born_s=now(), utc_ns=utc_ns)
        self._frozen: Rolling | None = None
        self._fresh = False
        self.strip, self.controls, self.log = Strip(), Controls(), Log()
        self.table, self.digitizers = ChannelTable(), QLabel()
        self.traces, self.pulse = TraceView(palette, SPAN_S), PulseView(palette)
        self._lay_out()
        self._connect()
        self.receive([])

    def receive(self, items: list[Item]) -> None:
        """Take in what has arrived, and show it."""
        now_s = self._now()
        for item in items:
            self.console.apply(item, now_s)
        self.console.watch(now_s)
        self.table.hold(self.console.channels, self._colors())
        self.strip.show_console(self.console, now_s)
        self.controls.show_console(self.console, now_s)
        self.log.show_notes(self.console)
        self._show_counts({type(item) for item in items}, now_s)
        self._show_plots(items, now_s)

    def start_run(self, comment: str) -> None:
        """Ask the conductor to start a run."""
        self._command("start", comment=comment)

    def stop_run(self) -> None:
        """Ask the conductor to stop the run."""
        self._command("stop")

    def freeze(self, frozen: bool) -> None:
        """Hold the plots still, or let them go; everything else goes on."""
        self._frozen = copy.deepcopy(self.console.rolling) if frozen else None
        since = f"   FROZEN at {clock(self._frozen.newest_ns)} UTC" if self._frozen else ""
        put(self.traces.title, f"Traces{since}", "attention" if frozen else "normal")
        self._draw_traces()
        self._draw_pulse()

    def follow(self, follow: bool) -> None:
        """Let the ranges follow the data, beginning with a fit, or hold them."""
        if follow:
            self.traces.fit()
            self.pulse.fit()
        self._draw_traces()
        self._draw_pulse()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 (Qt's name)
        """Leave; the services do not notice."""
        self._feed.close()
        super().closeEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw anew: another width has other columns."""
        super().resizeEvent(event)
        self._draw_traces()

    def _command(self, verb: str, **arguments: str) -> None:
        if self.console.may(verb, self._now()):
            self.console.pending = verb
            self._feed.send(verb, **arguments)
            self.controls.show_console(self.console, self._now())

    def _show_counts(self, kinds: set[type], now_s: float) -> None:
        """Fill the list, when the core has spoken or has fallen silent."""
        fresh = self.console.core.is_fresh(now_s)
        if State not in kinds and fresh == self._fresh:
            return
        self._fresh = fresh
        core = self.console.core.body
        self.table.show_counts(core, self.console.rolling.levels_v(), fresh=fresh)
        texts = [f"{n}: {d.state} {si(d.rate_hz, 'S/s')}" for n, d in core.digitizers.items()]
        put(self.digitizers, "   ".join(texts), "normal" if fresh else "stale")

    def _show_plots(self, items: Sequence[Item], now_s: float) -> None:
        unticked = "no channel is ticked: tick one in the list on the left"
        self.traces.say(emptiness(self.console, now_s) if self.table.shown else unticked)
        if self._frozen is not None:
            return
        if any(isinstance(item, TraceFrame | State) for item in items):  # a new core's clears them
            self._draw_traces()
        if any(self._is_selected(item) for item in items):
            self._draw_pulse()

    def _arrange(self) -> None:
        """Give each ticked channel its lane."""
        self.traces.arrange(self.table.shown, self._colors())
        self._draw_traces()

    def _draw_traces(self) -> None:
        rolling = self.console.rolling if self._frozen is None else self._frozen
        follow = self.controls.follow_button.isChecked()
        self.traces.draw(rolling, follow=follow, now_s=self._now())

    def _draw_pulse(self) -> None:
        channel = self.table.selected
        frame = self.console.pulses.get(channel)
        if frame is None:
            self.pulse.say(f"{channel}  last record", f"no record of {channel} yet")
            return
        follow = self.controls.follow_button.isChecked()
        self.pulse.draw(frame, self._colors()[channel], follow=follow, now_s=self._now())

    def _is_selected(self, item: Item) -> bool:
        return isinstance(item, PulseFrame) and item.header.channel == self.table.selected

    def _colors(self) -> dict[str, str]:
        names = enumerate(self.console.channels)
        return {name: self._palette.channel(index) for index, name in names}

    def _connect(self) -> None:
        self.table.ticked.connect(self._arrange)
        self.table.chosen.connect(self._draw_pulse)
        self.controls.start.connect(self.start_run)
        self.controls.stop.connect(self.stop_run)
        self.controls.freeze.connect(self.freeze)
        self.controls.follow.connect(self.follow)
        self._feed.arrived.connect(self.receive)

    def _lay_out(self) -> None:
        self.setWindowTitle("Scheelite")
        self.resize(1280, 800)
        put(self.traces.title, "Traces", "normal")
        page = QWidget()
        page.setObjectName("page")
        box = QVBoxLayout(page)
        box.setContentsMargins(SPACE_PX, SPACE_PX, SPACE_PX, SPACE_PX)
        box.setSpacing(SPACE_PX)
        box.addWidget(self.strip)
        box.addWidget(self.controls)
        box.addWidget(self._middle(), 1)
        box.addWidget(self.log)
        self.setCentralWidget(page)

    def _middle(self) -> QSplitter:
        left = QWidget()
        box = QVBoxLayout(left)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.table, 1)
        box.addWidget(self.digitizers)
        plots = QSplitter(Qt.Orientation.Vertical)
        plots.addWidget(self.traces)
        plots.addWidget(self.pulse)
        plots.setSizes([430, 200])
        plots.setStretchFactor(0, 1)
        middle = QSplitter(Qt.Orientation.Horizontal)
        middle.addWidget(left)
        middle.addWidget(plots)
        middle.setSizes([370, 894])
        middle.setStretchFactor(1, 1)
        return middle
