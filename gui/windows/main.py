"""The console: a strip that never moves, and panels around it that may."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial

from PySide6.QtCore import QSettings, Qt, Signal
from PySide6.QtGui import QCloseEvent, QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QLabel, QMainWindow, QSplitter, QVBoxLayout, QWidget

from daq.wire.schemas import Progress, State
from gui.feed import Feed
from gui.keys import KEYS, PANELS
from gui.model.console import SPAN_S, About, Console
from gui.model.frames import Answer, Examined, Item, PulseFrame, Stream, TraceFrame, TuneLine
from gui.model.headline import emptiness
from gui.model.rolling import Rolling
from gui.model.scales import Scales
from gui.model.text import clock, si
from gui.palette import SPACE_PX, Palette
from gui.windows.array import ArrayMap
from gui.windows.channel import ChannelPanel
from gui.windows.channels import ChannelTable
from gui.windows.controls import Controls
from gui.windows.curves import CurvesPanel
from gui.windows.docks import Docks
from gui.windows.forms import FormsPanel
from gui.windows.fridge import FridgePanel
from gui.windows.help import Help
from gui.windows.log import Log
from gui.windows.logpanel import LogPanel
from gui.windows.noise import NoisePanel
from gui.windows.orders import Orders
from gui.windows.plotting import modest
from gui.windows.rates import RatesPanel
from gui.windows.records import RecordPanel
from gui.windows.run import RunPanel
from gui.windows.spectrum import SpectrumPanel
from gui.windows.strip import Strip, put
from gui.windows.traces import TraceView

NEWS = (State, Progress, Answer, Stream, Examined, TuneLine)  # what does not stream
SLOW_S = 0.5  # between two drawings of what does not stream
SPECTRA_S = 2.0
STALL_S = 0.5
TITLE = f"last {SPAN_S:g} s"


class MainWindow(QMainWindow):
    """Shows a console and gives the operator's commands to its feed; holds nothing of the run."""

    theme_asked = Signal()

    def __init__(
        self,
        feed: Feed,
        channels: Sequence[str],
        palette: Palette,
        *,
        about: About | None = None,
        scales: Scales | None = None,
        settings: QSettings | None = None,
        now: Callable[[], float] = time.monotonic,
        utc_ns: Callable[[], int] = time.time_ns,
        turned: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._feed, self._palette, self._now = feed, palette, now
        self.console = Console(channels, born_s=now(), utc_ns=utc_ns, about=about, scales=scales)
        self.orders = Orders(feed, self.console, now, self._sent)
        self._frozen: Rolling | None = None
        self._fresh = False
        self._slow_s, self._spectra_s, self._dirty = 0.0, 0.0, True
        self._turned, self._turned_s = turned, turned()
        self._listed_boot, self._pulse_channel, self._squid_shown = "", "", ""
        self.help: Help | None = None
        self.strip, self.controls, self.log = Strip(), Controls(), Log()
        self.array, self.table, self.digitizers = ArrayMap(), ChannelTable(), QLabel()
        self.traces, self.pulse = TraceView(palette, SPAN_S), RecordPanel(palette)
        self.noise, self.spectrum, self.rates = (
            NoisePanel(palette), SpectrumPanel(palette), RatesPanel(palette),
        )  # fmt: skip
        self.forms, self.fridge, self.run_panel = (
            FormsPanel(),
            FridgePanel(palette),
            RunPanel(palette),
        )
        self.log_panel, self.channel = LogPanel(), ChannelPanel()
        self.curves = CurvesPanel(palette)
        self.docks = Docks(self, self._lay_out(), settings or QSettings("scheelite", "console"))
        self._connect()
        self._bind()
        self.receive([])

    # --- what arrives ---

    def receive(self, items: list[Item]) -> None:
        """Take in what has arrived, and show it."""
        now_s = self._now()
        self._excuse_own_stall()
        for item in items:
            self.console.apply(item, now_s)
        self.console.watch(now_s)
        self.table.hold(self.console.channels, self.colors())
        self.array.hold(self.console.channels)
        self.strip.show_console(self.console, now_s)
        self.controls.show_console(self.console, now_s)
        self.log.show_notes(self.console)
        told = any(isinstance(item, State) and item.service == "core" for item in items)
        self._show_counts(told, now_s)
        self._show_plots(items, now_s)
        self._ask_what_is_missing(now_s)
        self._show_slow(items, now_s)

    def _excuse_own_stall(self) -> None:
        """Where it was this window that stood still, nobody else was silent."""
        now_s = self._turned()
        if now_s - self._turned_s > STALL_S:
            self.console.excuse(now_s - self._turned_s)
        self._turned_s = now_s

    def _show_slow(self, items: Sequence[Item], now_s: float) -> None:
        """Draw the panels that can be seen and do not stream, now and then."""
        self._dirty = self._dirty or any(isinstance(item, NEWS) for item in items)
        if now_s - self._slow_s < SLOW_S or not self._dirty:
            return
        self._slow_s, self._dirty = now_s, False
        self.docks.note_sides()
        self.show_panels()

    def show_panels(self) -> None:
        """Draw everything but the streams anew, where it can be seen."""
        now_s, channel, colors = self._now(), self.table.selected, self.colors()
        color = colors.get(channel, self._palette.text)
        front = self.docks.front()
        self.array.show_console(self.console, now_s)
        self.channel.show_channel(self.console, channel, now_s)
        if "SQUID/TES" in front:
            self.forms.show_console(self.console, now_s)
            self.forms.show_tuning(self.console, channel)
            self._go_to_squid(channel)
        if "Run" in front:
            self.run_panel.show_console(self.console, now_s)
        if "Log" in front:
            self.log_panel.show_console(self.console)
        if self._frozen is not None:
            return
        if "Noise" in front:
            self.noise.show_channel(self.console, channel, color)
        if "SQUID/TES" in front:
            self.curves.show_channel(self.console, channel, color)
        if "Spectrum" in front:
            self.spectrum.show_channel(self.console, channel, color, now_s)
        if "Rates" in front:
            self.rates.show_console(self.console, self.table.shown, colors, channel)
        if "Fridge" in front:
            self.fridge.show_console(self.console, now_s)

    def _ask_what_is_missing(self, now_s: float) -> None:
        """The list of instruments once for each start of their service, spectra now and then."""
        instruments = self.console.instruments
        if instruments.is_fresh(now_s) and instruments.boot != self._listed_boot:
            self._listed_boot = instruments.boot
            self._feed.ask_once("list", "instruments")
        if self.console.core.is_fresh(now_s) and now_s - self._spectra_s >= SPECTRA_S:
            self._spectra_s = now_s
            self._feed.ask_once("spectra", "core")
            if names := self.console.past_to_ask(now_s):
                self._feed.send("history", names=names)

    # --- what the operator wants ---

    def freeze(self, frozen: bool) -> None:
        """Hold the plots still, or let them go; everything else goes on."""
        self._frozen = copy.deepcopy(self.console.rolling) if frozen else None
        since = f"   FROZEN at {clock(self._frozen.newest_ns)} UTC" if self._frozen else ""
        put(self.traces.title, f"{TITLE}{since}", "attention" if frozen else "normal")
        self._draw_traces()
        self._draw_pulse()
        self.show_panels()

    def follow(self, follow: bool) -> None:
        """Let the ranges follow the data, beginning with a fit, or hold them."""
        if follow:
            self.traces.fit()
        graphs = (self.pulse, self.noise, self.spectrum, self.rates, self.fridge, self.curves)
        for graph in graphs:
            graph.follow(follow)
        self._draw_traces()
        self._draw_pulse()

    def choose(self, channel: str) -> None:
        """All panels are about this channel from now on."""
        self.table.choose(channel)

    def examine(self) -> None:
        """Ask the doctor, and show where he answers."""
        self.docks.show("Log")
        put(self.log_panel.findings, "the doctor walks the chain…", "stale")
        self._feed.examine()

    def show_help(self) -> None:
        """All keys."""
        self.help = Help(self)
        self.help.open()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802 (Qt's name)
        """Leave; the services do not notice."""
        self.docks.keep()
        self._feed.close()
        super().closeEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw anew: another width has other columns."""
        super().resizeEvent(event)
        self.docks.hold_sides()
        self._draw_traces()

    def _sent(self) -> None:
        """Something is on its way."""
        self.controls.show_console(self.console, self._now())
        self.show_panels()

    def _toggle_log(self) -> None:
        front = self.docks.front()
        toggles = {
            "Noise": self.noise.toggle_log,
            "Spectrum": self.spectrum.toggle_log,
            "Rates": self.rates.toggle_log,
            "Fridge": self.fridge.toggle_log,
        }
        for name, toggle in toggles.items():
            if name in front:
                toggle()

    # --- drawing ---

    def _show_counts(self, told: bool, now_s: float) -> None:
        """Fill the list, when the core has spoken or has fallen silent."""
        fresh = self.console.core.is_fresh(now_s)
        if not told and fresh == self._fresh:
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
        self.traces.arrange(self.table.shown, self.colors())
        self._draw_traces()

    def _draw_traces(self) -> None:
        rolling = self.console.rolling if self._frozen is None else self._frozen
        follow = self.controls.follow_button.isChecked()
        unit = self.traces.unit.currentText()
        found = {name: self.console.scales.factor(name, unit) for name in self.table.shown}
        self.traces.scale({name: (f, unit) for name, f in found.items() if f is not None})
        self.traces.draw(rolling, follow=follow, now_s=self._now())

    def _draw_pulse(self) -> None:
        channel = self.table.selected
        if self._frozen is None or channel != self._pulse_channel:
            self._pulse_channel = channel
            self.pulse.show_channel(
                self.console, channel, self.colors().get(channel, self._palette.text)
            )

    def _select(self, channel: str) -> None:
        """Another channel was chosen, wherever."""
        self.array.select(channel)
        self._draw_pulse()
        self.show_panels()

    def _go_to_squid(self, channel: str) -> None:
        """Show the electronics of a channel that was newly chosen."""
        instrument, _, part = self.console.squid_of(channel).partition(".")
        known = self.console.forms.instruments
        if instrument in known and channel != self._squid_shown:
            self._squid_shown = channel
            self.forms.go_to(instrument, part)
            self.forms.show_console(self.console, self._now())

    def _is_selected(self, item: Item) -> bool:
        return isinstance(item, PulseFrame) and item.header.channel == self.table.selected

    def colors(self) -> dict[str, str]:
        """Each channel's color, always the same."""
        names = enumerate(self.console.channels)
        return {name: self._palette.channel(index) for index, name in names}

    # --- set up ---

    def _connect(self) -> None:
        self.table.ticked.connect(self._arrange)
        self.table.chosen.connect(self._select)
        self.array.chosen.connect(self.choose)
        self.strip.alarms_asked.connect(lambda: self.docks.show("Log"))
        controls, orders = self.controls, self.orders
        controls.start.connect(orders.start)
        controls.stop.connect(orders.stop)
        controls.pause.connect(orders.command)
        controls.comment.connect(orders.comment)
        controls.label.connect(lambda label: orders.command("label", label=label))
        controls.freeze.connect(self.freeze)
        controls.follow.connect(self.follow)
        controls.help_button.clicked.connect(self.show_help)
        self.traces.unit.currentTextChanged.connect(lambda _: self._draw_traces())
        for box in (self.pulse.shows, self.pulse.unit, self.pulse.kind):
            box.currentTextChanged.connect(lambda _: self._draw_pulse())
        for box in (self.spectrum.span, self.spectrum.bins, self.rates.span, self.fridge.span):
            box.currentTextChanged.connect(lambda _: self.show_panels())
        self.spectrum.lines_box.toggled.connect(lambda _: self.show_panels())
        self.noise.model_box.toggled.connect(lambda _: self.show_panels())
        self.noise.measure.connect(lambda: orders.measure(self.table.selected))
        self.forms.write.connect(orders.write)
        self.forms.act.connect(orders.act)
        self.forms.tune.connect(lambda: orders.tune(self.table.selected))
        self.forms.undo.connect(orders.undo_tune)
        self.run_panel.lease.connect(orders.lease)
        self.log_panel.acknowledge.connect(orders.acknowledge)
        self.log_panel.doctor.connect(self.examine)
        for name, dock in self.docks.docks.items():
            if name in PANELS:
                dock.visibilityChanged.connect(lambda seen: self.show_panels() if seen else None)
        self._feed.arrived.connect(self.receive)

    def _bind(self) -> None:
        controls = self.controls
        does: dict[str, Callable[[], object]] = {
            "start": controls.start_button.click,
            "stop": controls.stop_button.click,
            "pause": controls.pause_button.click,
            "freeze": controls.freeze_button.click,
            "follow": controls.follow_button.click,
            "log": self._toggle_log,
            "doctor": self.examine,
            "acknowledge": self.orders.acknowledge_worst,
            "theme": self.theme_asked.emit,
            "reset": self.docks.reset,
            "help": self.show_help,
            **{f"panel {n}": partial(self.docks.show, n) for n in PANELS},
            **{way: partial(self._step, way) for way in ("left", "right", "up", "down")},
        }
        for key in KEYS:
            QShortcut(QKeySequence(key.key), self, does[key.does])

    def _step(self, way: str) -> None:
        self.choose(self.array.step(self.table.selected, way))

    def _lay_out(self) -> dict[str, QWidget]:
        """The strip and buttons on top; the panels by name."""
        self.setWindowTitle("Scheelite")
        self.resize(1280, 800)
        put(self.traces.title, TITLE, "normal")
        top = QWidget()
        top.setObjectName("page")
        box = QVBoxLayout(top)
        box.setContentsMargins(SPACE_PX, SPACE_PX, SPACE_PX, 0)
        box.setSpacing(SPACE_PX)
        box.addWidget(self.strip)
        box.addWidget(self.controls)
        self.setMenuWidget(top)
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.array)
        column.addWidget(modest(self.table), 1)
        column.addWidget(self.digitizers)
        squid = QSplitter(Qt.Orientation.Vertical)
        squid.addWidget(self.forms)
        squid.addWidget(self.curves)
        squid.setSizes([330, 230])
        middle: tuple[QWidget, ...] = (
            self.traces, self.pulse, self.noise, self.spectrum, self.rates, squid,
            self.fridge, self.run_panel, self.log_panel,
        )  # fmt: skip
        panels: dict[str, QWidget] = dict(zip(PANELS, middle, strict=True))
        modest(self.log)
        return {"Array": left, **panels, "Channel": self.channel, "Messages": self.log}
