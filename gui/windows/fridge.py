"""The cryostat: its stages, and temperatures, pressures and heaters over hours and days."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from gui.model.console import Console
from gui.model.cryostat import Stage, heaters, pressures, stages
from gui.model.forms import pretty, shown_reading
from gui.model.text import si
from gui.palette import TEXT_PX, Palette
from gui.windows.graph import Graph
from gui.windows.plotting import narrow

SPANS = {"1 h": 3600.0, "8 h": 28_800.0, "2 d": 172_800.0, "10 d": 864_000.0}
UTC = ("UTC", "")
PLATE_PX, GAP_PX = 44, 10


class Scheme(QWidget):
    """The plates of the cryostat, the warmest on top, each narrower than the one above."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self._palette = palette
        self.rows: list[tuple[str, str, str]] = []  # place, temperature, tone
        self.extras: list[tuple[str, str, str]] = []
        self.setMinimumWidth(210)

    def show_stages(self, found: list[Stage], extras: list[tuple[str, str, str]]) -> None:
        """What to paint."""
        rows = [_row(stage) for stage in found]
        if (rows, extras) != (self.rows, self.extras):
            self.rows, self.extras = rows, extras
            self.update()

    def paintEvent(self, _: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Plates, and below them what heats."""
        painter = QPainter(self)
        font = QFont(self.font())
        font.setPixelSize(TEXT_PX["normal"])
        painter.setFont(font)
        y = 6.0
        for i, row in enumerate(self.rows):
            inset = 8.0 * i
            box = QRectF(inset + 1, y, self.width() - 2 * inset - 2, PLATE_PX)
            self._plate(painter, box, row)
            y += PLATE_PX + GAP_PX
        y += GAP_PX
        for name, value, tone in self.extras:
            box = QRectF(2, y, self.width() - 4, 20)
            painter.setPen(QColor(self._palette.muted))
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft, name)
            painter.setPen(QColor(self._palette.tone(tone)))
            painter.drawText(box, Qt.AlignmentFlag.AlignRight, value)
            y += 20

    def _plate(self, painter: QPainter, box: QRectF, row: tuple[str, str, str]) -> None:
        place, temperature, tone = row
        painter.setPen(QPen(QColor(self._palette.line)))
        painter.setBrush(QColor(self._palette.surface))
        painter.drawRect(box)
        inner = box.adjusted(8, 3, -8, -3)
        painter.setPen(QColor(self._palette.muted))
        painter.drawText(inner, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, place)
        painter.setPen(QColor(self._palette.tone(tone)))
        where = Qt.AlignmentFlag.AlignBottom | Qt.AlignmentFlag.AlignRight
        painter.drawText(inner, where, temperature)


class FridgePanel(QWidget):
    """The scheme on the left, the curves on the right."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self._palette = palette
        self.scheme = Scheme(palette)
        self.temperatures = Graph(palette, UTC, ("temperature", "K"), utc=True)
        self.others = Graph(palette, UTC, ("pressure", ""), utc=True)
        self.span, self.shown = QComboBox(), QComboBox()
        self.span.addItems(list(SPANS))
        self.shown.addItems(["all stages"])
        for box, width in ((self.shown, 16), (self.span, 5)):
            self.temperatures.add_tool(narrow(box, width))
        self.temperatures.set_log(y=True)
        self.other = QComboBox()
        self.others.add_tool(narrow(self.other, 20))
        self._set_up()

    def follow(self, following: bool) -> None:
        """Let both ranges follow, or hold them."""
        self.temperatures.follow(following)
        self.others.follow(following)

    def toggle_log(self) -> None:
        """The other kind of axis of the temperatures."""
        self.temperatures.toggle_log()

    def show_console(self, console: Console, now_s: float) -> None:
        """Draw what is known."""
        readings = console.instruments.body.readings
        found = stages(readings)
        fresh = console.instruments.is_fresh(now_s)
        heating = heaters(readings)
        extras = []
        for name, item in heating.items():
            text, tone, _ = shown_reading(item)
            extras.append((_short(name), text, tone if fresh else "stale"))
        self.scheme.show_stages(found, extras)
        since = console.utc_ns / 1e9 - SPANS[self.span.currentText()]
        self._draw_temperatures(console, found, since)
        self._draw_other(console, [*pressures(readings), *heating], since)

    def _draw_temperatures(self, console: Console, found: list[Stage], since: float) -> None:
        _refill(self.shown, ["all stages", *(_title(stage) for stage in found)])
        wanted = self.shown.currentText()
        drawn = []
        for i, stage in enumerate(found):
            t_s, kelvin = console.history.since(stage.reading, since)
            if t_s.size > 1 and wanted in ("all stages", _title(stage)):
                self.temperatures.draw(stage.reading, t_s, kelvin, self._palette.channel(i))
                drawn.append(stage.reading)
        self.temperatures.keep(*drawn)
        self.temperatures.title.setText("Temperatures")
        self.temperatures.say("" if drawn else "no temperatures yet: no thermometer was read twice")
        self.temperatures.settle()

    def _draw_other(self, console: Console, names: list[str], since: float) -> None:
        numbers = [n for n in names if console.history.since(n, since)[0].size > 1]
        _refill(self.other, numbers)
        name = self.other.currentText()
        item = console.instruments.body.readings.get(name)
        if not name or item is None:
            self.others.keep()
            self.others.title.setText("Pressures and heaters")
            self.others.say("no pressure and no heater was read twice yet")
            return
        self.others.say("")
        self.others.name_axes(UTC, (_short(name), pretty(item.unit)))
        self.others.draw("other", *console.history.since(name, since), self._palette.channel(0))
        self.others.title.setText("Pressures and heaters")
        self.others.settle()

    def _set_up(self) -> None:
        graphs = QSplitter(Qt.Orientation.Vertical)
        graphs.addWidget(self.temperatures)
        graphs.addWidget(self.others)
        graphs.setSizes([300, 240])
        left = QWidget()
        box = QVBoxLayout(left)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.scheme)
        line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(left)
        line.addWidget(graphs, 1)


def _row(stage: Stage) -> tuple[str, str, str]:
    if stage.kelvin is None:
        return stage.place, stage.item.text or "not read", "stale"
    return stage.place, si(stage.kelvin, "K", 4), "stale" if stage.item.stale else "normal"


def _title(stage: Stage) -> str:
    instrument, _, name = stage.reading.partition(".")
    return f"{stage.place} ({instrument} {name.rpartition('.')[0]})"


def _short(name: str) -> str:
    return name.partition(".")[2].replace("_", " ")


def _refill(box: QComboBox, names: list[str]) -> None:
    if [box.itemText(i) for i in range(box.count())] != names:
        kept = box.currentText()
        box.clear()
        box.addItems(names)
        if kept in names:
            box.setCurrentText(kept)
