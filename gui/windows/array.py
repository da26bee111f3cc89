"""The map of the array: each channel at a glance; a click goes there."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

from gui.model.array import Cell, cell, places
from gui.model.console import Console

STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


class ArrayMap(QWidget):
    """A button for each channel, at its place; `chosen` says which was pressed."""

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._buttons: dict[str, QPushButton] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)

    def button(self, channel: str) -> QPushButton:
        """A channel's button."""
        return self._buttons[channel]

    def hold(self, channels: Sequence[str]) -> None:
        """One button for each channel."""
        if list(self._buttons) == list(channels):
            return
        self._places = places(channels)
        for name in channels:
            if name not in self._buttons:
                self._buttons[name] = self._button(name)
            row, column = self._places[name]
            self._grid.addWidget(self._buttons[name], row, column)
            self._grid.setColumnStretch(column, 1)

    def show_console(self, console: Console, now_s: float) -> None:
        """Say how every channel is."""
        for name, button in self._buttons.items():
            _put(button, cell(console, name, now_s))

    def select(self, channel: str) -> None:
        """Show which channel the other panels are about."""
        for name, button in self._buttons.items():
            button.setChecked(name == channel)

    def step(self, channel: str, way: str) -> str:
        """The channel next to one, or itself at the edge."""
        row, column = self._places.get(channel, (0, 0))
        down, right = STEPS[way]
        wanted = (row + down, column + right)
        return next((name for name, at in self._places.items() if at == wanted), channel)

    def _button(self, name: str) -> QPushButton:
        button = QPushButton(name)
        button.setProperty("cell", True)
        button.setCheckable(True)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        button.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        button.setMinimumSize(70, 62)
        button.clicked.connect(lambda: self.chosen.emit(name))
        return button


def _put(button: QPushButton, shown: Cell) -> None:
    head = f"{shown.channel}  {shown.shape} {shown.lock}".rstrip()
    text = "\n".join([head, *shown.lines])
    if button.text() != text:
        button.setText(text)
    if button.property("tone") != shown.tone:
        button.setProperty("tone", shown.tone)
        button.style().polish(button)
