"""pyqtgraph, set up once for every plot: PySide6, thin lines, no range that moves by itself."""

from __future__ import annotations

import os

os.environ["PYQTGRAPH_QT_LIB"] = "PySide6"  # it must know before it is imported

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QAbstractScrollArea,
    QComboBox,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gui.palette import TEXT_PX, Palette

__all__ = ["curve", "elastic", "lay_out", "modest", "n_columns", "narrow", "pg", "plot", "sentence"]

pg.setConfigOptions(antialias=False, useOpenGL=False)


def plot(palette: Palette, *, utc: bool = False) -> pg.PlotWidget:
    """An empty plot in the theme's colors; its ranges are set by who owns it.

    With `utc` the bottom is UTC in seconds.
    """
    axes = {"bottom": pg.DateAxisItem(utcOffset=0)} if utc else {}
    widget = pg.PlotWidget(background=palette.surface, axisItems=axes)
    item = widget.getPlotItem()
    item.setMenuEnabled(False)
    item.hideButtons()
    item.disableAutoRange()
    item.setMouseEnabled(x=False, y=False)
    for side in ("left", "right", "bottom"):
        item.showAxis(side)
        _style(item.getAxis(side), palette)
    widget.setFocusPolicy(pg.QtCore.Qt.FocusPolicy.NoFocus)
    return widget


def curve(color: str) -> pg.PlotCurveItem:
    """A line one pixel wide, with holes where it is not-a-number."""
    return pg.PlotCurveItem(pen=pg.mkPen(color, width=1), connect="finite")


def sentence(palette: Palette) -> pg.TextItem:
    """A line of text, centered where it is put."""
    return pg.TextItem("", color=palette.muted, anchor=(0.5, 0.5))


def elastic(label: QLabel) -> QLabel:
    """A line of text that never widens what it stands in: what does not fit is cut."""
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def modest(area: QAbstractScrollArea) -> QAbstractScrollArea:
    """A list or a text at the side: room that is left over goes to the plots."""
    area.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
    return area


def narrow(box: QComboBox, n_characters: int = 8) -> QComboBox:
    """A choice that is no wider than this, whatever there is to choose; without the keyboard."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(n_characters)
    box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return box


def n_columns(widget: pg.PlotWidget) -> int:
    """Pixel columns of the area that data are drawn in."""
    return max(int(widget.getViewBox().width()), 16)


def lay_out(parent: QWidget, *widgets: QWidget) -> None:
    """Stack widgets in a parent, the last one taking the room."""
    box = QVBoxLayout(parent)
    box.setContentsMargins(8, 6, 8, 4)
    box.setSpacing(2)
    for widget in widgets:
        box.addWidget(widget)
    box.setStretchFactor(widgets[-1], 1)


def _style(axis: pg.AxisItem, palette: Palette) -> None:
    font = QFont()
    font.setPixelSize(TEXT_PX["small"])
    axis.setTickFont(font)
    axis.setPen(palette.line)
    axis.setTextPen(palette.muted)
    axis.setStyle(tickLength=4, hideOverlappingLabels=True)
