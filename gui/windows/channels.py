"""The list of channels: ticked to be drawn, selected for its record, with what each has counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from gui.model.services import ChannelCounts, CoreBody
from gui.model.text import NONE, count, duration, rate, si

TITLES = {
    "channel": "tick to draw its trace, select to see its last record",
    "rate /s": "records per second, now",
    "records": "records of this run",
    "live": "live time of this run: when the channel could trigger",
    "level": "median of the trace shown",
}
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class ChannelTable(QTableWidget):
    """One row for each channel; `ticked` and `chosen` say what the operator did."""

    ticked = Signal()
    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__(0, len(TITLES))
        self._rows: dict[str, list[QTableWidgetItem]] = {}
        self._set_up()
        self.itemChanged.connect(lambda _: self.ticked.emit())
        self.itemSelectionChanged.connect(lambda: self.chosen.emit(self.selected))

    @property
    def shown(self) -> list[str]:
        """Channels that are ticked, in the table's order."""
        checked = Qt.CheckState.Checked
        return [name for name, row in self._rows.items() if row[0].checkState() == checked]

    @property
    def selected(self) -> str:
        """The channel whose record is asked for; empty where there is none."""
        return list(self._rows)[self.currentRow()] if self.currentRow() >= 0 else ""

    def cells(self, channel: str) -> tuple[str, ...]:
        """What a channel's row says, after its name."""
        return tuple(item.text() for item in self._rows[channel][1:])

    def tick(self, channel: str, *, shown: bool) -> None:
        """Tick a channel, or take its tick away."""
        state = Qt.CheckState.Checked if shown else Qt.CheckState.Unchecked
        self._rows[channel][0].setCheckState(state)

    def choose(self, channel: str) -> None:
        """Select a channel."""
        self.selectRow(self._rows[channel][0].row())

    def hold(self, channels: Sequence[str], colors: Mapping[str, str]) -> None:
        """Add rows for channels that have none."""
        for name in channels[len(self._rows) :]:
            self._add(name, colors[name])
        if channels and not self.selected:
            self.selectRow(0)

    def show_counts(self, core: CoreBody, levels_v: Mapping[str, float], *, fresh: bool) -> None:
        """Fill in what the core has counted; grey where it is no longer true."""
        color = self.palette().text() if fresh else self.palette().placeholderText()
        with QSignalBlocker(self):
            for name, row in self._rows.items():
                for item, text in zip(row[1:], _cells(core, levels_v, name), strict=True):
                    item.setText(text)
                    item.setForeground(color)

    def _add(self, name: str, color: str) -> None:
        row = self._rows[name] = [QTableWidgetItem() for _ in TITLES]
        row[0].setText(name)
        row[0].setCheckState(Qt.CheckState.Checked)
        row[0].setData(Qt.ItemDataRole.DecorationRole, QColor(color))
        for item in row[1:]:
            item.setTextAlignment(RIGHT)
        with QSignalBlocker(self):
            self.insertRow(self.rowCount())
            for column, item in enumerate(row):
                self.setItem(self.rowCount() - 1, column, item)
        self.ticked.emit()

    def _set_up(self) -> None:
        for column, (title, tip) in enumerate(TITLES.items()):
            self.setHorizontalHeaderItem(column, _titled(title, tip))
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # the arrows move in the array
        self.setIconSize(QSize(10, 10))
        self.verticalHeader().hide()
        font = QFont(self.font())
        font.setFeature(QFont.Tag("tnum"), 1)  # figures that do not dance
        self.setFont(font)
        self.verticalHeader().setDefaultSectionSize(QFontMetrics(font).height() + 8)
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)


def _titled(title: str, tip: str) -> QTableWidgetItem:
    item = QTableWidgetItem(title)
    item.setToolTip(tip)
    return item


def _cells(core: CoreBody, levels_v: Mapping[str, float], name: str) -> tuple[str, ...]:
    counts = core.channels.get(name, ChannelCounts()) if core.channels else None
    level = si(levels_v[name], "V") if name in levels_v else NONE
    if counts is None:
        return NONE, NONE, NONE, level
    return rate(counts.rate_hz), count(counts.records), duration(counts.livetime_s), level
