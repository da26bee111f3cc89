"""The last records of the selected channel: one, many together, their mean, their density."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QComboBox

from daq.model.record import Flag
from gui.model import columns
from gui.model.console import Console
from gui.model.records import Record, average, density
from gui.model.scales import MISSING, UNITS
from gui.model.text import clock, count, si
from gui.palette import Palette
from gui.windows.graph import Graph
from gui.windows.plotting import n_columns, pg

FLAGS = {flag: flag.name.lower().replace("_", " ") for flag in Flag}
SHOWS = ("last", "overlay", "average", "density")
TIPS = (
    "the newest record",
    "the last 50 over each other",
    "the mean of the last 50, each above its own baseline",
    "how often the last 50 pass where, as an oscilloscope with persistence",
)
FRAME = ("from the trigger", "s")


class RecordPanel(Graph):
    """Draws what a console has of one channel."""

    def __init__(self, palette: Palette) -> None:
        super().__init__(palette, FRAME, ("signal", "V"))
        self.shows, self.unit = _choice(SHOWS, TIPS), _choice(UNITS, [""] * len(UNITS))
        self.kind = _choice(("all", "pulses", "noise"), ("", "what triggered", "what did not"))
        self._image = pg.ImageItem()
        self._image.setColorMap(_color_map(palette))
        dashed = pg.mkPen(palette.muted, style=Qt.PenStyle.DashLine)
        self._trigger = pg.InfiniteLine(0.0, angle=90, pen=dashed)
        self._set_tools()

    def show_channel(self, console: Console, channel: str, color: str) -> None:
        """Draw a channel's records as it is asked for."""
        records = self._chosen(console, channel)
        factor = self._factor(console, channel)
        self.name_axes(FRAME, ("signal above baseline", self.unit.currentText()))
        self.keep("line")
        self._image.setVisible(False)
        if not records:
            self._say_none(channel)
            return
        self.say("")
        self._trigger.setVisible(True)
        self._draw(records, factor, color)
        self.settle()
        self.title.setText(_words(records[-1], factor, self.unit.currentText()))

    def _chosen(self, console: Console, channel: str) -> list[Record]:
        records = console.records.of(channel, noise=self.kind.currentText() != "pulses")
        if self.kind.currentText() == "noise":
            return [record for record in records if record.is_noise]
        return records

    def _factor(self, console: Console, channel: str) -> float:
        """From volts; a unit that this channel does not have falls back to volts."""
        known = console.scales.known(channel)
        for i, unit in enumerate(UNITS):
            item = self.unit.model().item(i)  # type: ignore[attr-defined]  # Qt's standard model
            item.setEnabled(unit in known)
            item.setToolTip("" if unit in known else MISSING[unit])
        if self.unit.currentText() not in known:
            self.unit.setCurrentText("V")
        return console.scales.factor(channel, self.unit.currentText()) or 1.0

    def _draw(self, records: list[Record], factor: float, color: str) -> None:
        what = self.shows.currentText()
        if what == "density":
            self._draw_density(records, factor)
        elif what == "average":
            self._draw_line(records[-1], average(records) * factor, color)
        elif what == "overlay":
            self._draw_overlay(records, factor, color)
        else:
            self._draw_line(records[-1], records[-1].volts() * factor, color)

    def _draw_line(self, record: Record, values: np.ndarray, color: str) -> None:
        times, pairs = self._columns(record, values)
        self.draw("line", times, pairs, color)

    def _draw_overlay(self, records: list[Record], factor: float, color: str) -> None:
        faint = QColor(color)
        faint.setAlpha(90)
        pieces = [self._columns(record, record.volts() * factor) for record in records]
        hole = np.array([np.nan])
        times = np.concatenate([part for t, _ in pieces for part in (t, hole)])
        values = np.concatenate([part for _, v in pieces for part in (v, hole)])
        self.draw("line", times, values, faint.name(QColor.NameFormat.HexArgb))

    def _draw_density(self, records: list[Record], factor: float) -> None:
        times = records[-1].times_s()
        volts = np.concatenate([record.volts() for record in records])
        low, high = float(volts.min()), float(volts.max())
        picture = density(records, min(n_columns(self.plot), len(times)), low, high)
        self._image.setImage(np.log1p(picture).T, autoLevels=True)
        width, height = times[-1] - times[0], max(high - low, 1e-30) * factor
        self._image.setRect(QRectF(times[0], low * factor, width, height))
        self._image.setVisible(True)
        corners = np.array([times[0], times[-1]])
        self.draw("line", corners, np.array([low, high]) * factor, "#00000000")

    def _columns(self, record: Record, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest per pixel column, so that nothing is missed."""
        per_column = columns.per_column(len(values), n_columns(self.plot))
        starts = np.arange(0, len(values), per_column)
        lows, highs = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        times = (starts - record.header.pretrigger) / record.header.rate_hz
        return np.repeat(times, 2), np.stack([lows, highs], axis=1).reshape(-1)

    def _say_none(self, channel: str) -> None:
        what = {"all": "record", "pulses": "pulse", "noise": "noise record"}
        self.title.setText(f"{channel}  last record")
        self.keep()
        self._trigger.setVisible(False)
        self.say(f"no {what[self.kind.currentText()]} of {channel} yet")

    def _set_tools(self) -> None:
        self.plot.addItem(self._image)
        self.plot.addItem(self._trigger)
        for choice in (self.kind, self.shows, self.unit):
            self.add_tool(choice)


def _choice(words: tuple[str, ...], tips: tuple[str, ...] | list[str]) -> QComboBox:
    box = QComboBox()
    box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    for i, (word, tip) in enumerate(zip(words, tips, strict=True)):
        box.addItem(word)
        box.setItemData(i, tip, Qt.ItemDataRole.ToolTipRole)
    return box


def _color_map(palette: Palette) -> pg.ColorMap:
    ends = [QColor(palette.surface), QColor(palette.selection), QColor(palette.attention)]
    return pg.ColorMap([0.0, 0.5, 1.0], ends)


def _words(record: Record, factor: float, unit: str) -> str:
    row, volts = record.row, record.header.volts_per_count * factor
    parts = [
        f"{record.header.channel}  record {count(int(row['record']))}",
        f"{clock(int(row['t_ns']), 3)} UTC",
        f"height {si(float(row['height']) * volts, unit)}",
        f"noise {si(float(row['baseline_rms']) * volts, unit)}",
        *(word for flag, word in FLAGS.items() if row["flags"] & flag),
    ]
    return "   ".join(parts)
