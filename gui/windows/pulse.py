"""The last record of one channel, in volts against time from its trigger."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel

from daq.model.record import Flag
from gui.model import columns
from gui.model.frames import PulseFrame
from gui.model.lane import Lane
from gui.model.text import clock, count, si
from gui.palette import Palette
from gui.windows.plotting import curve, lay_out, n_columns, pg, plot, sentence

FLAGS = {flag: flag.name.lower().replace("_", " ") for flag in Flag}


class PulseView(QFrame):
    """One record; each channel keeps a range of its own, so that heights can be compared."""

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self.setObjectName("panel")
        self._lanes: dict[str, Lane] = {}
        self.title = QLabel()
        self._plot = plot(palette)
        self._line = curve(palette.text)
        self._sentence = sentence(palette)
        dashed = pg.mkPen(palette.muted, style=Qt.PenStyle.DashLine)
        self._trigger = pg.InfiniteLine(0.0, angle=90, pen=dashed)
        self._baseline = pg.InfiniteLine(0.0, angle=0, pen=dashed)
        self._set_up()

    def fit(self) -> None:
        """Begin every channel's range anew."""
        self._lanes.clear()

    def say(self, title: str, text: str) -> None:
        """Show a sentence instead of a record."""
        self.title.setText(title)
        self._line.setData([], [])
        self._show_scale(False)
        self._plot.setRange(xRange=(0, 1), yRange=(0, 1), padding=0)
        self._sentence.setPos(0.5, 0.5)
        self._sentence.setText(text)

    def draw(self, frame: PulseFrame, color: str, *, follow: bool, now_s: float) -> None:
        """Draw the last record of a frame; `follow` lets the range grow and shrink."""
        header, samples = frame.header, frame.samples[-1]
        per_column = columns.per_column(len(samples), n_columns(self._plot))
        pairs = columns.of_samples(samples, per_column) * header.volts_per_count
        starts = np.arange(len(pairs)) * per_column - header.pretrigger
        self._line.setPen(pg.mkPen(color, width=1))
        self._line.setData(np.repeat(starts / header.rate_hz, 2), pairs.reshape(-1))
        self._baseline.setValue(float(frame.rows[-1]["baseline"]) * header.volts_per_count)
        self._place(frame, float(pairs.min()), float(pairs.max()), follow, now_s)
        self._say_what(frame)

    def _place(
        self, frame: PulseFrame, low: float, high: float, follow: bool, now_s: float
    ) -> None:
        header = frame.header
        lane = self._lanes.setdefault(header.channel, Lane())
        if follow or lane.height == 0:
            lane.follow(low, high, now_s)
        begin, end = -header.pretrigger, header.record_length - header.pretrigger
        self._plot.setXRange(begin / header.rate_hz, end / header.rate_hz, padding=0)
        self._plot.setYRange(lane.low, lane.high, padding=0.03)
        self._show_scale(True)

    def _show_scale(self, shown: bool) -> None:
        for line in (self._trigger, self._baseline):
            line.setVisible(shown)
        for side in ("left", "bottom"):
            self._plot.getAxis(side).setStyle(showValues=shown)

    def _say_what(self, frame: PulseFrame) -> None:
        row, volts_per_count = frame.rows[-1], frame.header.volts_per_count
        parts = [
            f"{frame.header.channel}  record {count(int(row['record']))}",
            f"{clock(int(row['t_ns']), 3)} UTC",
            f"height {si(float(row['height']) * volts_per_count, 'V')}",
            f"baseline noise {si(float(row['baseline_rms']) * volts_per_count, 'V')}",
            *(word for flag, word in FLAGS.items() if row["flags"] & flag),
        ]
        self.title.setText("   ".join(parts))
        self._sentence.setText("")

    def _set_up(self) -> None:
        for item in (self._trigger, self._baseline, self._line, self._sentence):
            self._plot.addItem(item)
        self._plot.showGrid(x=True, y=True, alpha=0.15)
        self._plot.getAxis("bottom").setLabel("from the trigger", units="s")
        self._plot.getAxis("left").setLabel("signal", units="V")
        self._plot.getAxis("left").setWidth(58)
        self._plot.hideAxis("right")
        lay_out(self, self.title, self._plot)
