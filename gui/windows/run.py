"""The run: what is being written where, what room is left, who commands, how services are."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from gui.model.console import Console
from gui.model.headline import look
from gui.model.runfacts import facts, service_rows
from gui.palette import Palette
from gui.windows.strip import put

COLUMNS = ("service", "state", "last news", "says")
LEASE_S = 3600.0


class RunPanel(QFrame):
    """Facts, the lease's buttons, and a table of services."""

    lease = Signal(str)  # "take" or "release"

    def __init__(self, palette: Palette) -> None:
        super().__init__()
        self.setObjectName("panel")
        self._palette = palette
        self.state = QLabel()
        self.state.setProperty("weight", "state")
        self.take_button = _button("Take the lease for 1 h", "others are refused until then")
        self.release_button = _button("Give it back", "anybody may command again")
        self.table = QTableWidget(0, len(COLUMNS))
        self._labels: list[tuple[QLabel, QLabel]] = []
        self._grid = QGridLayout()
        self._set_up()

    def show_console(self, console: Console, now_s: float) -> None:
        """Fill it in."""
        state = look(console, now_s)
        put(self.state, f"{state.shape} {state.word}", state.tone)
        found = facts(console, now_s)
        while len(self._labels) < len(found):
            self._add()
        for i, (left, right) in enumerate(self._labels):
            name, value, tone = found[i] if i < len(found) else ("", "", "normal")
            put(left, name, "stale")
            put(right, value, tone)
        held = console.run.body.lease
        fresh = console.run.is_fresh(now_s)
        self.take_button.setEnabled(fresh)
        self.release_button.setEnabled(fresh and held is not None)
        self._fill(console, now_s)

    def values(self) -> dict[str, str]:
        """What is said now."""
        return {name.text(): value.text() for name, value in self._labels}

    def _fill(self, console: Console, now_s: float) -> None:
        rows = service_rows(console, now_s)
        self.table.setRowCount(len(rows))
        for r, (cells, tone) in enumerate(rows):
            for c, text in enumerate(cells):
                item = self.table.item(r, c) or QTableWidgetItem()
                item.setText(text)
                item.setForeground(QColor(self._palette.tone(tone)))
                if self.table.item(r, c) is None:
                    self.table.setItem(r, c, item)

    def _add(self) -> None:
        pair = QLabel(), QLabel()
        pair[1].setWordWrap(True)
        pair[1].setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        for column, label in enumerate(pair):
            self._grid.addWidget(label, len(self._labels), column)
        self._labels.append(pair)

    def _set_up(self) -> None:
        self._grid.setColumnStretch(1, 1)
        self._grid.setHorizontalSpacing(16)
        self.table.setHorizontalHeaderLabels(list(COLUMNS))
        self.table.verticalHeader().hide()
        self.table.setShowGrid(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.take_button.clicked.connect(lambda: self.lease.emit("take"))
        self.release_button.clicked.connect(lambda: self.lease.emit("release"))
        line = QHBoxLayout()
        line.addWidget(self.state)
        line.addStretch(1)
        line.addWidget(self.take_button)
        line.addWidget(self.release_button)
        box = QVBoxLayout(self)
        box.setContentsMargins(12, 8, 12, 8)
        box.addLayout(line)
        box.addLayout(self._grid)
        box.addWidget(self.table, 1)


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return button
