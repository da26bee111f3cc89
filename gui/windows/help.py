"""All keys, on one page."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QGridLayout, QLabel, QWidget

from gui.keys import KEYS


class Help(QDialog):
    """Closes on Escape, and does not hold anything up."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setWindowTitle("Keys")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        grid = QGridLayout(self)
        grid.setHorizontalSpacing(24)
        half = -(-len(KEYS) // 2)
        for i, key in enumerate(KEYS):
            row, column = i % half, 2 * (i // half)
            name = QLabel(key.key)
            name.setProperty("weight", "large")
            grid.addWidget(name, row, column)
            grid.addWidget(QLabel(key.words), row, column + 1)
