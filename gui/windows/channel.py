"""The selected channel: all that is known of it."""

from __future__ import annotations

from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from gui.model.channelfacts import rows
from gui.model.console import Console
from gui.windows.plotting import modest
from gui.windows.strip import put

WIDTH_PX = 230  # for the longest name beside its value


class ChannelPanel(QFrame):
    """Names and values, in the order of what one asks first."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setMinimumWidth(WIDTH_PX)
        self.title = QLabel()
        self.title.setProperty("weight", "large")
        self._labels: list[tuple[QLabel, QLabel]] = []
        inner = QWidget()
        self._grid = QGridLayout(inner)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        outer = QVBoxLayout()
        scroll = QScrollArea()
        modest(scroll)
        scroll.setWidgetResizable(True)
        holder = QWidget()
        holder.setObjectName("sheet")
        box = QVBoxLayout(holder)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(inner)
        box.addStretch(1)
        scroll.setWidget(holder)
        outer.setContentsMargins(8, 6, 8, 6)
        outer.addWidget(self.title)
        outer.addWidget(scroll, 1)
        self.setLayout(outer)

    def show_channel(self, console: Console, channel: str, now_s: float) -> None:
        """Fill it in."""
        self.title.setText(channel)
        found = rows(console, channel, now_s) if channel else []
        while len(self._labels) < len(found):
            self._add()
        for i, (name_label, value_label) in enumerate(self._labels):
            name, value, tone = found[i] if i < len(found) else ("", "", "normal")
            put(name_label, name, "stale")
            put(value_label, value, tone)

    def values(self) -> dict[str, str]:
        """What is said now."""
        return {name.text(): value.text() for name, value in self._labels if name.text()}

    def _add(self) -> None:
        pair = QLabel(), QLabel()
        pair[0].setWordWrap(True)
        pair[1].setWordWrap(True)
        for column, label in enumerate(pair):
            self._grid.addWidget(label, len(self._labels), column)
        self._labels.append(pair)
