"""The log: what has happened, one sentence a line, the newest at the bottom."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPlainTextEdit

from gui.model.console import MAX_NOTES, Console
from gui.model.text import clock

MARKS = {"attention": "▲", "alarm": "■"}
HEIGHT_PX = 62


class Log(QPlainTextEdit):
    """Lines of the console's notes, in UTC."""

    def __init__(self) -> None:
        super().__init__()
        self._n_shown = 0
        self.setReadOnly(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setMaximumBlockCount(MAX_NOTES)
        self.setMaximumHeight(HEIGHT_PX)
        self.setPlaceholderText("nothing to report since this window was opened")
        self.setToolTip("what has happened, times in UTC")

    def show_notes(self, console: Console) -> None:
        """Add what is new."""
        n_new = console.n_notes - self._n_shown
        for note in list(console.notes)[-n_new:] if n_new else ():
            mark = MARKS.get(note.tone, " ")
            self.appendPlainText(f"{clock(note.t_ns)} {mark} {note.sentence}")
        self._n_shown = console.n_notes
