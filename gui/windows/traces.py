"""The last seconds of the ticked channels, one lane for each, with a mark where one triggered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLabel, QWidget

from gui.model.lane import Lane
from gui.model.rolling import Rolling, Stretch
from gui.model.scales import UNITS
from gui.model.text import fixed, si
from gui.palette import Palette
from gui.windows.plotting import curve, lay_out, n_columns, pg, plot, sentence

BELOW, ABOVE = 0.06, 0.22  # of a lane, around its range; marks stand above
LABELED = (0.2, 0.9)  # of a lane's range: round numbers, and far enough from the next lane's
Floats = npt.NDArray[np.float64]


class TraceView(QFrame):
    """Lanes and lines; what they show is handed in."""

    def __init__(self, palette: Palette, span_s: float) -> None:
        super().__init__()
        self.setObjectName("panel")
        self._span_s = span_s
        self._lanes: dict[str, Lane] = {}
        self._curves: dict[str, pg.PlotCurveItem] = {}
        self._order: tuple[str, ...] = ()
        self._floors: dict[str, float] = {}
        self._ticks: list[tuple[float, str]] = []
        self._scales: Mapping[str, tuple[float, str]] = {}
        self._clicks: list[float] = []
        self.title, self.readout, self.unit = QLabel(), QLabel(), QComboBox()
        self._plot = plot(palette)
        self._marks = pg.ScatterPlotItem(symbol="t", size=7, pen=None, brush=palette.text)
        self._borders = pg.PlotCurveItem(pen=pg.mkPen(palette.line), connect="pairs")
        self._sentence = sentence(palette)
        pen = pg.mkPen(palette.attention, style=Qt.PenStyle.DotLine)
        self._cursors = [pg.InfiniteLine(0.0, angle=90, pen=pen) for _ in range(2)]
        self._set_up()

    @property
    def drawn(self) -> tuple[str, ...]:
        """Channels that have a line on screen."""
        return tuple(name for name in self._order if self.points(name).size)

    @property
    def sentence(self) -> str:
        """What is said instead of data; empty where there are data."""
        return str(self._sentence.toPlainText())

    @property
    def n_marks(self) -> int:
        """Trigger marks on screen."""
        return len(self._marks.data)

    def points(self, name: str) -> Floats:
        """A channel's line as [point, 2] of age in s and height in the plot."""
        ages, heights = self._curves[name].getData()
        return np.empty((0, 2)) if ages is None else np.stack([ages, heights], axis=1)

    def range_v(self, name: str) -> tuple[float, float]:
        """The volts that a channel's lane spans now."""
        return self._lanes[name].low, self._lanes[name].high

    def say(self, text: str) -> None:
        """Show a sentence in the middle; an empty one takes it away."""
        if text == self.sentence:
            return
        self._sentence.setText(text)
        self._sentence.setPos(-self._span_s / 2, max(len(self._order), 1) / 2)

    def fit(self) -> None:
        """Begin every lane's range anew."""
        self._lanes.clear()

    def arrange(self, shown: Sequence[str], colors: Mapping[str, str]) -> None:
        """One lane for each of `shown`, the first on top."""
        for name in set(self._curves) - set(shown):
            self._plot.removeItem(self._curves.pop(name))
        for name in shown:
            if name not in self._curves:
                self._curves[name] = curve(colors[name])
                self._plot.addItem(self._curves[name])
        self._order = tuple(shown)
        self._floors = {name: float(len(shown) - 1 - i) for i, name in enumerate(shown)}
        self._plot.setYRange(0, max(len(shown), 1), padding=0)
        names = [(self._floor(name) + 0.5, name) for name in shown]
        self._plot.getAxis("left").setTicks([names])
        self._draw_borders()

    def scale(self, scales: Mapping[str, tuple[float, str]]) -> None:
        """What each channel's volts are multiplied with, and the unit they then have."""
        if scales != self._scales:
            self._scales, self._ticks = scales, []

    def click(self, age_s: float) -> None:
        """Put a cursor; the second tells the time between them."""
        self._clicks = [age_s] if len(self._clicks) == 2 else [*self._clicks, age_s]
        for line in self._cursors:
            line.setVisible(False)
        for line, at in zip(self._cursors, self._clicks, strict=False):
            line.setValue(at)
            line.setVisible(True)
        apart = f"Δ {si(abs(self._clicks[-1] - self._clicks[0]), 's', 4)}"
        self.readout.setText(apart if len(self._clicks) == 2 else si(age_s, "s", 4))

    def draw(self, rolling: Rolling, *, follow: bool, now_s: float) -> None:
        """Draw what `rolling` holds; `follow` lets the lanes' ranges grow and shrink."""
        absent = set(self._order)
        for stretch in rolling.stretches(n_columns(self._plot)):
            absent -= self._draw_stretch(stretch, follow, now_s)
        for name in absent:
            self._curves[name].setData([], [])
        self._draw_marks(rolling)
        self._draw_volts()

    def _draw_stretch(self, stretch: Stretch, follow: bool, now_s: float) -> set[str]:
        """Draw the channels of one digitizer that have a lane; their names."""
        ages = np.repeat(stretch.ages_s, 2)
        drawn = set()
        lows = np.fmin.reduce(stretch.volts[..., 0], axis=1)
        highs = np.fmax.reduce(stretch.volts[..., 1], axis=1)
        rows = zip(stretch.channels, stretch.volts, lows.tolist(), highs.tolist(), strict=True)
        for name, volts, low, high in rows:
            if name in self._curves and math.isfinite(low):
                lane = self._lane(name, low, high, follow, now_s)
                self._curves[name].setData(ages, self._heights(name, lane, volts.reshape(-1)))
                drawn.add(name)
        return drawn

    def _lane(self, name: str, low: float, high: float, follow: bool, now_s: float) -> Lane:
        lane = self._lanes.setdefault(name, Lane())
        if follow or lane.height == 0:
            lane.follow(low, high, now_s)
        return lane

    def _heights(self, name: str, lane: Lane, volts: npt.NDArray[np.float32]) -> Floats:
        """Where in the plot volts are; what the lane cannot hold runs along its edge."""
        part = np.clip((volts.astype(np.float64) - lane.low) / lane.height, 0, 1)
        return self._floor(name) + BELOW + (1 - BELOW - ABOVE) * part

    def _draw_marks(self, rolling: Rolling) -> None:
        marks = [
            (age, self._floor(name) + 1 - ABOVE / 2)
            for name in self._order
            for age in rolling.marker_ages_s(name)
        ]
        self._marks.setData(pos=np.array(marks).reshape(-1, 2))

    def _draw_volts(self) -> None:
        """Label the lanes' ranges in volts, on the right; only when one has changed."""
        ticks = [tick for name in self._order for tick in self._volt_ticks(name)]
        if ticks != self._ticks:
            self._ticks = ticks
            self._plot.getAxis("right").setTicks([ticks])

    def _volt_ticks(self, name: str) -> list[tuple[float, str]]:
        lane = self._lanes.get(name)
        if lane is None or lane.height == 0:
            return [(self._floor(name) + 0.5, "no data")]
        floor, room = self._floor(name) + BELOW, 1 - BELOW - ABOVE
        factor, unit = self._scales.get(name, (1.0, "V"))
        low, height = lane.low * factor, lane.height * factor
        return [
            (floor + room * part, fixed(low + part * height, unit, abs(height) / 10))
            for part in LABELED
        ]

    def _clicked(self, event: Any) -> None:  # Any: pyqtgraph's mouse event
        if event.button() == Qt.MouseButton.LeftButton:
            self.click(float(self._plot.getViewBox().mapSceneToView(event.scenePos()).x()))

    def _draw_borders(self) -> None:
        levels = np.repeat(np.arange(1, len(self._order), dtype=np.float64), 2)
        self._borders.setData(np.tile([-self._span_s, 0.0], len(levels) // 2), levels)

    def _floor(self, name: str) -> float:
        return self._floors[name]

    def _set_up(self) -> None:
        self._plot.scene().sigMouseClicked.connect(self._clicked)
        for item in (self._borders, self._marks, self._sentence, *self._cursors):
            self._plot.addItem(item)
        self._plot.setXRange(-self._span_s, 0, padding=0.004)
        self._plot.getAxis("bottom").setLabel("before the newest sample", units="s")
        self._plot.getAxis("left").setWidth(48)
        self._plot.getAxis("right").setWidth(64)
        for line in self._cursors:
            line.setVisible(False)
        self.unit.addItems(list(UNITS))
        self.unit.setToolTip("of the channels that it is known for; the others stay in V")
        self.unit.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.readout.setProperty("tone", "stale")
        head = QWidget()
        line = QHBoxLayout(head)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.title)
        line.addStretch(1)
        line.addWidget(self.readout)
        line.addWidget(self.unit)
        lay_out(self, head, self._plot)
