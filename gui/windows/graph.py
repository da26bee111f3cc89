"""One plot like all others: the same gestures, cursors, and axes linear or logarithmic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from gui.model.text import number
from gui.palette import Palette
from gui.windows.plotting import curve, elastic, pg, plot, sentence

F64 = npt.NDArray[np.float64]
PREFIXED = ("V", "A", "K", "s", "Hz", "eV", "W", "Ω", "Pa", "bar")  # mV, but no kcounts or m%
LEAST = 1e-300  # of a logarithm's argument


class Graph(QFrame):
    """Wheel and drag zoom and move, a double click fits, two clicks measure a distance.

    What is handed in is in plain units; a logarithmic axis is made here.
    """

    def __init__(
        self, palette: Palette, bottom: tuple[str, str], left: tuple[str, str], *, utc: bool = False
    ) -> None:
        super().__init__()
        self.setObjectName("panel")
        self._palette = palette
        self.log_x, self.log_y, self.following = False, False, True
        self._units = {"bottom": bottom, "left": left}
        self._curves: dict[str, Any] = {}  # Any: pyqtgraph is untyped
        self._data: dict[str, tuple[F64, F64]] = {}
        self._lines: list[Any] = []
        self._clicks: list[tuple[float, float]] = []
        self.title, self.readout, self.auto = QLabel(), QLabel(), QLabel("auto range")
        self.tools = QHBoxLayout()
        self.plot = plot(palette, utc=utc)
        self._sentence = sentence(palette)
        self._cross = pg.ScatterPlotItem(symbol="+", size=12, pen=palette.attention, brush=None)
        self._set_up()

    # --- what is shown ---

    def draw(self, name: str, x: F64, y: F64, color: str, *, dashed: bool = False) -> None:
        """A line by name; an empty one is taken away."""
        if name not in self._curves:
            self._curves[name] = curve(color)
            self.plot.addItem(self._curves[name])
        style = Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine
        self._curves[name].setPen(pg.mkPen(color, width=1, style=style))
        self._data[name] = (x, y)
        self._curves[name].setData(_scaled(x, self.log_x), _scaled(y, self.log_y))

    def dots(self, name: str, x: F64, y: F64, color: str) -> None:
        """Points by name."""
        if name not in self._curves:
            self._curves[name] = pg.ScatterPlotItem(size=5, pen=None)
            self.plot.addItem(self._curves[name])
        self._curves[name].setBrush(color)
        self._data[name] = (x, y)
        self._curves[name].setData(_scaled(x, self.log_x), _scaled(y, self.log_y))

    def steps(self, name: str, edges: F64, counts: F64, color: str) -> None:
        """A histogram as a line by name."""
        self.draw(name, np.repeat(edges, 2)[1:-1], np.repeat(counts, 2), color)

    def keep(self, *names: str) -> None:
        """Take all lines away but these."""
        for name in set(self._curves) - set(names):
            self.plot.removeItem(self._curves.pop(name))
            del self._data[name]

    def data(self, name: str) -> tuple[F64, F64]:
        """What a line shows."""
        return self._data.get(name, (np.empty(0), np.empty(0)))

    def mark(self, places: dict[str, float]) -> None:
        """Upright lines with names, at these places along the bottom."""
        for line in self._lines:
            self.plot.removeItem(line)
        self._lines = [self._marker(name, x) for name, x in places.items()]

    def say(self, text: str) -> None:
        """A sentence in the middle instead of data; an empty one takes it away."""
        self._sentence.setText(text)
        self._sentence.setVisible(bool(text))
        if text:
            (low_x, high_x), (low_y, high_y) = self.plot.getViewBox().viewRange()
            self._sentence.setPos((low_x + high_x) / 2, (low_y + high_y) / 2)

    @property
    def said(self) -> str:
        """The sentence that is shown."""
        return str(self._sentence.toPlainText())

    def name_axes(self, bottom: tuple[str, str], left: tuple[str, str]) -> None:
        """Say what is drawn, each as (what, unit)."""
        if {"bottom": bottom, "left": left} != self._units:
            self._units = {"bottom": bottom, "left": left}
            self._label()

    # --- ranges ---

    def set_log(self, *, x: bool | None = None, y: bool | None = None) -> None:
        """Logarithmic axes, or linear ones."""
        self.log_x = self.log_x if x is None else x
        self.log_y = self.log_y if y is None else y
        self._label()
        self.mark({})
        self._clicks.clear()
        self._cross.setData([])
        for name, (xs, ys) in self._data.items():
            self._curves[name].setData(_scaled(xs, self.log_x), _scaled(ys, self.log_y))
        if self.following:
            self.fit()

    def toggle_log(self) -> None:
        """The other kind of axis upward."""
        self.set_log(y=not self.log_y)

    def follow(self, following: bool) -> None:
        """Let the range follow what is drawn, or hold it."""
        self.following = following
        self.auto.setVisible(following)
        if following:
            self.fit()

    def fit(self) -> None:
        """The range of what is drawn."""
        found = [(_scaled(x, self.log_x), _scaled(y, self.log_y)) for x, y in self._data.values()]
        x, y = _extent([pair[0] for pair in found]), _extent([pair[1] for pair in found])
        if x is not None and y is not None:
            self.plot.setRange(xRange=x, yRange=y, padding=0.03, disableAutoRange=True)

    def settle(self) -> None:
        """After drawing: follow where that is asked for."""
        if self.following:
            self.fit()

    # --- gestures ---

    def click(self, x: float, y: float) -> None:
        """Put a cursor; the second tells the distance, the third begins anew."""
        self._clicks = [(x, y)] if len(self._clicks) == 2 else [*self._clicks, (x, y)]
        self._cross.setData(pos=np.array(self._clicks))
        points = [(_plain(x, self.log_x), _plain(y, self.log_y)) for x, y in self._clicks]
        units = self._units["bottom"][1], self._units["left"][1]
        words = ", ".join(
            f"{number(v, 4)} {u}".strip() for v, u in zip(points[-1], units, strict=True)
        )
        if len(points) == 2:
            dx, dy = points[1][0] - points[0][0], points[1][1] - points[0][1]
            words = f"Δ {number(dx, 4)} {units[0]}, {number(dy, 4)} {units[1]}"
        self.readout.setText(words)

    def _clicked(self, event: Any) -> None:  # Any: pyqtgraph's mouse event
        if event.button() != Qt.MouseButton.LeftButton:
            return
        if event.double():
            self.follow(True)
            return
        at = self.plot.getViewBox().mapSceneToView(event.scenePos())
        self.click(at.x(), at.y())

    def _moved(self, *_: object) -> None:
        self.following = False
        self.auto.setVisible(False)

    # --- set up ---

    def _marker(self, name: str, x: float) -> Any:  # Any: pyqtgraph is untyped
        place = math.log10(max(x, LEAST)) if self.log_x else x
        pen = pg.mkPen(self._palette.muted, style=Qt.PenStyle.DotLine)
        options = {"position": 0.94, "color": self._palette.muted, "rotateAxis": (1, 0)}
        line = pg.InfiniteLine(place, angle=90, pen=pen, label=name, labelOpts=options)
        self.plot.addItem(line)
        return line

    def _label(self) -> None:
        for side, is_log in (("bottom", self.log_x), ("left", self.log_y)):
            what, unit = self._units[side]
            axis = self.plot.getAxis(side)
            if isinstance(axis, pg.DateAxisItem):
                axis.enableAutoSIPrefix(False)
                axis.setLabel(what)
                continue
            axis.setLogMode(is_log, is_log)
            prefixed = unit in PREFIXED and not is_log
            axis.enableAutoSIPrefix(prefixed)
            if not prefixed:
                axis.setLabel(f"{what} [{unit}]" if unit else what)
            else:
                axis.setLabel(what, units=unit or None)
            axis.resizeEvent()  # else another text stands where the last one's middle was

    def _set_up(self) -> None:
        self.plot.addItem(self._sentence, ignoreBounds=True)
        self.plot.addItem(self._cross, ignoreBounds=True)
        self.plot.showGrid(x=True, y=True, alpha=0.15)
        self.plot.hideAxis("right")
        self.plot.getAxis("left").setWidth(66)
        self.plot.getViewBox().setMouseEnabled(x=True, y=True)
        self.plot.getViewBox().sigRangeChangedManually.connect(self._moved)
        self.plot.scene().sigMouseClicked.connect(self._clicked)
        self._label()
        self.auto.setProperty("tone", "stale")
        self.readout.setProperty("tone", "stale")
        self.tools.setContentsMargins(0, 0, 0, 0)
        self.tools.setSpacing(6)
        self.tools.addStretch(1)
        self.tools.addWidget(self.readout)
        self.tools.addWidget(self.auto)
        box = QVBoxLayout(self)
        box.setContentsMargins(8, 6, 8, 4)
        box.setSpacing(2)
        box.addWidget(elastic(self.title))
        box.addLayout(self.tools)
        box.addWidget(self.plot, 1)

    def add_tool(self, widget: QWidget) -> None:
        """A control in the line above the plot."""
        self.tools.insertWidget(self.tools.count() - 3, widget)


def _scaled(values: F64, is_log: bool) -> F64:
    values = np.asarray(values, np.float64)
    if not is_log:
        return values
    return np.asarray(np.log10(values, where=values > 0, out=np.full(values.shape, np.nan)))


def _plain(value: float, is_log: bool) -> float:
    return 10.0**value if is_log else value


def _extent(arrays: list[F64]) -> tuple[float, float] | None:
    whole = np.concatenate([a for a in arrays if a.size] or [np.empty(0)])
    known = whole[np.isfinite(whole)]
    if not known.size:
        return None
    low, high = float(known.min()), float(known.max())
    room = (high - low) or abs(high) or 1.0
    return (low, high) if high > low else (low - room / 2, high + room / 2)
