"""The log: what has happened, one sentence a line, the newest at the bottom."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QPlainTextEdit

from gui.model.console import MAX_NOTES, Console, Note
from gui.model.text import clock

HEIGHT_PX = 64
MARKS = {"attention": "▲", "alarm": "■"}


class Log(QPlainTextEdit):
    """Lines of the console's notes, in UTC."""

    def __init__(self) -> None:
        super().__init__()
        self._n_shown = 0
        self.setReadOnly(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setMaximumBlockCount(MAX_NOTES)
        self.setPlaceholderText("nothing to report since this window was opened")
        self.setToolTip("what has happened, times in UTC")

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """A few lines: the whole log has a panel of its own."""
        return QSize(400, HEIGHT_PX)

    def show_notes(self, console: Console) -> None:
        """Add what is new."""
        n_new = console.n_notes - self._n_shown
        for note in list(console.notes)[-n_new:] if n_new else ():
            self.appendPlainText(line(note))
        self._n_shown = console.n_notes


def line(note: Note) -> str:
    """One note as it is read."""
    return f"{clock(note.t_ns)} {MARKS.get(note.tone, ' ')} {note.sentence}"
